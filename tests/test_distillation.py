"""Distillation: the loss by hand, the teacher asked once, a student that follows its teacher."""

import json

import keras
import numpy as np
import pytest
from commands import ROOT, call
from helpers import VOCABULARY, randomize, tiny_config

import sqb_tf
from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.heads import SqueezeBertClassifier
from sqb_tf.tasks.task import Task
from sqb_tf.training import distillation
from sqb_tf.training.distillation import DistillationLoss, teacher_logits

DEMO = ROOT / "sqb_tf" / "demo"
SMALL = ["--data", DEMO, "--limit", 64, "--epochs", 2, "--batch-size", 16, "--seq-length", 16]
SMALL += ["--preset", "squeezebert-tiny", "--vocab-size", 300]


def softmax(x: np.ndarray) -> np.ndarray:
    exponents = np.exp(x - x.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A bundle with random weights for the demo's first examples, sure of its answers."""
    labels, _ = Task("classification", DEMO, limit=64).survey()
    model = SqueezeBertClassifier(tiny_config(), num_labels=len(labels))
    randomize(model)
    model.head.kernel.assign(model.head.kernel * 3)
    task = bundle.TaskInfo("classification", "classification", False, 24, True, {}, "", "")
    folder = tmp_path_factory.mktemp("teacher") / "bundle"
    bundle.save(folder, model, VOCABULARY, labels, task, [], [], metrics={})
    return folder


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.3), (4.0, 1.0), (2.0, 0.0)])
def test_classification_loss_by_hand(temperature, alpha):
    rng = np.random.default_rng(0)
    labels, teacher, student = np.array([2, 0]), *rng.normal(size=(2, 2, 3)).astype(np.float32)
    targets = np.column_stack([labels, teacher]).astype(np.float32)
    soft = -(softmax(teacher / temperature) * np.log(softmax(student / temperature))).sum(-1)
    hard = -np.log(softmax(student)[[0, 1], labels])
    expected = np.mean(alpha * soft * temperature**2 + (1 - alpha) * hard)
    loss = DistillationLoss("classification", temperature, alpha)
    assert float(loss(targets, student)) == pytest.approx(expected, rel=1e-5)
    again = DistillationLoss.from_config(loss.get_config())
    assert float(again(targets, student)) == float(loss(targets, student))


def test_regression_loss_by_hand():
    targets, student = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[2.0], [4.0]])
    # Label: errors 1 and 2; teacher: -1 and 2.
    assert float(DistillationLoss("regression", 9.0, 0.25)(targets, student)) == pytest.approx(
        0.25 * (1 + 4) / 2 + 0.75 * (1 + 4) / 2
    )
    assert float(DistillationLoss("regression", 9.0, 1.0)(targets, student + 1)) == pytest.approx(
        4.5
    )


def test_the_gradient_is_zero_at_the_teacher():
    import tensorflow as tf

    logits = tf.constant(np.random.default_rng(1).normal(size=(4, 3)), tf.float32)
    targets = tf.concat([tf.zeros((4, 1)), logits], axis=1)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = DistillationLoss("classification", 3.0, 1.0)(tf.stop_gradient(targets), logits)
    assert np.abs(tape.gradient(loss, logits)).max() < 1e-6


def test_the_teacher_is_asked_once_and_in_order(teacher, tmp_path, monkeypatch):
    model, task = sqb_tf.load(teacher), Task("classification", DEMO, limit=100)
    found = teacher_logits(model, task, model.labels, 100, tmp_path / "teacher.npy")
    texts = [example.text for example in task.split("train")]
    np.testing.assert_allclose(found, model(model.preprocessor(texts)), atol=1e-4)
    monkeypatch.setattr(type(model), "predict_on_batch", None)  # a second time would fail
    again = teacher_logits(model, task, model.labels, 100, tmp_path / "teacher.npy")
    np.testing.assert_array_equal(again, found)


def test_a_student_follows_its_teacher(teacher, tmp_path):
    """With the labels left out it learns what the teacher says, which is not what they say."""
    flags = [*SMALL, "--teacher", teacher, "--dropout", 0, "--epochs", 40, "--learning-rate", 3e-3]
    out = tmp_path / "out"
    assert call("distill", *flags, "--alpha", 1, "--output", out, "--evaluate-every", 10_000) == 0
    student, master = sqb_tf.load(out), sqb_tf.load(teacher)
    texts = [example.text for example in Task("classification", DEMO, limit=64).split("train")]
    found, expected = (m(m.preprocessor(texts)).numpy().argmax(-1) for m in (student, master))
    ids = {label: i for i, label in enumerate(master.labels)}
    labels = [ids[e.label] for e in Task("classification", DEMO, limit=64).split("train")]
    assert np.mean(expected == labels) < 0.4
    options = json.loads((out / "metrics.json").read_text())["options"]
    assert (options["teacher"], options["alpha"]) == (str(teacher), 1.0)
    # Its best point on dev is kept, not its last: early or late, it is nearer to the teacher.
    assert np.mean(found == expected) > 2 * np.mean(found == labels)


def test_without_its_share_the_teacher_changes_nothing(teacher, tmp_path):
    assert call("finetune", *SMALL, "--output", tmp_path / "plain") == 0
    flags = [*SMALL, "--teacher", teacher, "--alpha", 0]
    assert call("distill", *flags, "--output", tmp_path / "distilled") == 0
    plain, distilled = (sqb_tf.load(tmp_path / name) for name in ("plain", "distilled"))
    for one, other in zip(plain.trainable_weights, distilled.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_teachers_that_do_not_fit(teacher, tmp_path, regression_bundle_dir):
    def error(*flags) -> str:
        with pytest.raises(InputError) as caught:
            call("distill", *SMALL, *flags, "--output", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "a teacher for regression into score; the data is for classification" in error(
        "--teacher", regression_bundle_dir
    )
    assert "temperature 0.0: expected a number above 0" in error(
        "--teacher", teacher, "--temperature", 0
    )
    assert "alpha 1.5: expected 0 to 1" in error("--teacher", teacher, "--alpha", 1.5)
    assert "gone: no such folder" in error("--teacher", "gone")
    model = sqb_tf.load(teacher)
    pairs = Task("rte", DEMO)
    with pytest.raises(InputError, match="the data is for classification into a, b"):
        teacher_logits(model, pairs, ["a", "b"], 1, tmp_path / "teacher.npy")


def test_the_loss_is_saved_with_a_model(tmp_path):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", distillation.DistillationLoss("classification", 2.0, 0.5))
    model.fit(np.ones((4, 2)), np.ones((4, 4)), verbose=0)
    model.save(tmp_path / "model.keras")
    loss = keras.saving.load_model(tmp_path / "model.keras").loss
    assert (loss.temperature, loss.alpha) == (2.0, 0.5)
