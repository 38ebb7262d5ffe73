"""Comparing two results: what counts as slower. The results are made up."""

import copy
import json
import random

import numpy as np
import pytest
from fixtures import reports
from fixtures.reports import HOST, PHONE
from scipy import stats

from sqb_tf.errors import InputError
from sqb_tflite.bench.reports.compare import compare, table, to_json


def result_of(*records: dict) -> dict:
    return {"records": list(records), "failures": [], "missing": []}


def one(samples: list[float], **changed) -> dict:
    """A record of the host with these samples and their median."""
    made = reports.record(HOST, 1, 128, "int8") | {"samples_ms": samples} | changed
    made["latency_ms"] = made["latency_ms"] | {
        "median": float(np.median(samples)),
        "mean": float(np.mean(samples)),
    }
    return made


def around(middle: float, spread: float, count: int = 20, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [middle * draw.uniform(1 - spread, 1 + spread) for _ in range(count)]


@pytest.mark.parametrize(
    ("factor", "spread", "verdict"),
    [
        (1.2, 0.02, "regressed"),
        (1 / 1.2, 0.02, "improved"),
        (1.03, 0.001, "same"),  # certain, but within 5%
        (1.06, 0.5, "same"),  # over 5%, but it may be chance
    ],
)
def test_slower_means_by_more_than_asked_and_not_by_chance(factor, spread, verdict):
    old, new = one(around(10, spread)), one([factor * t for t in around(10, spread, seed=1)])
    new["latency_ms"]["median"] = factor * old["latency_ms"]["median"]
    (change,) = compare(result_of(old), result_of(new), 0.05).changes
    assert change.ratio == pytest.approx(factor) and change.verdict == verdict


def test_figures_are_those_of_welchs_test_on_logarithms():
    old, new = around(10, 0.1, 12), around(11, 0.2, 7, seed=1)
    (change,) = compare(result_of(one(old)), result_of(one(new))).changes
    a, b = np.log(old), np.log(new)
    variances = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    error = np.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 11 + variances[1] ** 2 / 6)
    difference = b.mean() - a.mean()
    half = stats.t.ppf(0.975, freedom) * error
    assert change.p_value == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))
    assert change.ci95 == pytest.approx((np.exp(difference - half), np.exp(difference + half)))


def test_p_values_are_corrected_by_holm():
    """By hand for three: the smallest times 3, the next times 2, never falling."""
    seeds = {"float32": 1.0, "int8": 1.02, "int4": 1.04}
    old, new = [], []
    for place, (recipe, factor) in enumerate(seeds.items()):
        changed = {"package": f"{recipe}.tflite"}
        old.append(one(around(10, 0.1, 10, place), **changed))
        new.append(one(around(10 * factor, 0.1, 10, place + 10), **changed))
    alone = [compare(result_of(a), result_of(b)).changes[0].p_value for a, b in zip(old, new)]
    together = [c.p_value for c in compare(result_of(*old), result_of(*new)).changes]
    first, second, third = sorted(alone)
    expected = [min(1, 3 * first)]
    expected.append(max(expected[-1], min(1, 2 * second)))
    expected.append(max(expected[-1], third))
    assert sorted(together) == pytest.approx(expected)


def test_true_nothing_regresses_in_few_comparisons_of_many_cells():
    """20 unchanged cells, 40 times: uncorrected, most comparisons would fail by one of them."""
    failed = 0
    for trial in range(40):
        sides = [
            result_of(
                *(
                    one(
                        around(10, 0.4, 5, 1000 * trial + 2 * cell + side), package=f"{cell}.tflite"
                    )
                    for cell in range(20)
                )
            )
            for side in (0, 1)
        ]
        failed += bool(compare(*sides, 0.0).regressed)
    assert failed <= 6  # 1 expected in 20 or so


def test_cells_of_one_side_are_listed_and_do_not_fail():
    old = reports.result()
    new = copy.deepcopy(old)
    gone = new["records"].pop()
    old["records"] = old["records"][1:]
    found = compare(old, new)
    assert [cell.seq_length for cell in found.only_old] == [gone["seq_length"]]
    assert [cell.device for cell in found.only_new] == ["SQB test device"]
    assert not found.regressed and all(change.verdict == "same" for change in found.changes)
    assert "only in the old result: bert-base-dynamic-any on vm (host)" in table(found)


def test_a_single_sample_says_nothing():
    found = compare(result_of(one([10.0])), result_of(one([20.0, 20.1])))
    assert found.changes[0].verdict == "unknown" and found.changes[0].p_value is None
    assert "1 unknown" in table(found) and "fewer than 2 samples" in table(found)


def test_samples_that_do_not_vary_differ_for_certain_or_not_at_all():
    same, slower = one([10.0, 10.0]), one([12.0, 12.0])
    assert compare(result_of(same), result_of(slower)).changes[0].verdict == "regressed"
    assert compare(result_of(same), result_of(same)).changes[0].verdict == "same"


def test_real_texts_are_compared_text_by_text():
    """Their times differ tenfold by length; 10% more for each is seen all the same."""
    old, new = (reports.record(HOST, 1, None, "int8", scale) for scale in (1.0, 1.1))
    (change,) = compare(result_of(old), result_of(new)).changes
    assert change.verdict == "regressed" and change.ci95 == pytest.approx((1.1, 1.1), rel=1e-3)
    new["samples"]["tokens"] = [tokens + 1 for tokens in new["samples"]["tokens"]]
    assert compare(result_of(old), result_of(new)).changes[0].verdict == "unknown"


def test_means_are_compared_where_a_median_is_missing():
    old, new = one(around(10, 0.01)), one(around(12, 0.01))
    new["latency_ms"]["median"] = None
    (change,) = compare(result_of(old), result_of(new)).changes
    assert change.figure == "mean" and change.marks == ("new: mean, not median",)
    assert change.ratio == new["latency_ms"]["mean"] / old["latency_ms"]["mean"]


def test_the_serial_of_a_device_does_not_matter_its_name_does():
    old = reports.record(PHONE, 1, 128, "int8")
    new = old | {"device": "emulator-5554"}
    assert len(compare(result_of(old), result_of(new)).changes) == 1
    other = old | {"hardware": old["hardware"] | {"name": "another"}}
    with pytest.raises(InputError, match="no measurement in common"):
        compare(result_of(old), result_of(other))
    twin = old | {"device": "127.0.0.1:40002"}  # two of a kind are told apart by serial
    assert len(compare(result_of(old, twin), result_of(old, twin)).changes) == 2


def test_the_same_cell_twice_is_refused():
    record = reports.record(HOST, 1, 16, "int8")
    with pytest.raises(InputError, match="squeezebert-int8 on vm"):
        compare(result_of(record, record), result_of(record))


def test_a_comparison_is_json():
    result = reports.result()
    found = json.loads(json.dumps(to_json(compare(result, result))))
    assert found["fail_over"] == 0.05
    assert found["counts"] == {"regressed": 0, "improved": 0, "same": 47, "unknown": 0}
    assert found["changes"][0]["cell"]["package"] == "squeezebert-float32"
