"""Texts with any number of labels, from a table to a package, its predictions and a page of its errors."""

import csv
import json

import numpy as np
import pytest
from fixtures.commands import call

import sqb_tf
from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tflite.runtime.runner import Runner

# The word that tells each label, and how many rows of 400 have it.
WORDS = {"late": 120, "broken": 90, "thanks": 60, "lost": 8}
TINY = ["--preset", "squeezebert-tiny", "--vocab-size", 300, "--seq-length", 16]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A table whose rows have none to four labels."""
    path = tmp_path_factory.mktemp("data") / "messages.csv"
    rng = np.random.default_rng(0)
    has = {label: set(rng.choice(400, n, replace=False).tolist()) for label, n in WORDS.items()}
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["body", "tags"])
        for i in range(400):
            labels = [label for label in WORDS if i in has[label]]
            rows.writerow([f"order {i} {' '.join(labels)} please", "; ".join(labels)])
    return path


COLUMNS = ["--task", "multi_label", "--text-column", "body", "--label-column", "tags"]
COLUMNS += ["--label-separator", ";"]


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A model, fine-tuned and converted."""
    folder = tmp_path_factory.mktemp("model")
    flags = ["--data", data, *COLUMNS, "--test", "20%", "--epochs", 12, "--learning-rate", 4e-3]
    result = folder / "result.json"
    assert call("finetune", *flags, *TINY, "--output", folder / "model", "--json", result) == 0
    package = folder / "model.tflite"
    command = ["--model", folder / "model", "--quantize", "int8", "--output", package]
    assert call("convert", *command) == 0
    return folder


def test_what_is_learned_and_kept(folder, data):
    metrics = json.loads((folder / "result.json").read_text())
    assert metrics["metric"]["name"] == "micro_f1" and metrics["metric"]["value"] > 0.9
    assert set(metrics["test"]["metrics"]) == {"micro_f1", "macro_f1", "subset_accuracy"}
    assert metrics["test"]["metrics"]["micro_f1"] > 0.9
    info = bundle.read_info(folder / "model")
    assert info.labels == sorted(WORDS)
    assert info.task.settings["thresholds"].keys() == set(WORDS)
    assert any(example.label == "" for example in info.sample("verification"))
    runner = Runner(folder / "model.tflite")
    assert runner.kind == "multi_label" and runner.head.settings == info.task.settings
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["verification"]["metric"]["name"] == "micro_f1"


def test_predictions(folder, capsys):
    model = ["--package", folder / "model.tflite"]
    capsys.readouterr()
    assert call("predict", *model, "--jsonl", "order 5 late broken please", "order 6 please") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["labels"] == ["broken", "late"] and second["labels"] == []
    assert list(first["scores"]) == sorted(WORDS) and all(
        0 <= s <= 1 for s in first["scores"].values()
    )
    assert call("predict", *model, "--threshold", "0", "--jsonl", "order 6 please") == 0
    assert json.loads(capsys.readouterr().out)["labels"] == sorted(WORDS)
    keras = sqb_tf.load(folder / "model")
    logits = keras.predict_on_batch(keras.preprocessor(["order 5 late broken please"]))[0]
    expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(list(first["scores"].values()), expected, atol=0.03)


def test_what_it_gets_wrong(folder, data, tmp_path):
    flags = ["--package", folder / "model.tflite", "--data", data, *COLUMNS]
    flags += ["--split", "test", "--test", "20%", "--threshold", "0.2"]
    report, predictions = tmp_path / "report", tmp_path / "predictions.tsv"
    flags += ["--report", report, "--predictions", predictions, "--json", tmp_path / "out.json"]
    flags += ["--against", folder / "model"]
    assert call("evaluate", *flags) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["micro"]["f1"] == pytest.approx(result["metrics"]["micro_f1"])
    assert result["macro"]["f1"] == pytest.approx(result["metrics"]["macro_f1"])
    assert set(result["classes"]) <= set(WORDS)
    assert result["comparison"]["examples"] == result["examples"]
    lines = predictions.read_text().splitlines()
    assert lines[0] == "index\tprediction" and len(lines) == result["examples"] + 1
    with (report / "errors.csv").open() as file:
        wrong = list(csv.DictReader(file))
    assert len(wrong) == result["wrong"]
    assert all(bool(row["gold"]) != bool(row["predicted"]) for row in wrong)
    assert "late" in (report / "report.html").read_text()


def test_to_transformers_and_back(folder, tmp_path):
    assert call("export_hf", "--model", folder / "model", "--output", tmp_path / "hf") == 0
    settings = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert settings["problem_type"] == "multi_label_classification"
    assert call("import_hf", "--source", tmp_path / "hf", "--output", tmp_path / "back") == 0
    info = bundle.read_info(tmp_path / "back")
    assert info.task.kind == "multi_label" and info.labels == sorted(WORDS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--class-weights", "balanced"], "class_weights: goes with examples of one class each"),
        (["--abstain", "95%"], "abstain: goes with examples of one class each"),
        (["--label-separator", ""], "--label-separator '': expected at least one character"),
        (["--metric", "accuracy"], "unknown metric 'accuracy': expected one of micro_f1"),
    ],
)
def test_options_that_do_not_go_with_it(flags, message, data, tmp_path):
    with pytest.raises(InputError, match=message):
        call("finetune", "--data", data, *COLUMNS, *flags, *TINY, "--output", tmp_path / "model")
