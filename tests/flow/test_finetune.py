"""Fine-tuning as a run: repeatable, killed anywhere and resumed to the same weights."""

import errno
import functools
import json
import os
import re
import shutil
import signal
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from fixtures.commands import (
    ROOT,
    call,
    fingerprint,
    listing,
    start,
    start_python,
)
from fixtures.models import VOCABULARY, stored_weights, tiny_config

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model.heads import SqueezeBertClassifier
from sqb_tf.training import finetune, run_directory, trainer
from sqb_tf.training.state import RunState

DEMO = ROOT / "sqb_tf" / "demo"
# 48 examples: 3 steps an epoch, 6 in all, saved at steps 2, 4 and 6 and at the end of each epoch.
SMALL = ["--data", DEMO, "--limit", 48, "--epochs", 2, "--batch-size", 16, "--seq-length", 16]
SMALL += ["--save-every", 2]
RESUMABLE = (
    "interrupted: the same command with --resume continues"  # the last line on standard error
)
TINY = [*SMALL, "--preset", "squeezebert-tiny", "--vocab-size", 300]

# Runs tools/finetune.py and sends its process a signal after a number of steps.
DRIVER = """
import os, sys
steps, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))
from sqb_tools import entry, finetune
from sqb_tf.training.callbacks import SaveState
after_step = SaveState.on_train_batch_end

def signalled(self, batch, logs=None):
    after_step(self, batch, logs)
    if self._state.step == steps:
        os.kill(os.getpid(), number)

SaveState.on_train_batch_end = signalled
entry.run(finetune.main, finetune.flags())
"""


def assert_same_run(expected_path: Path, actual_path: Path) -> None:
    """The weights are equal to the bit, and so are the files but for the time taken."""
    expected, actual = stored_weights(expected_path), stored_weights(actual_path)
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    for name in (
        "config.json",
        "vocab.txt",
        "labels.txt",
        "calibration.jsonl",
        "verification.jsonl",
    ):
        assert (expected_path / name).read_bytes() == (actual_path / name).read_bytes(), name
    results = []
    for path in (expected_path, actual_path):
        metrics = json.loads((path / "metrics.json").read_text())
        del metrics["seconds"]
        results.append(metrics)
    assert results[0] == results[1]


def signalled(steps: int, number: signal.Signals, *arguments: object) -> tuple[int, str]:
    """The return code and standard error of a fine-tuning that gets a signal after `steps`."""
    command = ["-c", DRIVER, steps, int(number), *arguments]
    process = start_python(*map(str, command))
    _, err = process.communicate()
    return process.returncode, err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """The bundle of the tiny preset, fine-tuned without interruption."""
    folder = tmp_path_factory.mktemp("tiny")
    assert call("finetune", *TINY, "--output", folder / "out", "--json", folder / "out.json") == 0
    assert listing(folder) == ["out", "out.json"]
    return folder / "out"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[list, Path]:
    """The flags of a run on a model of one layer with dropout, and its bundle."""
    folder = tmp_path_factory.mktemp("small")
    config = tiny_config(num_hidden_layers=1, hidden_dropout_prob=0.1)
    model = SqueezeBertClassifier(config, num_labels=2)
    task = bundle.TaskInfo("classification", "classification", False, 16, True, {}, "", "")
    bundle.write(folder / "init", bundle.BundleContents(model, VOCABULARY, ["a", "b"], task))
    flags = [*SMALL, "--init", folder / "init"]
    assert call("finetune", *flags, "--output", folder / "out") == 0
    return flags, folder / "out"


def test_result_and_bundle(uninterrupted):
    result = json.loads(uninterrupted.with_suffix(".json").read_text())
    assert result == json.loads((uninterrupted / "metrics.json").read_text())
    assert result["metric"]["name"] == "accuracy" and 0 <= result["metric"]["value"] <= 1
    assert (result["train_examples"], result["dev_examples"]) == (48, 48)
    model = bundle.load(uninterrupted)
    assert result["parameters"] == model.count_params()
    assert model.info.task.seq_length == 16
    assert len(model.info.sample("calibration")) == 48
    assert any((uninterrupted / "logs").iterdir())


def test_weights_are_stored_without_the_optimizer(uninterrupted):
    size = (uninterrupted / bundle.WEIGHTS).stat().st_size
    assert size < 4.5 * bundle.load(uninterrupted).count_params() + 200_000


@pytest.mark.slow
def test_killed_again_and_again(uninterrupted, bundle_dir, tmp_path):
    """Before the first save, between two, after the last step: the result is that of an uninterrupted run."""
    out = tmp_path / "out"
    shutil.copytree(bundle_dir, out)
    earlier = fingerprint(out)
    flags = [*TINY, "--output", out]

    code, _ = signalled(1, signal.SIGKILL, *flags)
    assert code == -signal.SIGKILL
    assert fingerprint(out) == earlier
    code, err = signalled(5, signal.SIGINT, *flags, "--resume")
    assert (code, err.splitlines()[-1]) == (130, RESUMABLE)
    assert "Traceback" not in err
    assert fingerprint(out) == earlier
    code, err = signalled(6, signal.SIGKILL, *flags, "--resume")
    assert code == -signal.SIGKILL
    assert "resuming at step 4 of 6" in err
    assert fingerprint(out) == earlier
    bundle.load(out)
    assert listing(tmp_path) == ["out", "out.training"]

    assert call("finetune", *flags, "--resume") == 0
    assert_same_run(uninterrupted, out)
    assert listing(tmp_path) == ["out"]


def test_interrupted_from_outside(bundle_dir, tmp_path):
    """Ctrl-C in the terminal, while TensorFlow still loads or just as a step is saved."""
    flags = [*SMALL, "--init", bundle_dir, "--output", tmp_path / "out"]
    process = start("finetune", *flags)
    assert process.stderr.readline().startswith("reading ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err.splitlines()[-1]) == (130, RESUMABLE)
    assert "Traceback" not in err
    assert listing(tmp_path) in ([], ["out.training"])


class Interrupted:
    """A function that raises `KeyboardInterrupt` before or after the first call of another."""

    def __init__(self, function, before: bool) -> None:
        self.function, self.before, self.calls = function, before, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 1 and self.before:
            raise KeyboardInterrupt
        result = self.function(*args, **kwargs)
        if self.calls == 1:
            raise KeyboardInterrupt
        return result


@pytest.mark.slow
def test_interrupted_while_writing(small, tmp_path, monkeypatch):
    """In the best weights, in the state of an epoch, in the bundle, in cleaning up."""
    flags, expected = small
    flags = [*flags, "--output", tmp_path / "out"]

    def half_written(model, path, **_):
        Path(path).write_bytes(b"half")

    for owner, name, function, before in (
        (keras.saving, "save_weights", half_written, False),
        (RunState, "save", RunState.save, False),
        (keras.saving, "save_weights", keras.saving.save_weights, False),
        (bundle, "_write_json", bundle._write_json, True),
        (run_directory, "shutil", shutil.rmtree, True),
    ):
        resume = ["--resume"] if (tmp_path / "out.training").exists() else []
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            fails = Interrupted(function, before)
            if owner is RunState:
                fails = functools.partialmethod(fails)
            if name == "shutil":
                fails = types.SimpleNamespace(rmtree=fails)
            patched.setattr(owner, name, fails)
            call("finetune", *flags, *resume)
        assert not list(tmp_path.rglob(".*")), "a temporary file is left"
        assert (tmp_path / "out").exists() == (name == "shutil")
    assert_same_run(expected, tmp_path / "out")
    # Nothing is left to resume.
    assert not (tmp_path / "out.training" / run_directory.RUN_RECORD).exists()


@pytest.mark.slow
def test_full_disk_at_the_end_costs_nothing(small, tmp_path, monkeypatch):
    """The bundle cannot be written; when the disk has room again, --resume writes it without training."""
    flags, expected = small
    flags = [*flags, "--output", tmp_path / "out"]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(bundle, "write_lines", full)
        with pytest.raises(InputError, match=r"cannot write .*out: No space left on device"):
            call("finetune", *flags)
    assert listing(tmp_path) == ["out.training"]
    monkeypatch.setattr(trainer.TrainingBatches, "epoch", full)
    assert call("finetune", *flags, "--resume") == 0
    assert_same_run(expected, tmp_path / "out")


@pytest.mark.slow
def test_seed_repeats_a_run(small, tmp_path):
    flags, expected = small
    assert call("finetune", *flags, "--seed", 0, "--output", tmp_path / "again") == 0
    assert_same_run(expected, tmp_path / "again")
    assert call("finetune", *flags, "--seed", 1, "--output", tmp_path / "other") == 0
    first_seed, second_seed = stored_weights(expected), stored_weights(tmp_path / "other")
    assert any(
        not np.array_equal(array, second_seed[name])
        for name, array in first_seed.items()
        if array.dtype == np.float32
    )


@pytest.mark.slow
def test_mixed_precision_trains_a_float32_bundle(small, tmp_path):
    flags, in_float32 = small
    flags = [*flags, "--precision", "mixed_bfloat16", "--output", tmp_path / "out"]
    assert call("finetune", *flags) == 0
    assert keras.config.dtype_policy().name == "float32"
    actual, expected = stored_weights(tmp_path / "out"), stored_weights(in_float32)
    differences = [np.abs(actual[name] - expected[name]).max() for name in expected]
    assert {array.dtype for array in actual.values()} == {a.dtype for a in expected.values()}
    # 6 steps of at most 1e-4: the same run, rounded differently.
    assert 0 < max(differences) < 1e-3
    # The metric is that of the float32 model in the bundle.
    arguments = ["--model", tmp_path / "out", "--data", DEMO, "--limit", 48]
    assert call("evaluate", *arguments, "--json", tmp_path / "result.json") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert json.loads((tmp_path / "result.json").read_text())["metric"] == metrics["metric"]


@pytest.mark.slow
def test_dev_is_evaluated_within_epochs_too(small, tmp_path, capsys, monkeypatch):
    """Every 2 steps of an epoch of 3; a kill between a step's save and its evaluation changes nothing."""
    flags = [*small[0], "--evaluate-every", 2]
    assert call("finetune", *flags, "--output", tmp_path / "out") == 0
    evaluations = re.findall(r"(\w+ \d/\d): dev accuracy ([\d.]+)", capsys.readouterr().err)
    assert [position for position, _ in evaluations] == [
        "step 2/6",
        "epoch 1/2",
        "step 5/6",
        "epoch 2/2",
    ]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    first_best = max(evaluations, key=lambda point: float(point[1]))[0]
    assert metrics["best_step"] == {"step 2/6": 2, "epoch 1/2": 3, "step 5/6": 5}.get(first_best, 6)
    assert metrics["best_epoch"] == (1 if metrics["best_step"] <= 3 else 2)
    arguments = ["--model", tmp_path / "out", "--data", DEMO, "--limit", 48]
    assert call("evaluate", *arguments, "--json", tmp_path / "result.json") == 0
    assert json.loads((tmp_path / "result.json").read_text())["metric"] == metrics["metric"]

    save = RunState.save

    def stop(self):
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunState, "save", stop)
        call("finetune", *flags, "--output", tmp_path / "again")
    capsys.readouterr()
    assert call("finetune", *flags, "--output", tmp_path / "again", "--resume") == 0
    assert "step 2/6: dev accuracy" in capsys.readouterr().err
    assert_same_run(tmp_path / "out", tmp_path / "again")


@pytest.fixture(scope="module")
def killed(small, tmp_path_factory) -> tuple[list, Path]:
    """The flags and output of a run that was stopped after its first saved state."""
    out = tmp_path_factory.mktemp("killed") / "out"
    save, flags = RunState.save, [*small[0], "--output", out]

    def stop(self):
        save(self)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunState, "save", stop)
        call("finetune", *flags)
    return flags, out


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", 3),
        ("--batch-size", 8),
        ("--learning-rate", 1e-2),
        ("--warmup", 0.5),
        ("--weight-decay", 0.5),
        ("--seq-length", 12),
        ("--evaluate-every", 3),
        ("--seed", 1),
        ("--limit", 40),
    ],
)
def test_resume_with_another_flag_names_it(flag, value, killed):
    flags, out = killed
    before = fingerprint(out.parent)
    match = rf"--resume: the run in .*out.training has (examples|{flag[2:]}) .* not {value}"
    with pytest.raises(InputError, match=match):
        call("finetune", *flags, flag, value, "--resume")
    assert fingerprint(out.parent) == before


def test_resume_on_other_data_says_so(killed, tmp_path):
    flags, out = killed
    before = fingerprint(out.parent)
    shutil.copy(DEMO / "train.tsv", tmp_path)
    shutil.copy(DEMO / "dev.tsv", tmp_path)
    with pytest.raises(InputError, match=r"--resume: the run in .* has data "):
        call("finetune", *flags, "--data", tmp_path, "--resume")
    assert fingerprint(out.parent) == before


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("run.json", r"run.json: cannot be read: .*: start again without --resume"),
        ("state.npz", r"state.npz: the saved state is damaged .*: start again without --resume"),
    ],
)
def test_resume_of_a_damaged_state(name, match, killed, tmp_path):
    flags, out = killed
    work = tmp_path / "out.training"
    shutil.copytree(out.with_name("out.training"), work)
    os.truncate(work / name, 20)
    with pytest.raises(InputError, match=match) as caught:
        call("finetune", *flags, "--output", tmp_path / "out", "--resume")
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == ["out.training"]


def test_resume_of_nothing_starts_anew(small, tmp_path, capsys, monkeypatch):
    flags, _ = small
    monkeypatch.setattr(
        finetune.FinetuneTrainer, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        call("finetune", *flags, "--output", tmp_path / "out", "--resume")
    assert "nothing to resume at" in capsys.readouterr().err


def test_diverged_training_stops_at_once_and_is_no_result(small, tmp_path):
    flags, _ = small
    match = r"diverged: at step 2 .*a lower --learning-rate .* stay in .*out\.training"
    with pytest.raises(InputError, match=match):
        call("finetune", *flags, "--learning-rate", 1e30, "--output", tmp_path / "out")
    assert listing(tmp_path) == ["out.training"]


def test_a_state_with_a_nan_is_not_saved_over_a_good_one(tmp_path):
    model = SqueezeBertClassifier(tiny_config(num_hidden_layers=1), num_labels=2)
    model.compile("adam", "mse")
    state = RunState(tmp_path / "run" / "state.npz", model)
    kept = model.get_weights()
    state.save()
    state.step = 7
    model.head.bias.assign([0.0, np.nan])
    with pytest.raises(InputError, match=r"at step 7 .* stay in .*run"):
        state.save()
    assert state.restore() == 0
    for actual, expected in zip(model.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_bad_flag_keeps_the_state_of_a_killed_run(killed):
    """Without --resume a run starts again, but only after its flags are checked."""
    flags, out = killed
    before = fingerprint(out.parent)
    with pytest.raises(InputError, match="seq_length 513"):
        call("finetune", *flags, "--seq-length", 513)
    assert fingerprint(out.parent) == before


@pytest.mark.parametrize(
    ("head", "metric", "references", "value", "answer"),
    [
        ("classification", "accuracy", [0, 1, 1, 0, 1], 0.6, "always answering 'good' (0.6000)"),
        ("classification", "accuracy", [0, 1, 1, 0, 1], 0.7, None),
        ("classification", "macro_f1", [0, 1, 1, 0, 1], 0.37, "always answering 'good' (0.3750)"),
        ("classification", "macro_f1", [0, 1, 1, 0, 1], 0.4, None),
        ("regression", "pearson", [1.0, 2.0], 0.0, "always answering the same number (0.0000)"),
        ("token_classification", "entity_f1", [["B-X", "O"]], 0.0, "finding no entity (0.0000)"),
        ("span", "f1", [["lake"], []], 0.5, "answering nothing (0.5000)"),
        ("span", "f1", [["lake"], []], 0.6, None),
        ("multiple_choice", "accuracy", [0, 1], 0.0, None),
    ],
)
def test_a_model_that_learned_nothing_is_called_out(
    head, metric, references, value, answer, monkeypatch
):
    logged = []
    monkeypatch.setattr(finetune, "warn", logged.append)
    description = registry.get_task_head(head)(
        ["bad", "good"] if head == "classification" else ["O", "B-X"]
    )
    if head in ("classification", "regression"):
        references = np.array(references)
    data = types.SimpleNamespace(metric=metric)
    finetune._warn_if_untrained(
        types.SimpleNamespace(head=description, data=data, dev_references=references), value
    )
    assert [f"no better than {answer}" in line for line in logged] == [True] * (answer is not None)
