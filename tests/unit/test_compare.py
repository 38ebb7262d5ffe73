"""Comparing two results: what counts as slower. The results are made up."""

import copy
import dataclasses
import json
import random

import numpy as np
import pytest
from fixtures import reports
from fixtures.reports import HOST, PHONE
from scipy import stats

from sqb_tf.errors import InputError
from sqb_tflite.bench.record import Record, Result, TextSamples, ToolInfo
from sqb_tflite.bench.reports.compare import compare, table, to_json


def result_with(*records: Record) -> Result:
    return Result(list(records))


def record_with(samples: list[float], **changes) -> Record:
    """A record of the host with these samples and their median."""
    times = {"median": float(np.median(samples)), "mean": float(np.mean(samples))}
    record = reports.record(HOST, 1, 128, "int8")
    return reports.replace(record, samples_ms=tuple(samples), **(times | changes))


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
    old = record_with(around(10, spread))
    new = record_with(
        [factor * t for t in around(10, spread, seed=1)],
        median=factor * old.latency_ms.median,
    )
    (change,) = compare(result_with(old), result_with(new), 0.05).changes
    assert change.ratio == pytest.approx(factor) and change.verdict == verdict


def test_figures_are_those_of_welchs_test_on_logarithms():
    old, new = around(10, 0.1, 12), around(11, 0.2, 7, seed=1)
    (change,) = compare(result_with(record_with(old)), result_with(record_with(new))).changes
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
    for index, (recipe, factor) in enumerate(seeds.items()):
        package = f"{recipe}.tflite"
        old.append(record_with(around(10, 0.1, 10, index), package=package))
        new.append(record_with(around(10 * factor, 0.1, 10, index + 10), package=package))
    alone = [compare(result_with(a), result_with(b)).changes[0].p_value for a, b in zip(old, new)]
    together = [c.p_value for c in compare(result_with(*old), result_with(*new)).changes]
    first, second, third = sorted(alone)
    expected = [min(1, 3 * first)]
    expected.append(max(expected[-1], min(1, 2 * second)))
    expected.append(max(expected[-1], third))
    assert sorted(together) == pytest.approx(expected)


def test_chance_rarely_fails_a_comparison_of_many_measurements():
    """20 unchanged measurements, 40 times: uncorrected, most comparisons would fail by one of them."""
    failed = 0
    for trial in range(40):
        sides = [
            result_with(
                *(
                    record_with(
                        around(10, 0.4, 5, 1000 * trial + 2 * cell + side), package=f"{cell}.tflite"
                    )
                    for cell in range(20)
                )
            )
            for side in (0, 1)
        ]
        failed += bool(compare(*sides, 0.0).regressed)
    assert failed <= 6  # 1 expected in 20 or so


def test_measurements_of_one_side_are_listed_and_do_not_fail():
    old = reports.result()
    new = copy.deepcopy(old)
    removed = new.records.pop()
    old.records = old.records[1:]
    comparison = compare(old, new)
    assert [key.seq_length for key in comparison.only_old] == [removed.seq_length]
    assert [key.device for key in comparison.only_new] == ["SQB test device"]
    assert not comparison.regressed
    assert all(change.verdict == "same" for change in comparison.changes)
    assert "only in the old result: bert-base-dynamic-any on vm (host)" in table(comparison)


def test_a_single_sample_says_nothing():
    comparison = compare(result_with(record_with([10.0])), result_with(record_with([20.0, 20.1])))
    (change,) = comparison.changes
    assert change.verdict == "unknown" and change.p_value is None
    assert "1 unknown" in table(comparison) and "fewer than 2 samples" in table(comparison)


def test_samples_that_do_not_vary_differ_for_certain_or_not_at_all():
    same, slower = record_with([10.0, 10.0]), record_with([12.0, 12.0])
    assert compare(result_with(same), result_with(slower)).changes[0].verdict == "regressed"
    assert compare(result_with(same), result_with(same)).changes[0].verdict == "same"


def test_real_texts_are_compared_text_by_text():
    """Their times differ tenfold by length; 10% more for each is seen all the same."""
    old, new = (reports.record(HOST, 1, None, "int8", scale) for scale in (1.0, 1.1))
    (change,) = compare(result_with(old), result_with(new)).changes
    assert change.verdict == "regressed" and change.ci95 == pytest.approx((1.1, 1.1), rel=1e-3)
    longer = tuple(tokens + 1 for tokens in new.samples.tokens)
    new = reports.replace(new, samples=TextSamples(longer, new.samples.ms))
    assert compare(result_with(old), result_with(new)).changes[0].verdict == "unknown"


def test_means_are_compared_where_a_median_is_missing():
    old, new = record_with(around(10, 0.01)), record_with(around(12, 0.01), median=None)
    (change,) = compare(result_with(old), result_with(new)).changes
    assert change.figure == "mean" and change.marks == ("new: mean, not median",)
    assert change.ratio == new.latency_ms.mean / old.latency_ms.mean


def test_another_runtime_is_marked():
    same = reports.record(PHONE, 1, 64, "int8").tool
    with_libraries = dataclasses.replace(same, npu_libraries="ef" * 32)
    for device, changes in (
        (HOST, {"versions": {"python": "3.12", "ai-edge-litert": "2.2.0"}}),
        (PHONE, {"tool": ToolInfo("benchmark_model (tflite)", "cd" * 32, "binary")}),
        (PHONE, {"tool": with_libraries}),
    ):
        old = reports.record(device, 1, 64, "int8")
        new = reports.replace(old, **changes)
        (change,) = compare(Result([old]), Result([new])).changes
        assert change.marks == ("the runtimes differ",)
    python = reports.replace(old, versions={"python": "3.13"})
    (change,) = compare(Result([old]), Result([python])).changes
    assert change.marks == ()


def test_the_serial_of_a_device_does_not_matter_its_name_does():
    old = reports.record(PHONE, 1, 128, "int8")
    new = reports.replace(old, device="emulator-5554")
    assert len(compare(result_with(old), result_with(new)).changes) == 1
    renamed = reports.replace(old, hardware=old.hardware | {"name": "another"})
    with pytest.raises(InputError, match="no measurement in common"):
        compare(result_with(old), result_with(renamed))
    twin = reports.replace(old, device="127.0.0.1:40002")  # equal names: the serials differ
    assert len(compare(result_with(old, twin), result_with(old, twin)).changes) == 2


def test_the_same_measurement_twice_is_refused():
    record = reports.record(HOST, 1, 16, "int8")
    with pytest.raises(InputError, match="squeezebert-int8 on vm"):
        compare(result_with(record, record), result_with(record))


def test_a_comparison_is_json():
    result = reports.result()
    comparison = json.loads(json.dumps(to_json(compare(result, result))))
    assert comparison["fail_over"] == 0.05
    assert comparison["counts"] == {"regressed": 0, "improved": 0, "same": 47, "unknown": 0}
    assert comparison["changes"][0]["cell"] == {
        "package": "squeezebert-float32",
        "device": "SQB test device",
        "kind": "adb",
        "threads": 1,
        "delegate": "xnnpack",
        "core_mask": None,
        "gpu_precision": None,
        "seq_length": 16,
    }
