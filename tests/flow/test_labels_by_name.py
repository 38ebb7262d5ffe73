"""What becomes of a trained head under --init: its labels are matched by name, a new head is told."""

import json
import shutil

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.models import LABELS, SEQ_LENGTH, randomize, tiny_config

from sqb_tf.checkpoint import bundle
from sqb_tf.model import heads
from sqb_tf.training import checks

# Too low to learn anything: what is measured is what the run starts with.
UNCHANGED = ["--learning-rate", 1e-9, "--epochs", 1, "--seq-length", SEQ_LENGTH, "--uncalibrated"]


@pytest.fixture
def data(bundle_dir, tmp_path):
    """Texts with the labels that `bundle_dir` gives them."""
    for split in ("train", "dev"):
        shutil.copy(bundle_dir / "verification.jsonl", tmp_path / f"{split}.jsonl")
    return tmp_path


@pytest.fixture
def told(monkeypatch):
    """What the user is told before a run."""
    lines: list[str] = []
    for level in ("log", "warn"):
        monkeypatch.setattr(checks, level, lines.append)
    return lines


def reordered(spoiled, order: list[int]) -> None:
    """The same model with its outputs in another order."""
    model = bundle.load(spoiled)
    heads.order_labels(model, order)
    bundle.save_weights(model, spoiled / bundle.WEIGHTS)
    bundle.checksum.write(spoiled / bundle.WEIGHTS)
    (spoiled / "labels.txt").write_text("".join(f"{LABELS[i]}\n" for i in order))


def test_labels_in_another_order_keep_their_head(spoiled, data, told):
    """At ff36b52 the head began anew, in silence."""
    reordered(spoiled, [2, 0, 1])
    output = data / "model"
    assert call("finetune", "--data", data, "--init", spoiled, "--output", output, *UNCHANGED) == 0
    assert bundle.read_info(output).labels == LABELS
    assert json.loads((output / "metrics.json").read_text())["metric"]["value"] == 1.0
    assert not [line for line in told if "head" in line]


@pytest.mark.parametrize("head", ["classification", "multi_label", "token_classification"])
def test_outputs_are_reordered(head):
    model = heads.build(head, tiny_config(), 3)
    randomize(model)
    kernel, bias = (weights.copy() for weights in model.head.get_weights())
    heads.order_labels(model, [2, 0, 1])
    np.testing.assert_array_equal(model.head.get_weights()[0], kernel[:, [2, 0, 1]])
    np.testing.assert_array_equal(model.head.get_weights()[1], bias[[2, 0, 1]])


def test_heads_without_labels_have_no_order():
    heads.order_labels(heads.build("span", tiny_config()), [])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["bad", "fair", "superb"],
            "other labels: the data lacks superb; the model lacks good",
        ),
        (["bad", "fair"], "other labels: the model lacks good"),
        (
            ["LABEL_0", "LABEL_1"],
            "lacks LABEL_0, LABEL_1; the model lacks bad, fair, good (LABEL_0, LABEL_1 are outputs without "
            "names: give them the data's with `sqb import_hf --labels`",
        ),
    ],
    ids=["another one", "one more", "outputs without names"],
)
def test_a_head_that_begins_anew_is_told(labels, message, bundle_dir, spoiled, data, told):
    (spoiled / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    checks.check_finetune(*_request(data, spoiled))
    (line,) = (line for line in told if "head" in line)
    assert line.startswith(
        f"--init {spoiled}: a new head is trained in place of its own, which has"
    )
    assert message in line


def test_a_head_of_another_kind_is_told(paired_bundle_dir, regression_bundle_dir, data, told):
    checks.check_finetune(*_request(data, regression_bundle_dir))
    assert (
        f"--init {regression_bundle_dir}: a new classification head takes the place of its regression head"
        in told
    )
    told.clear()
    checks.check_finetune(*_request(data, "squeezebert-micro"))  # it has learned from no labels
    assert not [line for line in told if "head" in line]


def _request(data, init) -> tuple:
    from sqb_tf.data.task import Task
    from sqb_tf.training.options import FinetuneOptions

    options = FinetuneOptions(init=str(init), seq_length=SEQ_LENGTH)
    return Task("classification", data), data / "model", options
