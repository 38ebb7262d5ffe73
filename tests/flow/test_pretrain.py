"""Pretraining by the tool: the bundle, exact resuming, accumulation, several devices, JAX."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import (
    ROOT,
    call,
    error_line,
    listing,
    rejects,
    run,
)
from fixtures.models import stored_weights
from fixtures.runs import MISTAKES, assert_same_weights, metrics, needs_jax, run_in_jax, stop_after
from fixtures.tiers import tiered

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.training.pretraining.corpus import Corpus
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.state import RunState

# 6 steps of 8 examples, saved at 2, 4 and 6; without dropout, which differs for each micro batch.
SMALL = ["--preset", "squeezebert-tiny", "--steps", 6, "--batch-size", 8, "--save-every", 2]
SMALL += ["--optimizer", "lamb", "--evaluate-every", 3, "--learning-rate", 0.01, "--dropout", 0]


@pytest.fixture(scope="module")
def shards(text, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "shards"
    flags = ["--vocab-size", 150, "--seq-length", 32, "--held-out", 20, "--steps", 0]
    assert call("pretrain", "--text", text, "--shards", folder, *flags) == 0
    return folder


@pytest.fixture(scope="module")
def small(shards, tmp_path_factory) -> Path:
    """The bundle of `SMALL`."""
    out = tmp_path_factory.mktemp("small") / "out"
    assert call("pretrain", "--shards", shards, *SMALL, "--output", out) == 0
    assert listing(out.parent) == ["out"]
    return out


def test_learns_more_than_the_frequencies_of_tokens(shards, tmp_path, capsys):
    """The reported loss is what the bundle's Keras model computes."""
    flags = ["--preset", "squeezebert-tiny", "--steps", 120, "--batch-size", 16, "--dropout", 0]
    flags += ["--learning-rate", 2e-3]
    out = tmp_path / "out"
    assert call("pretrain", "--shards", shards, *flags, "--output", out) == 0
    output = capsys.readouterr()
    results = metrics(out)
    assert results["below_unigram"] > 0.15
    assert results["perplexity"] == pytest.approx(math.exp(results["metric"]["value"]))
    assert [point["step"] for point in results["curve"]] == [120]
    assert "perplexity" in output.out and "of masks" in output.err and "[" in output.err
    # The loss of the bundle's masked-LM head on a held-out batch that is masked here.
    model, read = bundle.load(out), Shards(shards)
    instances = read.read("dev", np.arange(min(32, read.count("dev"))))
    token, position = model.tokenizer.vocabulary.index, 3
    ids = np.zeros((len(instances.tokens), 32), np.int32)
    sizes = instances.lengths.sum(1)
    for row, (first, second) in enumerate(instances.lengths):
        tokens = instances.tokens[row]
        parts = [token("[CLS]"), *tokens[:first], token("[SEP]"), *tokens[first : first + second]]
        ids[row, : len(parts) + 1] = [*parts, token("[SEP]")]
    hidden = ids[:, position].copy()
    ids[:, position] = token("[MASK]")
    mask = (np.arange(32)[None] < (sizes + 3)[:, None]).astype(np.int32)
    types = mask * (np.arange(32)[None] > instances.lengths[:, :1] + 1)
    inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types.astype(np.int32)}
    logits = model.predict(inputs, verbose=0)[:, position]
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(ids)), hidden]
    assert losses.mean() < 0.9 * results["unigram_loss"]


def test_the_bundle_is_a_start_for_fine_tuning_and_converts(small, text, tmp_path):
    info = bundle.read_info(small)
    assert (info.task.kind, info.task.task, info.labels) == ("masked_lm", "masked_lm", [])
    samples = {which: info.sample(which) for which in ("calibration", "verification")}
    assert len(samples["calibration"]) > 64 and 20 < len(samples["verification"]) < 120
    lines = list(Corpus.find([text], 20.0).lines())
    for which, is_held_out in (("verification", True), ("calibration", False)):
        expected = {line for line, _, held_out in lines if line and held_out == is_held_out}
        assert {e.text for e in samples[which]} == expected
    flags = ["--data", ROOT / "sqb_tf/demo", "--limit", 32, "--epochs", 1, "--seq-length", 16]
    out = tmp_path / "tuned"
    assert call("finetune", *flags, "--init", small, "--output", out) == 0
    assert bundle.read_info(out).vocabulary == info.vocabulary
    package = tmp_path / "lm.tflite"
    arguments = ["--model", small, "--quantize", "float32", "--output", package]
    assert call("convert", *arguments) == 0 and package.stat().st_size > 10_000


@pytest.mark.slow
def test_seed_repeats_a_run(small, shards, tmp_path):
    again = [*SMALL, "--shards", shards, "--output", tmp_path / "again"]
    assert call("pretrain", *again) == 0
    assert_same_weights(small, tmp_path / "again")
    assert call("pretrain", *again[:-1], tmp_path / "other", "--seed", 1) == 0
    assert metrics(small)["curve"] != metrics(tmp_path / "other")["curve"]


@pytest.mark.parametrize("saves", tiered([1, 2, 3], [2]))
def test_resume_is_exact(saves, small, shards, tmp_path, monkeypatch, capsys):
    flags = ["--shards", shards, *SMALL, "--output", tmp_path / "out"]
    stop_after(monkeypatch, saves, "pretrain", *flags)
    assert listing(tmp_path) == ["out.training"]
    capsys.readouterr()
    assert call("pretrain", *flags, "--resume") == 0
    assert f"resuming at step {(2, 3, 4)[saves - 1]} of 6" in capsys.readouterr().err
    assert_same_weights(small, tmp_path / "out")
    assert metrics(small)["curve"] == metrics(tmp_path / "out")["curve"]
    assert listing(tmp_path) == ["out"]


@pytest.mark.slow
def test_killed_between_the_curve_and_the_state(small, shards, tmp_path, monkeypatch):
    """The evaluation is repeated, and the curve has its point once."""
    flags = ["--shards", shards, *SMALL, "--save-every", 3, "--output", tmp_path / "out"]
    save, calls = RunState.save, []

    def stop(self):
        calls.append(self.step)
        if len(calls) == 2:  # after the evaluation at step 3, which the first call has saved
            raise KeyboardInterrupt
        save(self)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunState, "save", stop)
        call("pretrain", *flags)
    assert calls == [3, 3] and (tmp_path / "out.training" / "curve.json").is_file()
    assert call("pretrain", *flags, "--resume") == 0
    assert metrics(tmp_path / "out")["curve"] == metrics(small)["curve"]
    assert_same_weights(small, tmp_path / "out")


def test_a_damaged_curve_is_one_line(shards, tmp_path, monkeypatch):
    flags = ["--shards", shards, *SMALL, "--output", tmp_path / "out"]
    stop_after(monkeypatch, 2, "pretrain", *flags)
    (tmp_path / "out.training" / "curve.json").write_text("[{")
    rejects(r"curve.json: cannot be read: .*: start again", "pretrain", *flags, "--resume")


def test_resume_of_another_run_says_so(shards, tmp_path, monkeypatch):
    flags = ["--shards", shards, *SMALL, "--output", tmp_path / "out"]
    stop_after(monkeypatch, 1, "pretrain", *flags)
    match = r"--resume: the run in .* has batch-size 8, not 16: repeat its flags"
    rejects(match, "pretrain", *flags, "--batch-size", 16, "--resume")


@pytest.mark.slow
def test_accumulation_is_the_whole_batch(small, shards, tmp_path, monkeypatch):
    """Equal up to rounding; a run with micro batches resumes within a step."""
    flags = ["--shards", shards, *SMALL, "--micro-batch-size", 2]
    assert call("pretrain", *flags, "--output", tmp_path / "out") == 0
    for whole, parts in zip(*(metrics(f)["curve"] for f in (small, tmp_path / "out")), strict=True):
        assert parts["step"] == whole["step"]
        assert parts["masked_lm_loss"] == pytest.approx(whole["masked_lm_loss"], abs=1e-4)
    assert_same_weights(small, tmp_path / "out", tolerance=2e-4)
    monkeypatch.setattr("sqb_tf.training.callbacks.SAVE_SECONDS", -1.0)
    every = flags.index("--save-every")
    again = [*flags[:every], *flags[every + 2 :], "--output", tmp_path / "again"]
    stop_after(monkeypatch, 6, "pretrain", *again)  # after each part: within the second step
    assert call("pretrain", *again, "--resume") == 0
    assert_same_weights(tmp_path / "out", tmp_path / "again")


def test_the_second_phase_starts_from_the_first(small, text, tmp_path):
    data = ["--text", text, "--vocab", small / "vocab.txt", "--seq-length", 64, "--held-out", 20]
    flags = [*data, *SMALL[2:-2], "--init", small, "--learning-rate", 1e-9]
    assert call("pretrain", *flags, "--output", tmp_path / "out") == 0
    assert bundle.read_info(tmp_path / "out").task.seq_length == 64
    assert_same_weights(small, tmp_path / "out", tolerance=1e-6)


@pytest.mark.parametrize("head", tiered(["pretraining", "embedding", "encoder"], ["embedding"]))
def test_a_bundle_with_another_head(head, small, shards, tmp_path):
    """It has the same encoder, starts a second phase with all weights, and converts to a verified package."""
    out = tmp_path / "out"
    assert call("pretrain", "--shards", shards, *SMALL, "--output", out, "--head", head) == 0
    assert bundle.read_info(out).task.kind == head
    model, expected_model = bundle.load(out), bundle.load(small)
    encoder = getattr(model, "backbone", model)
    for actual, expected in zip(encoder.weights, expected_model.backbone.weights, strict=True):
        if "seed" not in expected.path:
            np.testing.assert_array_equal(actual, expected)
    package = tmp_path / "package.tflite"
    arguments = ["--model", out, "--quantize", "float32", "--output", package, "--limit", 16]
    assert call("convert", *arguments) == 0 and package.stat().st_size > 10_000
    if head == "pretraining":
        flags = ["--shards", shards, *SMALL[2:-2], "--init", out, "--learning-rate", 1e-9]
        again = tmp_path / "again"
        assert call("pretrain", *flags, "--output", again, "--head", head) == 0
        for name in ("head", "order_head"):
            layers = getattr(bundle.load(again), name), getattr(model, name)
            for actual, expected in zip(*(layer.weights for layer in layers), strict=True):
                np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.slow
def test_sentence_order_is_learned_only_if_asked(shards, tmp_path):
    """Only the sentence-order head gives the pooler a gradient."""
    flags = ["--shards", shards, *SMALL, "--steps", 2, "--weight-decay", 0]
    pooler = {}
    for name, extra in (("with", []), ("without", ["--no-sentence-order"])):
        assert call("pretrain", *flags, *extra, "--output", tmp_path / name) == 0
        pooler[name] = bundle.load(tmp_path / name).backbone.pooler
    # Without that head's loss the pooler gets no gradient, and its bias stays at 0.
    assert not np.any(pooler["without"].bias) and np.abs(pooler["with"].bias).max() > 1e-3


TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sqb_tools import entry, pretrain
entry.run(pretrain.main, pretrain.flags())
"""


@pytest.mark.slow
def test_two_devices_give_the_result_of_one(small, shards, tmp_path):
    """Up to rounding, with a batch's predictions unequally split among them."""
    flags = [*SMALL, "--shards", shards, "--mirrored", "--output", tmp_path / "out"]
    command = [sys.executable, "-c", TWO_DEVICES, *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "on 2 devices" in done.stderr
    curves = metrics(small)["curve"], metrics(tmp_path / "out")["curve"]
    for expected, actual in zip(*curves, strict=True):
        assert actual["masked_lm_loss"] == pytest.approx(expected["masked_lm_loss"], abs=1e-4)
    assert_same_weights(small, tmp_path / "out", tolerance=2e-4)


@pytest.mark.slow
@pytest.mark.peers
@needs_jax
def test_jax_pretrains_from_shards_without_tensorflow(small, shards, tmp_path):
    """Equal to TensorFlow's run up to rounding, also when resumed after a kill; the bundle loads in both."""
    # The backends initialize weights differently, so both start from a bundle, without a new head.
    flags = ["--shards", shards, *SMALL[2:-2], "--init", small, "--no-sentence-order"]
    assert call("pretrain", *flags, "--output", tmp_path / "expected") == 0

    killer = tmp_path / "sitecustomize.py"
    killer.write_text(
        "import os, sys\n"
        "sys.modules['tensorflow'] = None\n"
        "if os.environ.get('KILL'):\n"
        "    from sqb_tf.training import state\n"
        "    save = state.RunState.save\n"
        "    def die(self):\n"
        "        save(self)\n"
        "        os.kill(os.getpid(), 9)\n"
        "    state.RunState.save = die\n"
    )
    flags += ["--output", tmp_path / "out"]
    assert run_in_jax(tmp_path, "pretrain", *flags, KILL="1").returncode == -9
    done = run_in_jax(tmp_path, "pretrain", *flags, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resuming at step 2 of 6" in done.stderr
    curves = [metrics(tmp_path / name)["curve"] for name in ("expected", "out")]
    assert len(curves[0]) == 2
    for ours, theirs in zip(*curves, strict=True):
        assert theirs["masked_lm_loss"] == pytest.approx(ours["masked_lm_loss"], abs=1e-4)
    assert_same_weights(tmp_path / "expected", tmp_path / "out", tolerance=2e-4)
    # What it wrote is loaded to the bit.
    model, arrays = bundle.load(tmp_path / "out"), stored_weights(tmp_path / "out")
    assert sorted(w.numpy().tobytes() for w in model.trainable_weights) == sorted(
        a.tobytes() for a in arrays.values() if a.dtype == np.float32
    )


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        *MISTAKES,
        (["--shards", "s", "--output", "o", "--steps", -1], "steps -1: expected at least 1"),
        (
            ["--shards", "s", "--output", "o", "--optimizer", "sgd"],
            "unknown optimizer 'sgd': expected one",
        ),
        (["--shards", "s", "--output", "o", "--micro-batch-size", 5], "micro_batch_size 5: exp"),
        (["--shards", "s", "--output", "o", "--warmup", 1], "warmup 1.0: expected 0 <= share"),
        (
            ["--shards", "s", "--output", "o", "--backend", "torch"],
            "unknown backend 'torch': expected",
        ),
    ],
)
def test_bad_flags(flags, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rejects(match, "pretrain", *flags)
    assert not listing(tmp_path)


@pytest.mark.slow
def test_bad_shards_for_a_model(small, shards, text, tmp_path):
    flags = ["--shards", shards, *SMALL, "--output", tmp_path / "out"]
    rejects("expected at least those of a batch", "pretrain", *flags, "--batch-size", 4096)
    rejects("unknown head 'span': expected one of", "pretrain", *flags, "--head", "span")
    rejects("unknown preset 'huge'", "pretrain", *flags, "--preset", "huge")
    rejects("save_every 0: expected at least 1", "pretrain", *flags, "--save-every", 0)
    data = ["--text", text, "--held-out", 20, "--steps", 0, "--vocab-size", 150]
    assert call("pretrain", *data, "--shards", tmp_path / "long", "--seq-length", 600) == 0
    long = ["--shards", tmp_path / "long", *flags[2:]]
    rejects("instances of 600 tokens: the model has 512 positions", "pretrain", *long)
    assert call("pretrain", *data, "--shards", tmp_path / "cased", "--cased") == 0
    cased = ["--shards", tmp_path / "cased", *SMALL[2:-2], "--init", small]
    rejects("cased: its vocabulary is not that of .*out", "pretrain", *cased, "--output", "o")


@pytest.mark.slow
def test_divergence_stops_the_run(shards, tmp_path):
    flags = ["--shards", shards, *SMALL, "--optimizer", "adamw", "--learning-rate", 1e30]
    with pytest.raises(InputError, match="the training diverged"):
        call("pretrain", *flags, "--output", tmp_path / "out")
    assert listing(tmp_path) == ["out.training"]


def test_process_ends_with_one_line(tmp_path):
    finished = run("pretrain", "--shards", tmp_path / "s", "--output", tmp_path / "o")
    assert "s: not a folder of shards" in error_line(finished)
