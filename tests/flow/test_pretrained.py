"""The checkpoints that ship: complete, loaded by name, of use, and what a fine-tuning starts from."""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from fixtures.commands import ROOT, call, rejects

import sqb_tf
from sqb_tf.checkpoint import bundle, checksum, pretrained
from sqb_tf.checkpoint.compact import BITS, WORD_BITS, compact_weights, round_mantissa
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.errors import InputError

NAMES = list(pretrained.CHECKPOINTS)
# Of all weights in the repository and in the wheel.
BUDGET = 48_000_000


@pytest.mark.parametrize("name", NAMES)
def test_it_is_complete_and_as_recorded(name):
    folder = pretrained.FOLDER / name
    weights = (folder / bundle.WEIGHTS).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == pretrained.CHECKPOINTS[name]
    info = bundle.read_info(name)
    assert info.config == SqueezeBertConfig.from_preset(name)
    assert len(info.sample("calibration")) == len(info.sample("verification")) == 512
    record = "".join(p.read_text(encoding="utf-8") for p in folder.glob("*.json"))
    assert str(ROOT) not in record and "/tmp/" not in record
    card = (folder / "README.md").read_text(encoding="utf-8")
    for section in (
        "## Use",
        "## How it was made",
        "## What it reaches",
        "## Limits",
        "## Licence",
    ):
        assert section in card, section
    assert f"{info.config.num_hidden_layers} layers" in card


def test_they_stay_small():
    sizes = [p.stat().st_size for p in pretrained.FOLDER.rglob("*") if p.is_file()]
    assert sum(sizes) <= BUDGET
    assert {p.name for p in pretrained.FOLDER.iterdir() if p.is_dir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_vectors_know_what_texts_mean(name):
    """Each text is nearest to its paraphrase, which shares few words with it."""
    texts = [
        "how do i reset my password",
        "what will the weather be like tomorrow",
        "the film was a waste of time",
        "book a table for two at an italian restaurant",
        "my card was stolen yesterday",
        "i cannot log in because i forgot my login code",
        "is it going to rain in the morning",
        "a boring and terrible movie",
        "reserve seats for dinner at a pizza place",
        "somebody took my credit card",
    ]
    model = sqb_tf.load(name)
    vectors = np.asarray(model(model.preprocessor(texts)))
    first, second = np.split(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 2)
    assert (first @ second.T).argmax(axis=1).tolist() == list(range(5))


def test_changed_weights_are_an_error(tmp_path, monkeypatch):
    copied = shutil.copytree(pretrained.FOLDER / NAMES[0], tmp_path / NAMES[0])
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    with h5py.File(copied / bundle.WEIGHTS, "r+") as file:
        file["layers/squeeze_bert_backbone/layers/embeddings/layer_norm/vars/0"][0] = 0.5
    with pytest.raises(InputError, match=r"not the weights that ship with this version"):
        sqb_tf.load(NAMES[0])


def test_the_name_does_not_depend_on_the_working_directory(bundle_dir, tmp_path, monkeypatch):
    """A folder of that name is reached by a path, and no tool writes one."""
    shutil.copytree(bundle_dir, tmp_path / NAMES[0])
    monkeypatch.chdir(tmp_path)
    assert bundle.read_info(NAMES[0]).directory == pretrained.FOLDER / NAMES[0]
    for path in (f"./{NAMES[0]}", Path(NAMES[0])):
        assert bundle.read_info(path).labels == bundle.read_info(bundle_dir).labels
    flags = ["--data", ROOT / "sqb_tf/demo", "--output", NAMES[0]]
    rejects(f"cannot write {NAMES[0]}: a checkpoint that ships has", "finetune", *flags)


def test_a_wrong_name_is_an_error_that_lists_the_names():
    rejects(
        "squeezebert-mirco: no such folder; .* squeezebert-micro",
        *("convert", "--model", "squeezebert-mirco"),
    )


def test_fine_tuning_starts_from_it(tmp_path, capsys):
    """Its blocks hardly change at this rate."""
    flags = ["--data", ROOT / "sqb_tf/demo", "--limit", 64, "--epochs", 1, "--seq-length", 16]
    flags += ["--learning-rate", 1e-9, "--trim-vocabulary", 2000]
    assert call("finetune", *flags, "--output", tmp_path / "out") == 0
    assert f"starting from {pretrained.DEFAULT}, a checkpoint that ships" in capsys.readouterr().err
    options = json.loads((tmp_path / "out" / "metrics.json").read_text())["options"]
    assert (options["init"], options["preset"]) == (pretrained.DEFAULT, None)
    tuned, start = sqb_tf.load(tmp_path / "out"), sqb_tf.load(pretrained.DEFAULT)
    for block, expected in zip(tuned.backbone.blocks, start.backbone.blocks, strict=True):
        for actual, weight in zip(block.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(actual, weight, atol=1e-6)


@pytest.mark.parametrize("bits", [5, 8, 10])
def test_mantissas_are_rounded_to_nearest(bits):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    rounded = round_mantissa(values, bits).astype(np.float32)
    half_a_step = 2.0 ** (np.floor(np.log2(np.abs(values))) - bits - 1)
    slack = 2.0 ** (np.floor(np.log2(np.abs(values))) - 11)  # float16 itself rounds first
    assert (np.abs(rounded - values) <= half_a_step + slack).all()
    kept = rounded.astype(np.float16).view(np.uint16)
    assert not (kept & ((1 << 10 - bits) - 1)).any()


@pytest.mark.parametrize("value", [7e4, 65504.0, np.inf, -np.inf, np.nan])
def test_what_float16_does_not_hold_is_an_error(value):
    with pytest.raises(InputError, match="not finite, or too large for float16"):
        round_mantissa(np.array([1.0, value], np.float32), 5)


def test_compact_weights_are_the_models(bundle_dir, tmp_path):
    """Word embeddings with 5 bits of mantissa, all else with 7."""
    compact = shutil.copytree(bundle_dir, tmp_path / "compact")
    compact_weights(bundle_dir / bundle.WEIGHTS, compact / bundle.WEIGHTS)
    checksum.write(compact / bundle.WEIGHTS)
    actual, expected = (sqb_tf.load(path) for path in (compact, bundle_dir))
    for weight, original in zip(actual.weights, expected.weights, strict=True):
        bits = WORD_BITS if "/word_embeddings/" in weight.path else BITS
        error = np.abs(np.asarray(weight) - np.asarray(original))
        scale = np.maximum(np.abs(original), 2.0**-14)
        assert (error <= scale * 2.0 ** -(bits + 1) * 1.3).all(), weight.path
        if weight.path.endswith(("embeddings", "kernel")):
            assert error.max() > 0, weight.path
