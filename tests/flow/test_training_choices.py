"""What a run is judged by and when it ends: --test, --metric, --class-weights, --patience."""

import json
import random
import re

import numpy as np
import pytest
import tensorflow as tf
from fixtures.commands import call

import sqb_tflite
from sqb_tf.checkpoint import bundle
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads.head import softmax
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.training_data import TrainingData
from sqb_tflite.verification.bundle_backend import BundleBackend

TINY = ["--preset", "squeezebert-tiny", "--vocab-size", 300, "--seq-length", 16]
COUNTS = {"red": 120, "blue": 40, "green": 12}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One file of three classes of unlike sizes, told by a word each."""
    path = tmp_path_factory.mktemp("data") / "colours.csv"
    rows = [f"a {label} thing number {i},{label}" for label, n in COUNTS.items() for i in range(n)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run with a test share that stops early, since its rate is too low to learn anything."""
    folder = tmp_path_factory.mktemp("run")
    flags = ["--data", data, "--test", "20%", "--metric", "macro_f1", "--class-weights", "balanced"]
    flags += ["--patience", 1, "--epochs", 9, "--learning-rate", 1e-9, "--output", folder / "model"]
    assert call("finetune", *flags, *TINY, "--json", folder / "result.json") == 0
    return folder


def test_a_run_stops_after_an_epoch_that_was_no_better(run):
    metrics = json.loads((run / "result.json").read_text())
    assert metrics["best_epoch"] == 1
    steps = {
        event.step
        for file in (run / "model" / "logs").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag in ("dev/macro_f1", "dev/loss")
    }
    assert len(steps) == 2  # the epochs whose end was evaluated, of nine


def test_training_never_sees_the_test_share_and_reports_its_score(run, data, capsys):
    metrics = json.loads((run / "result.json").read_text())
    task = Task("classification", data, test=20)
    parts = {which: {e.text for e in task.split(which)} for which in ("train", "dev", "test")}
    assert sum(map(len, parts.values())) == sum(COUNTS.values())
    assert metrics["test"]["examples"] == len(parts["test"])
    info = bundle.read_info(run / "model")
    for sample in ("calibration", "verification"):
        assert not parts["test"] & {e.text for e in info.sample(sample)}
    flags = ["--model", run / "model", "--data", data, "--split", "test", "--test", "20%"]
    assert call("evaluate", *flags) == 0
    shown = dict(re.findall(r"(\w+) (\d\.\d{4}) ", capsys.readouterr().out))
    for name in ("accuracy", "macro_f1"):
        assert float(shown[name]) == pytest.approx(metrics["test"]["metrics"][name], abs=1e-4)


def test_the_metric_that_was_asked_for_decides(run):
    metrics = json.loads((run / "result.json").read_text())
    assert metrics["metric"]["name"] == bundle.read_info(run / "model").task.metric["name"]
    assert metrics["metric"]["name"] == "macro_f1"


def test_classes_count_the_same_in_the_loss(data):
    task = Task("classification", data)
    training, _ = TrainingData.read(task, FinetuneOptions(class_weights="balanced"))
    counts = np.array([training.label_counts[label] for label in training.labels])
    weights = np.array(training.class_weights())
    np.testing.assert_allclose(weights * counts, counts.sum() / len(counts))
    # In batches of which most lack the rare class, the loss is still the mean over all rows.
    loss = training.head.compile_arguments()["loss"]
    targets = np.repeat(np.arange(len(counts)), counts)
    logits = np.random.default_rng(0).normal(size=(len(targets), len(counts))).astype(np.float32)
    losses = [loss(t, p, w) for t, p, w in batches_of(8, targets, logits, weights[targets])]
    likelihoods = softmax(logits)[np.arange(len(targets)), targets]
    expected = (-np.log(likelihoods) * weights[targets])[: 8 * len(losses)].mean()
    assert np.mean(losses) == pytest.approx(expected, rel=1e-4)


def test_scores_are_calibrated_and_decisions_stay(tmp_path, capsys):
    """Keras and the package have the same scores: one beside the graph would not reach MediaPipe."""
    rng = random.Random(0)
    for split, count in (("train", 160), ("dev", 60)):
        words = [rng.choice(["good", "bad"]) for _ in range(count)]
        rows = [f"a {w} film\t{w if rng.random() < 0.7 else 'unclear'}" for w in words]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    (tmp_path / "others.txt").write_text("a tree\nwhat is a tree\nnumber seven\n")
    flags = ["--data", tmp_path, *TINY, "--epochs", 2, "--abstain", tmp_path / "others.txt"]
    bundles = tmp_path / "calibrated", tmp_path / "as-trained"
    assert call("finetune", *flags, "--output", bundles[0]) == 0
    printed = capsys.readouterr().out
    assert call("finetune", *flags, "--output", bundles[1], "--uncalibrated") == 0
    calibration, none = (
        json.loads((folder / "metrics.json").read_text())["calibration"] for folder in bundles
    )
    assert none is None and f"temperature {calibration['temperature']:.2f}" in printed
    texts = ["a good film", "a bad film", "a film of another kind"]
    after, before = (
        np.array([list(r.scores.values()) for r in classify(folder, texts)]) for folder in bundles
    )
    expected = softmax(np.log(before) / calibration["temperature"])
    np.testing.assert_allclose(after, expected, atol=1e-5)
    runner = sqb_tflite.Runner(sqb_tflite.convert(bundles[0], "float32"))
    packaged = runner.classify(texts)
    np.testing.assert_allclose([list(r.scores.values()) for r in packaged], after, atol=1e-5)
    # The threshold that was fitted is in the bundle and in the package.
    abstention = json.loads((bundles[0] / "metrics.json").read_text())["abstention"]
    assert runner.head.settings == {"abstain_below": abstention["below"]}
    assert f"abstains         below {abstention['below']:.4f}" in printed
    for results in (packaged, classify(bundles[0], texts)):
        assert [r.label for r in results] == [
            r.best if r.score >= abstention["below"] else None for r in results
        ]
    assert call("predict", "--model", bundles[0], *texts, "--abstain-below", 1, "--jsonl") == 0
    out = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["label"] for line in out[-3:]] == [None] * 3


def classify(folder, texts):
    """What Keras says of the texts."""
    return [result for _, result in BundleBackend(folder).stream((text, None) for text in texts)]


def batches_of(size, *arrays):
    """Full batches of arrays, which are cut to a multiple of their size."""
    whole = len(arrays[0]) // size * size
    return zip(*(np.split(a[:whole], whole // size) for a in arrays), strict=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--abstain", "0"], "abstain 0: expected a share of right answers, as 95%"),
        (["--abstain", "gone.txt"], r"gone\.txt: cannot be read"),
        (
            ["--task", "regression", "--abstain", "95%"],
            "abstain: goes with examples of one class each",
        ),
        (["--metric", "f1"], r"metric f1: of two classes, the data has 3: macro_f1"),
        (["--metric", "bleu"], r"unknown metric 'bleu': expected one of accuracy, macro_f1"),
        (["--patience", 0], "patience 0: expected at least 1"),
        (
            ["--task", "regression", "--class-weights", "balanced"],
            "class_weights: goes with examples",
        ),
        (["--class-weights", "equal"], "class_weights 'equal': expected one of balanced"),
        (["--test", "gone.csv"], r"--test gone.csv: no such file; expected one, or a share as 20%"),
        (["--test", "80%"], "test 80%: expected a share of 1% to 50%"),
        (["--test", "0.125"], "--test 0.125: expected whole percent"),
    ],
)
def test_bad_choices(flags, message, data, tmp_path):
    if "regression" in flags:
        data = tmp_path / "numbers.csv"
        data.write_text("text,label\n" + "".join(f"number {i},{i}\n" for i in range(100)))
    with pytest.raises(InputError, match=message):
        call("finetune", "--data", data, "--output", tmp_path / "out", *TINY, *flags)
    assert not (tmp_path / "out").exists()
