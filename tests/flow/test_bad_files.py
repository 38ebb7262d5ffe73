"""Spoiled bundles and packages, and what cannot be converted, predicted or evaluated."""

import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from fixtures.commands import listing, rejects, unchanged

import sqb_tflite
from sqb_tf.checkpoint import bundle, checksum

# --- Bundles -------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def lines_without(path: Path, line: str, instead: str | None = None) -> None:
    lines = path.read_text().split("\n")
    kept = [instead if text == line else text for text in lines]
    path.write_text("\n".join(text for text in kept if text is not None))


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def flip_bit(folder: Path) -> None:
    path = folder / bundle.WEIGHTS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_weights(folder: Path) -> None:
    """As a run that diverged writes them."""
    with h5py.File(folder / bundle.WEIGHTS, "r+") as file:
        names: list[str] = []
        file.visit(lambda name: names.append(name) if name.endswith("/0") else None)
        file[names[0]][0] = float("nan")
    checksum.write(folder / bundle.WEIGHTS)


def inflate_weights(folder: Path) -> None:
    with h5py.File(folder / bundle.WEIGHTS, "w") as file:
        file.create_dataset("layers/0", (10**6, 10**6), "f4", chunks=(1000, 1000))
    edit(folder / "config.json", lambda config: config.update(max_position_embeddings=10**9))


SPOILINGS = {
    "no config": (lambda b: (b / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda b: (b / bundle.WEIGHTS).unlink(), "model.weights.h5 is missing"),
    "no task": (lambda b: (b / "task.json").unlink(), "task.json is missing"),
    "no labels": (lambda b: (b / "labels.txt").unlink(), "labels.txt is missing"),
    "no vocabulary": (lambda b: (b / "vocab.txt").unlink(), "vocab.txt is missing"),
    "empty weights": (
        lambda b: truncate(b / bundle.WEIGHTS, 0),
        "h5: damaged or not a weight file",
    ),
    "cut weights": (
        lambda b: truncate(b / bundle.WEIGHTS, 0.5),
        "h5: damaged or not a weight file",
    ),
    "short weights": (lambda b: truncate(b / bundle.WEIGHTS, 0.99), "h5: damaged or not a weigh"),
    "text as weights": (
        lambda b: (b / bundle.WEIGHTS).write_text("w"),
        "h5: damaged or not a weigh",
    ),
    "wider config": (
        lambda b: edit(b / "config.json", lambda c: c.update(hidden_size=64)),
        "h5: .*weights of another config than config.json's",
    ),
    "deeper config": (
        lambda b: edit(b / "config.json", lambda c: c.update(num_hidden_layers=3)),
        "h5: .*weights of another config than config.json's",
    ),
    "shallower config": (
        lambda b: edit(b / "config.json", lambda c: c.update(num_hidden_layers=1)),
        "h5: .*weights of another config than config.json's",
    ),
    "config of another mixer": (
        lambda b: edit(b / "config.json", lambda c: c.update(token_mixer="separable_conv")),
        "h5: .*weights of another config than config.json's",
    ),
    "more labels": (
        lambda b: (b / "labels.txt").write_text("a\nb\nc\nd\n"),
        "h5: .*weights of another config than config.json's",
    ),
    "config not JSON": (
        lambda b: (b / "config.json").write_text("{"),
        "config.json: not JSON: Input data was truncated",
    ),
    "config with an unknown key": (
        lambda b: edit(b / "config.json", lambda c: c.update(layers=2)),
        "config.json: unknown config keys: layers",
    ),
    "task not JSON": (
        lambda b: (b / "task.json").write_text("{"),
        "task.json: not JSON: Input data was truncated",
    ),
    "task of another form": (
        lambda b: (b / "task.json").write_text("[]"),
        "task.json: Expected object, got array",
    ),
    "task of an unknown kind": (
        lambda b: edit(b / "task.json", lambda t: t.update(kind="ranking")),
        "task.json: .*kind 'ranking'",
    ),
    "settings of another head": (
        lambda b: edit(b / "task.json", lambda t: t.update(settings={"pooling": "mean"})),
        "task.json: settings .*: pooling: a [a-z_]+ has no such setting",
    ),
    "settings that are none": (
        lambda b: edit(b / "task.json", lambda t: t.update(settings=5)),
        "task.json: settings: expected object, got int",
    ),
    "config deep": (
        lambda b: (b / "config.json").write_text("[" * 100_000),
        "config.json: objects or lists nested deeper than 64",
    ),
    "config with a number of 5,000 digits": (
        lambda b: (b / "config.json").write_text('{"hidden_size": %s}' % ("9" * 5000)),
        "config.json: .*integer value out of range",
    ),
    "config with a number that is no float": (
        lambda b: edit(b / "config.json", lambda c: c.update(layer_norm_eps=10**400)),
        r"config.json: layer_norm_eps=10+: expected a value above 0 and below 3e\+38",
    ),
    **{
        f"config of {size} {name}": (
            lambda b, name=name, size=size: edit(
                b / "config.json", lambda c: c.update({name: size})
            ),
            message,
        )
        for name, size, message in (
            ("num_hidden_layers", 10**6, "h5: .*another config.* or more in 1,000,000 layers"),
            ("max_position_embeddings", 10**9, "h5: .*another config than config.json's: "),
            ("intermediate_size", 2**30, "h5: .*another config than config.json's: "),
            ("intermediate_size", 2**31, "intermediate_size=2147483648: expected 1 to 2147483647"),
        )
    },
    "task of another length's type": (
        lambda b: edit(b / "task.json", lambda t: t.update(seq_length="64")),
        "task.json: seq_length: expected int, got str",
    ),
    "task longer than the model's positions": (
        lambda b: edit(b / "task.json", lambda t: t.update(seq_length=65)),
        r"task.json: seq_length 65: expected 5 to 64 \(the model's max_position_embeddings\)",
    ),
    "task of another type": (
        lambda b: edit(b / "task.json", lambda t: t.update(task=[1])),
        "task.json: task: expected str, got array",
    ),
    "task deep": (
        lambda b: (b / "task.json").write_text('{"a":' * 100_000),
        "task.json: objects or lists nested deeper than 64",
    ),
    "a bit of the weights": (
        flip_bit,
        "h5: damaged: its sha256 is not the one in model.weights.h5",
    ),
    "weights that are not finite": (spoil_weights, "h5: .* has values that are not finite"),
    "a small file of many weights": (
        inflate_weights,
        "h5: damaged: says that it holds 4,000,000,000,000 bytes",
    ),
    "labels not UTF-8": (
        lambda b: (b / "labels.txt").write_bytes(b"\xff\n"),
        "labels.txt: cannot be read",
    ),
    "vocabulary too short": (
        lambda b: lines_without(b / "vocab.txt", "film"),
        r"vocab.txt has \d+ tokens, config.json says vocab_size \d+",
    ),
    "vocabulary with a token of 257 bytes": (
        lambda b: lines_without(b / "vocab.txt", "film", "f" * 257),
        r"vocab.txt: the vocabulary's token \d+, 'ff+, has a null character or more than 256 bytes",
    ),
    "vocabulary with a null character": (
        lambda b: lines_without(b / "vocab.txt", "film", "fi\0lm"),
        r"vocab.txt: the vocabulary's token \d+, 'fi.x00lm', has a null character",
    ),
    "vocabulary without [CLS]": (
        lambda b: lines_without(b / "vocab.txt", "[CLS]", "filler"),
        r"vocab.txt: the vocabulary lacks \[CLS\]",
    ),
}


@pytest.mark.parametrize("spoiling", SPOILINGS)
def test_spoiled_bundle(spoiling, spoiled):
    change, match = SPOILINGS[spoiling]
    change(spoiled)
    with unchanged(spoiled):
        rejects(match, "predict", "--model", spoiled, "a good film")


def test_bundle_of_an_earlier_version_has_no_checksum(bundle_dir, spoiled):
    checksum.path_of(spoiled / bundle.WEIGHTS).unlink()
    weights = bundle.load(spoiled).get_weights()
    for array, expected in zip(weights, bundle.load(bundle_dir).get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_bundle_without_its_samples(spoiled, outputs):
    (spoiled / "verification.jsonl").unlink()
    arguments = ["--model", spoiled, "--output", outputs / "out.tflite"]
    rejects(r"verification.jsonl: no such file", "convert", *arguments)


def test_spoiled_init_leaves_nothing(spoiled, data, outputs):
    truncate(spoiled / bundle.WEIGHTS, 0.5)
    arguments = ["--data", data, "--init", spoiled, "--output", outputs / "out", "--overwrite"]
    rejects("h5: damaged or not a weight file", "finetune", *arguments, "--seq-length", 16)


# --- Conversion ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--quantize", "int2"], r"unknown recipe 'int2': expected one of float32, fp16, "),
        (["--lowering", "conv"], r"unknown lowering 'conv': expected one of auto, "),
        (["--seq-lengths", "0"], r"--seq-lengths 0: expected whole numbers above 0"),
        (["--seq-lengths", "long"], r"--seq-lengths long: expected whole numbers above 0"),
        (["--seq-lengths", "16,65"], r"seq_length 65: expected 5 to 64"),
        (["--seq-lengths", "4"], r"seq_length 4: expected 5 to 64"),
        (["--calibration", "empty.txt"], r"empty.txt: no text in it"),
        (["--calibration", "gone.txt"], r"gone.txt: cannot be read: No such file"),
        (["--calibration", "latin.txt"], r"latin.txt:2: not UTF-8"),
        (["--calibration", "."], r"\.: cannot be read: Is a directory"),
        (["--limit", "0"], r"limit 0: expected at least 1"),
        (["--data", "gone.tsv"], r"gone.tsv: no such file"),
        (["--data", "other.tsv"], r"labels that the model does not have: fine; it has bad, fair"),
        (["--model", "gone"], r"gone: no such folder; expected a bundle"),
    ],
)
def test_conversion_is_rejected(arguments, match, bundle_dir, outputs, converted, monkeypatch):
    folder = outputs.parent / "here"
    folder.mkdir()
    (folder / "empty.txt").write_text("\n  \n\n")
    (folder / "latin.txt").write_bytes(b"a film\ncaf\xe9\n")
    rows = "".join(f"film {i}\tfine\n" for i in range(100))
    (folder / "other.tsv").write_text(f"text\tlabel\n{rows}")
    monkeypatch.chdir(folder)
    if "--data" in arguments:  # evaluated after the conversion, which this does not test
        content = converted("int8")
        monkeypatch.setattr(sqb_tflite, "convert", lambda *_: content, raising=False)
    with unchanged(folder):
        output = outputs / "out.tflite"
        flags = ["--model", bundle_dir, "--output", output, "--overwrite"]
        rejects(match, "convert", *flags, *arguments)


def test_calibration_of_pairs_needs_tabs(paired_bundle_dir, tmp_path):
    (tmp_path / "c.txt").write_text("a film\ta plot\na film\n")
    arguments = ["--model", paired_bundle_dir, "--calibration", tmp_path / "c.txt"]
    output = tmp_path / "x.tflite"
    rejects(
        r"c.txt:2: expected two texts separated by a tab", "convert", *arguments, "--output", output
    )
    assert listing(tmp_path) == ["c.txt"]


# --- Packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.8, 0.999])
def test_truncated_package(share, converted, tmp_path):
    content = converted("int8")
    path = tmp_path / "p.tflite"
    path.write_bytes(content[: int(len(content) * share)])
    rejects(r"p.tflite: ", "predict", "--package", path, "a film")


def test_other_files_as_package(bundle_dir, tmp_path):
    match = r"a folder; expected a packaged .tflite \(a bundle goes with --model\)"
    rejects(match, "predict", "--package", tmp_path, "a")
    config = bundle_dir / "config.json"
    rejects(r"config.json: not a TFLite model", "predict", "--package", config, "a film")
    rejects(
        r"config.json: a file; expected a bundle, .*--package", "predict", "--model", config, "a"
    )
    arguments = ["--model", bundle_dir, "--package", config]
    rejects(r"config.json: not a TFLite model", "verify", *arguments)


def test_package_of_another_model(regression_bundle_dir, converted, tmp_path):
    path = tmp_path / "p.tflite"
    path.write_bytes(converted("int8"))
    arguments = ["--model", regression_bundle_dir, "--package", path]
    rejects(r"labels .* are not the model's .*: it is not a conversion", "verify", *arguments)


def test_package_without_properties(bundle_dir, converted, vocabulary, tmp_path, monkeypatch):
    """Made by another packer: it opens, but nothing says how its text is prepared."""
    from sqb_tflite.package import container

    path = tmp_path / "p.tflite"
    path.write_bytes(converted("int8"))
    read = container.unpack
    monkeypatch.setattr(
        container, "unpack", lambda source: dataclasses.replace(read(source), properties={})
    )
    rejects(r"does not say how its text is prepared", "predict", "--package", path, "a film")
    rejects(r"does not name its recipe", "verify", "--model", bundle_dir, "--package", path)


# --- Prediction and evaluation -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["a film", "", "--strict"], r"argument:2: the text is empty"),
        (["a film", "--input", "x"], r"give texts as arguments or --input FILE, not both"),
        (["--input", "gone.txt"], r"gone.txt: cannot be read: No such file"),
        (["--input", "."], r"\.: cannot be read: Is a directory"),
        (["--batch-size", 0, "a"], r"--batch-size 0: expected at least 1"),
        (["--threads", 0, "a"], r"--threads 0: expected at least 1"),
        (["--jsonl", "--json", "-", "a"], r"give --jsonl or --json -, not both"),
        (["--model", "m", "a"], r"give either --package FILE or --model DIR"),
    ],
)
def test_prediction_is_rejected(arguments, match, package):
    rejects(match, "predict", "--package", package, *arguments)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a film\n\na plot\n", r"{}:2: the text is empty"),
        (b"a film\ncaf\xe9\n", r"{}:2: not UTF-8 \(byte 4 of the line\)"),
    ],
)
def test_lines_to_predict_are_rejected(content, match, package, tmp_path, monkeypatch):
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    rejects(match.format("lines.txt"), "predict", "--package", package, "--strict", "--input", path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    rejects(match.format("standard input"), "predict", "--package", package, "--strict")


@pytest.mark.parametrize("text", ["a film", "a film\t", "\ta film"])
def test_pair_without_its_second_text(text, paired_bundle_dir):
    match = r"argument:1: expected two texts separated by a tab"
    rejects(match, "predict", "--model", paired_bundle_dir, "--strict", text)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--data", "gone.tsv"], r"gone.tsv: no such file"),
        (
            ["--data", "x.tsv", "--split", "test"],
            r"x.tsv: split 'test' of one file: .*train or dev",
        ),
        (["--data", "x.tsv"], r"labels that the model does not have: fine; it has bad, fair, good"),
        (["--data", "x.tsv", "--pair-column", "text"], r"the model takes single texts"),
        (["--data", "x.tsv", "--limit", 0], r"limit 0: expected at least 1"),
        (["--data", "x.tsv", "--task", "mmlu"], r"unknown task 'mmlu'"),
        (["--data", "x.tsv", "--task", "regression"], r"--task regression is a regression, the "),
        (
            ["--data", "folder", "--split", "valid"],
            r"folder: no valid.tsv, valid.csv or valid.jsonl",
        ),
    ],
)
def test_evaluation_is_rejected(arguments, match, package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    label = "good" if "--pair-column" in arguments else "fine"
    rows = "".join(f"film {i}\t{label}\n" for i in range(100))
    (tmp_path / "x.tsv").write_text(f"text\tlabel\n{rows}")
    rejects(match, "evaluate", "--package", package, *arguments)
