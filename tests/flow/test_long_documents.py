"""Documents longer than the input: what each policy learns of them, in the package and in every tool."""

import json

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.models import WORDS

import sqb_tf
from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tflite.runtime.runner import Runner

FLAGS = ["--preset", "squeezebert-tiny", "--vocab-size", 100, "--seq-length", 24, "--epochs", 6]
FLAGS += ["--learning-rate", 4e-3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts of 40 to 60 words; the last one, or one in the middle, tells the class."""
    folder = tmp_path_factory.mktemp("documents")
    rng = np.random.default_rng(0)
    for split, count in (("train", 240), ("dev", 60)):
        rows = []
        for i in range(count):
            label = ("red", "blue")[i % 2]
            words = rng.choice(WORDS, rng.integers(40, 60)).tolist()
            words[-1 if i % 4 < 2 else len(words) // 2] = label
            rows.append(f"{' '.join(words)}\t{label}")
        (folder / f"{split}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A model that reads windows, and its package."""
    folder = tmp_path_factory.mktemp("model")
    flags = ["--data", data, *FLAGS, "--long-texts", "windows", "--output", folder / "model"]
    assert call("finetune", *flags, "--json", folder / "metrics.json") == 0
    command = ["--model", folder / "model", "--quantize", "int8", "--seq-lengths", "16,24"]
    assert call("convert", *command, "--output", folder / "model.tflite") == 0
    return folder


def test_windows_learn_what_stands_anywhere(folder, data, tmp_path):
    metrics = json.loads((folder / "metrics.json").read_text())
    # A window without the word tells nothing, and half of those of a text have none.
    assert metrics["metric"]["value"] > 0.9 and metrics["train_examples"] == 240
    assert bundle.read_info(folder / "model").task.settings == {"long_texts": "windows"}
    flags = ["--data", data, *FLAGS, "--output", tmp_path / "model", "--json", tmp_path / "m.json"]
    assert call("finetune", *flags) == 0
    assert json.loads((tmp_path / "m.json").read_text())["metric"]["value"] < 0.75


def test_the_package_reads_windows_as_keras_does(folder, data):
    text = f"{'the film was good ' * 20}blue"
    model, runner = sqb_tf.load(folder / "model"), Runner(folder / "model.tflite")
    (result,) = runner.classify([text])
    assert result.label == "blue" and result.truncated == 0
    (requests,) = runner.head.encode([(text, None)], runner.encoder)
    logits = [model.predict_on_batch(r.inputs)[0] for r in requests]
    assert len(requests) > 3
    mean = np.mean([x - np.logaddexp.reduce(x) for x in logits], axis=0)
    expected = np.exp(mean - np.logaddexp.reduce(mean))
    np.testing.assert_allclose(list(result.scores.values()), expected, atol=0.02)
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["verification"]["agreement"] == 1


def test_what_is_cut_is_told(folder, tmp_path, capsys):
    long, short = f"{'the film was good ' * 20}blue", "a red film"
    package = ["--package", folder / "model.tflite", "--jsonl"]
    capsys.readouterr()
    assert call("predict", *package, long, short) == 0
    output = capsys.readouterr()
    assert [json.loads(line)["truncated"] for line in output.out.splitlines()] == [0, 0]
    assert "were cut" not in output.err
    assert call("predict", *package, "--long-texts", "truncate", long, short) == 0
    output = capsys.readouterr()
    first, second = [json.loads(line)["truncated"] for line in output.out.splitlines()]
    assert first == 81 - 22 and second == 0
    assert "1 of the texts are longer than the model's 24 tokens and were cut" in output.err
    assert "--long-texts windows reads all of a text" in output.err


def test_evaluate_counts_what_is_cut(folder, data, tmp_path):
    command = ["--package", folder / "model.tflite", "--data", data, "--json", tmp_path / "r.json"]
    values = {}
    for policy in ("windows", "head-tail"):
        assert call("evaluate", *command, "--long-texts", policy) == 0
        result = json.loads((tmp_path / "r.json").read_text())
        values[policy] = result["truncated"], result["metric"]["value"]
    assert values["windows"][0] == 0 and values["windows"][1] > 0.9
    assert values["head-tail"][0] == 60 and values["head-tail"][1] < values["windows"][1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--long-texts", "all"], "long_texts 'all': expected one of truncate"),
        (["--pair-column", "label", "--long-texts", "windows"], "goes with single texts"),
        (["--task", "conll", "--long-texts", "windows"], "a token_classification has no such"),
    ],
)
def test_policies_that_cannot_be(flags, message, data, tmp_path):
    with pytest.raises(InputError, match=message):
        call("finetune", "--data", data, *FLAGS, *flags, "--output", tmp_path / "model")
