"""sqb_tflite.verification.verify: what it reports, accepts and rejects."""

import dataclasses
import json

import numpy as np
import pytest
from fixtures.models import random_texts

import sqb_tf
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.classification import Classification, ClassificationHead
from sqb_tf.heads.tag_windows import TagWindow
from sqb_tflite.conversion.recipes import Bounds, Recipe
from sqb_tflite.runtime.runner import Runner
from sqb_tflite.verification import release
from sqb_tflite.verification.verify import (
    _drop_standard_error,
    _Error,
    _misses,
    verify,
)

# Three words, each one token.
REQUEST = TagWindow({}, words=np.arange(3), positions=np.arange(3))
BOUNDS = Bounds(drop=0.02, agreement=0.9, sqnr_db=30.0, reason="")


@pytest.fixture(scope="module")
def model(bundle_dir):
    return sqb_tf.load(bundle_dir)


@pytest.fixture(scope="module")
def examples(model):
    return model.info.sample("verification")


@pytest.fixture(scope="module")
def report(model, converted, examples):
    return verify(model, converted("int8"), examples)


def test_report_has_the_keys_that_others_read(report, converted, examples):
    record = json.loads(json.dumps(report.to_dict()))
    assert set(record) >= {
        "examples",
        "metric",
        "agreement",
        "max_abs_error",
        "sqnr_db",
        "size_bytes",
    }
    assert set(record["metric"]) == {"name", "keras", "package", "drop"}
    assert record["metric"]["name"] == "accuracy"
    assert record["examples"] == len(examples)
    assert record["size_bytes"] == len(converted("int8"))
    assert set(record["tensors"]) == {"probabilities"}


def test_metric_is_of_the_labels(model, converted, examples):
    """The labels are the model's own answers: each changed label is one more error."""
    wrong = [
        dataclasses.replace(e, label=model.labels[model.labels.index(e.label) - 1])
        for e in examples[:5]
    ]
    metric = verify(model, converted("float32"), wrong + examples[5:]).metric
    assert metric["keras"] == metric["package"] == pytest.approx(1 - 5 / len(examples))
    assert metric["drop"] == 0


def test_float32_is_the_same_function_and_int8_is_not(model, converted, examples, report):
    exact = verify(model, converted("float32"), examples)
    assert exact.max_abs_error < 2e-5 < report.max_abs_error
    assert exact.sqnr_db > 80 > report.sqnr_db


def test_path_and_bytes_give_the_same_report(model, converted, examples, report, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted("int8"))
    assert verify(model, path, examples) == report


def test_table_shows_both_metrics_and_the_verdict(report):
    table = report.table()
    for part in ("accuracy, Keras", "accuracy, package", "probabilities: SQNR", "within bounds"):
        assert part in table
    missed = dataclasses.replace(report, misses=["agreement 0.1 < 0.9"])
    assert "missed  agreement 0.1 < 0.9" in missed.table()


@pytest.mark.parametrize(("count", "proves"), [(1, False), (99, False), (100, True)])
def test_a_handful_of_examples_proves_nothing(report, count, proves):
    few = dataclasses.replace(report, examples=count)
    number = "1 example proves" if count == 1 else f"{count} examples prove"
    note = f"{number} nothing: name 100 or more held-out ones with --data"
    assert few.conclusive is few.to_dict()["conclusive"] is proves
    assert (note in few.table()) is not proves
    missed = dataclasses.replace(few, misses=["agreement 0.1 < 0.9"]).table()
    assert "missed  agreement 0.1 < 0.9" in missed and (note in missed) is not proves


def test_a_release_on_a_handful_of_examples_says_so(bundle_dir, examples, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(release, "warn", logged.append)
    for count in (3, 100):
        release.release(bundle_dir, tmp_path / "x.tflite", "float32", examples[:count])
    assert [line.partition(":")[0] for line in logged] == ["3 examples prove nothing"]


def test_package_of_another_model_misses(bundle_dir, converted, examples):
    changed = sqb_tf.load(bundle_dir)
    kernel = changed.backbone.pooler.kernel
    kernel.assign(-kernel)
    report = verify(changed, converted("int8"), examples)
    assert any("agreement" in miss for miss in report.misses)
    assert any("SQNR" in miss for miss in report.misses)


def test_small_damage_to_one_layer_is_noticed(bundle_dir, converted, examples):
    changed = sqb_tf.load(bundle_dir)
    kernel = changed.backbone.blocks[0].intermediate.kernel
    kernel.assign(kernel * 1.01)
    assert any("SQNR" in miss for miss in verify(changed, converted("float32"), examples).misses)


def test_pairs_are_verified_as_pairs(paired_bundle_dir, converted):
    model = sqb_tf.load(paired_bundle_dir)
    package = converted("float32", directory=paired_bundle_dir)
    examples = model.info.sample("verification")
    assert verify(model, package, examples).misses == []
    turned = [Example(e.pair, e.text, e.label) for e in examples]
    metric = verify(model, package, turned).metric
    assert metric["keras"] == metric["package"] < 1


def test_regression_is_evaluated_by_correlation(regression_bundle_dir, converted):
    model = sqb_tf.load(regression_bundle_dir)
    package = converted("float32", directory=regression_bundle_dir)
    examples = model.info.sample("verification")
    report = verify(model, package, examples)
    assert report.metric["name"] == "pearson"
    assert report.metric["package"] == pytest.approx(1, abs=1e-6)
    assert set(report.tensors) == {"logits"}
    assert report.misses == []
    turned = [dataclasses.replace(e, label=str(-float(e.label))) for e in examples]
    assert verify(model, package, turned).metric["package"] == pytest.approx(-1, abs=1e-6)


def test_package_that_gives_not_a_number_misses(regression_bundle_dir, converted, monkeypatch):
    model = sqb_tf.load(regression_bundle_dir)
    monkeypatch.setattr(Runner, "__call__", lambda *_: {"logits": np.full((1, 1), np.nan)})
    package = converted("float32", directory=regression_bundle_dir)
    report = verify(model, package, model.info.sample("verification"))
    assert [miss.split()[0] for miss in report.misses] == ["metric", "SQNR"]


def test_package_with_other_labels_raises_error(regression_bundle_dir, converted):
    model = sqb_tf.load(regression_bundle_dir)
    with pytest.raises(InputError, match=r"labels.*are not the model's"):
        verify(model, converted("float32"), [Example("a", label="1")])


def test_no_examples_or_unknown_labels_raise_error(model, converted):
    with pytest.raises(InputError, match="no held-out examples"):
        verify(model, converted("float32"), [])
    with pytest.raises(InputError, match="labels that the model does not have: superb"):
        verify(model, converted("float32"), [Example("a", label="superb")])


@pytest.mark.parametrize(
    ("examples", "drop", "error", "agreement", "sqnr_db", "missed"),
    [
        (1000, 0.0, 0.0, 1.0, 40.0, []),
        (1000, 0.02, 0.0, 0.9, 30.0, []),  # on the bounds
        (1000, -0.5, 0.0, 0.9, 30.0, []),  # a gain is no loss
        (1000, 0.021, 0.0, 0.9, 30.0, ["metric drop 0.0210 > 0.0200"]),
        (1000, 0.021, 0.001, 0.9, 30.0, []),  # chance
        (1000, 0.022, 0.001, 0.9, 30.0, ["metric drop 0.0220 > 0.0210"]),
        (1000, 0.08, 0.08, 0.9, 30.0, ["metric drop 0.0800 > 0.0600"]),  # not all is chance
        (1000, 0.02, 0.0, 0.899, 30.0, ["agreement 0.8990 < 0.9000"]),
        (1000, 0.02, 0.0, 0.9, 29.9, ["SQNR 29.9 dB < 30 dB"]),
        (1000, 0.02, 0.0, 0.9, float("nan"), ["SQNR nan dB < 30 dB"]),
        (1000, float("nan"), 0.0, 0.9, 30.0, ["metric drop nan > 0.0200"]),
        (5, 0.2, 0.2, 0.8, 30.0, []),  # one of five may change
        (5, 0.4, 0.3, 0.6, 30.0, ["metric drop 0.4000 > 0.2200", "agreement 0.6000 < 0.8000"]),
    ],
)
def test_bounds_by_hand(examples, drop, error, agreement, sqnr_db, missed):
    assert _misses(BOUNDS, examples, drop, error, agreement, sqnr_db) == missed


def test_exact_bounds_allow_one_tie():
    bounds = Recipe.FLOAT32.bounds
    assert _misses(bounds, 1000, 0.0, 0.0, 1.0, 120.0) == []
    assert _misses(bounds, 1000, 0.001, 0.001, 0.999, 120.0) == []
    assert len(_misses(bounds, 1000, 0.002, 0.0014, 0.998, 120.0)) == 2


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (1, 0), (2, 0), (3, 1)])
def test_standard_error_of_an_accuracy_by_hand(worse, better):
    head = ClassificationHead(["no", "yes"])
    n = 60
    examples = [Example("a", label="yes")] * n

    def results(wrong: range) -> list[Classification]:
        return [Classification("no" if i in wrong else "yes", {}) for i in range(n)]

    # Keras is wrong where the package is right, and the other way around.
    expected, actual = results(range(10, 10 + better)), results(range(worse))
    drop = (worse - better) / n
    error = _drop_standard_error(head, "classification", examples, expected, actual)
    # Of the mean over blocks of three: each differing example is in a block of its own.
    blocks = [1 / 3] * worse + [-1 / 3] * better + [0.0] * (20 - worse - better)
    assert np.mean(blocks) == pytest.approx(drop)
    assert error == pytest.approx(np.std(blocks, ddof=1) / np.sqrt(20), abs=1e-12)
    if (worse, better) == (1, 0):
        assert error == pytest.approx(1 / n)


def test_bounds_are_ordered_by_precision():
    float32, fp16, int8 = (Recipe.named(n).bounds for n in ("float32", "fp16", "int8"))
    assert float32.drop < fp16.drop < int8.drop
    assert float32.agreement > fp16.agreement > int8.agreement
    assert float32.sqnr_db > fp16.sqnr_db > int8.sqnr_db


def sqnr(expected: np.ndarray, actual: np.ndarray, centered: bool = False) -> float:
    error = _Error(centered)
    for a, b in zip(expected, actual, strict=True):
        error.add(a, b)
    return error.summary()["sqnr_db"]


def test_sqnr_by_hand():
    expected = np.array([[3.0, 4.0]], np.float32)
    # Signal 25, noise 0.25: a factor of 100 is 20 dB.
    assert sqnr(expected, expected + np.array([[0.3, -0.4]])) == pytest.approx(20.0)
    assert sqnr(expected, expected) == 200.0
    assert np.isnan(sqnr(expected, np.array([[np.nan, 4.0]])))
    # A regression's offset is no signal: 3 and 4 differ from their mean by 0.5 each, 0.5 in all.
    noisy = expected.T + np.array([[0.03], [-0.04]])
    assert sqnr(expected.T, noisy, centered=True) == pytest.approx(10 * np.log10(0.5 / 0.0025))


def test_decisions_by_hand():
    def agreement(name: str, *outputs: tuple[dict, dict]) -> float:
        """The agreement of a head's decisions on the outputs of two models."""
        head = registry.get(name)(["O", "B", "I"], registry.get(name).always_paired)
        sides = zip(*outputs, strict=True)
        results = [[head.decode(("a b c", None), [REQUEST], [o]) for o in side] for side in sides]
        return head.agreement(*results)

    scores = np.eye(3)  # three tokens with labels 0, 1, 2
    tagged = [(scores, scores[[0, 1, 1]]), (scores[[0, 0, 0]], scores[[0, 0, 0]])]
    named = [tuple({"probabilities": values} for values in pair) for pair in tagged]
    assert agreement("token_classification", *named) == 5 / 6
    tokens = {"logits": scores}, {"logits": scores[[0, 1, 1]]}
    order = {"sentence_order_logits": np.array([1, 0])}, {"sentence_order_logits": np.array([2, 1])}
    assert agreement("masked_lm", tokens) == 2 / 3
    assert agreement("pretraining", tuple(a | b for a, b in zip(tokens, order))) == 3 / 4

    def turned(*angles: tuple[float, float]) -> list[tuple[dict, dict]]:
        """Vectors of Keras and of a package at these angles."""
        sides = ([np.array([np.cos(a), np.sin(a)]) for a in np.radians(pair)] for pair in angles)
        return [({"embedding": 3 * keras}, {"embedding": package}) for keras, package in sides]

    # The nearest to them were 1, 0, 1; now 2, 2 and either (5 from both, up to rounding).
    assert agreement("embedding", *turned((0, 0), (10, 10), (30, 5))) in (0, 1 / 3)
    # The second one's nearest was 0 and is 2, whose cosine was smaller by 0.0016: as near.
    assert agreement("embedding", *turned((0, 0), (10, 12), (20.5, 20.5))) == 1
    # An encoder's vectors are the means over the tokens.
    states = []
    for keras_angle, package_angle in ((0, 0), (10, 25), (30, 30)):
        angles = np.radians(
            [[keras_angle - 5, keras_angle + 5], [package_angle - 5, package_angle + 5]]
        )
        expected, actual = (np.stack([np.cos(a), np.sin(a)], axis=-1) for a in angles)
        states.append(({"sequence_output": expected}, {"sequence_output": actual}))
    assert agreement("encoder", *states) == 2 / 3  # the nearest were 1, 0, 1 and are 1, 2, 1


def test_examples_may_be_in_any_order(model, converted, examples):
    """Batches are sorted by length inside; every output goes back to its own text."""
    some = [Example(t, label=model.labels[0]) for t in random_texts(40, seed=9)]
    assert verify(model, converted("float32"), some).max_abs_error < 2e-5
