"""Distillation: losses by hand, a teacher that runs once, a student that follows its teacher."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from fixtures.commands import ROOT, call, listing
from fixtures.models import (
    VOCABULARY,
    random_inputs,
    randomize,
    softmax,
    tiny_config,
)
from fixtures.tiers import tiered

import sqb_tf
from sqb_tf.checkpoint import bundle, checksum
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model.heads import SqueezeBertClassifier
from sqb_tf.npy_file import RowWriter
from sqb_tf.survey.survey import survey
from sqb_tf.training import teacher_outputs as teacher_module
from sqb_tf.training.distillation import (
    DistillationLoss,
    PatientLoss,
    distillation_losses,
    distillation_model,
    match_layers,
    patient_layers,
)
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pipeline import TrainingBatches, example_stream
from sqb_tf.training.state import RunState
from sqb_tf.training.teacher import find_teacher
from sqb_tf.training.teacher_outputs import TeacherOutputs, teacher_outputs

DEMO = ROOT / "sqb_tf" / "demo"
DATA = ["--data", DEMO, "--limit", 64, "--batch-size", 16, "--seq-length", 16]
SMALL = [*DATA, "--epochs", 2, "--preset", "squeezebert-tiny", "--vocab-size", 300]


def save(folder: Path, model: SqueezeBertClassifier, labels: list[str]) -> Path:
    """A bundle for the demo's texts."""
    task = bundle.TaskInfo("classification", "classification", False, 24, True, {}, "", "")
    bundle.write(folder, bundle.BundleContents(model, VOCABULARY, labels, task))
    return folder


@pytest.fixture(scope="module")
def labels() -> list[str]:
    """The labels of the demo's first examples."""
    return survey(Task("classification", DEMO, limit=64)).labels


@pytest.fixture(scope="module")
def teacher(labels, tmp_path_factory):
    """A bundle with random weights for the demo's first examples; its probabilities are near 0 and 1."""
    model = SqueezeBertClassifier(tiny_config(), num_labels=len(labels))
    randomize(model)
    model.head.kernel.assign(model.head.kernel * 3)
    return save(tmp_path_factory.mktemp("teacher") / "bundle", model, labels)


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
    # Errors against the label: 1 and 2; against the teacher: -1 and 2.
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


def test_patient_loss_by_hand():
    rng = np.random.default_rng(2)
    teacher, student = rng.normal(size=(2, 5, 3, 8)).astype(np.float32)
    teacher, unit = (x / np.sqrt((x**2).sum(-1, keepdims=True)) for x in (teacher, student))
    expected = np.mean(
        [[((t - s) ** 2).sum() for t, s in zip(*rows)] for rows in zip(teacher, unit)]
    )
    loss = PatientLoss.from_config(PatientLoss().get_config())
    assert float(loss(teacher, student)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(teacher, 7 * teacher)) < 1e-12
    assert float(loss(teacher, -teacher)) == pytest.approx(4, rel=1e-5)


def test_layers_of_the_paper():
    """Sun et al. 2019, section 3.2: 6 layers learn from layers 2, 4, 6, 8, 10 of 12, not from the last."""
    assert patient_layers(6, 12) == [2, 4, 6, 8, 10]
    assert patient_layers(3, 12) == [4, 8]
    assert patient_layers(2, 2) == [1]
    assert patient_layers(12, 12) == list(range(1, 12))
    assert patient_layers(5, 12) == [3, 5, 8, 10]
    assert patient_layers(4, 2) == [1, 1, 2]
    with pytest.raises(InputError, match="hidden_weight: the student has one layer"):
        patient_layers(1, 12)


@pytest.mark.parametrize("layers", [1, 3])
def test_first_token_states(layers):
    """They equal those of `with_states`, which are compared with transformers'."""
    model = SqueezeBertClassifier(tiny_config(num_hidden_layers=layers), num_labels=3)
    randomize(model)
    inputs = random_inputs(model.config, 4, 9)
    outputs = model.with_first_tokens()(inputs)
    states = model.backbone.with_states()(inputs)["hidden_states"][1:]
    expected = np.stack([state[:, 0] for state in states], axis=1)
    np.testing.assert_allclose(outputs["first_token_states"], expected, atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], model(inputs), atol=1e-5)


@pytest.mark.slow
def test_separable_models_distill_logits_only(labels, tmp_path):
    """They pool the mean of the tokens, so the states of their first token do not represent the text."""
    model = SqueezeBertClassifier(tiny_config(token_mixer="separable_conv"), num_labels=len(labels))
    randomize(model)
    teacher = find_teacher(save(tmp_path / "bundle", model, labels))
    task = Task("classification", DEMO, limit=64)
    inputs = sqb_tf.load(tmp_path / "bundle").preprocessor([e.text for e in task.split("train")])
    outputs = teacher_outputs(teacher, task, labels, 64, tmp_path)
    np.testing.assert_allclose(outputs.logits, model(inputs), atol=1e-4)
    with pytest.raises(InputError, match=r"hidden_weight: the teacher .*bundle does not pool its"):
        match_layers(tiny_config(), teacher)
    with pytest.raises(InputError, match="hidden_weight: the student does not pool its first"):
        match_layers(model.config, teacher)


def test_the_teacher_runs_once_and_in_order(teacher, tmp_path):
    model, task = sqb_tf.load(teacher), Task("classification", DEMO, limit=100)
    outputs = teacher_outputs(find_teacher(teacher), task, model.labels, 100, tmp_path, [2, 1, 1])
    assert listing(tmp_path) == ["teacher.npy", "teacher_states.npy"]
    assert all(isinstance(array, np.memmap) for array in (outputs.logits, outputs.states))
    inputs = model.preprocessor([example.text for example in task.split("train")])
    np.testing.assert_allclose(outputs.logits, model(inputs), atol=1e-4)
    states = model.with_first_tokens()(inputs)["first_token_states"].numpy()[:, [1, 0, 0]]
    states /= np.linalg.norm(states, axis=-1, keepdims=True)
    np.testing.assert_allclose(outputs.states, states, atol=5e-4)
    without_model = dataclasses.replace(find_teacher(teacher), load=None)  # a second run would fail
    again = teacher_outputs(without_model, task, model.labels, 100, tmp_path, [2, 1, 1])
    np.testing.assert_array_equal(again.logits, outputs.logits)
    np.testing.assert_array_equal(again.states, outputs.states)


@pytest.mark.slow
def test_labels_in_another_order(teacher, tmp_path):
    """Labels are matched by name: the teacher's columns are reordered."""
    labels, task = sqb_tf.load(teacher).labels, Task("classification", DEMO, limit=8)
    logits = []
    for order in (labels, labels[::-1]):
        folder = tmp_path / order[0]
        folder.mkdir()
        logits.append(teacher_outputs(find_teacher(teacher), task, order, 8, folder).logits)
    np.testing.assert_array_equal(logits[0], logits[1][:, ::-1])
    assert np.abs(logits[0] - logits[1]).max() > 1


def test_targets_belong_to_their_texts(bundle_dir, tmp_path):
    """After shuffling and sorting: the length of a text tells its index."""
    (tmp_path / "train.tsv").write_text(
        "text\tlabel\n" + "".join(f"{'the ' * (1 + i % 7)}\t{i}\n" for i in range(90))
    )
    (tmp_path / "dev.tsv").write_text("text\tlabel\na\t1\n")
    indices = np.arange(90, dtype=np.float32)[:, None]
    outputs = TeacherOutputs(indices, np.float16(indices[:, None] * [1, 2]))
    head = registry.get("regression")()
    examples = example_stream(Task("regression", tmp_path).split("train"), head, with_index=True)
    preprocessor, _ = find_teacher(bundle_dir).load()

    def epoch(outputs: TeacherOutputs) -> list:
        batches = TrainingBatches(
            examples, preprocessor, head, 4, seed=0, batch_targets=outputs.targets
        )
        return list(batches.epoch(0))

    batches = epoch(outputs)
    seen = np.concatenate([targets["logits"] for _, targets in batches])
    np.testing.assert_array_equal(seen[:, 0], seen[:, 1])
    assert sorted(seen[:, 0]) == list(range(90)) != list(seen[:, 0])
    for inputs, targets in batches:
        np.testing.assert_array_equal(
            targets["states"][:, 0], targets["logits"][:, 1:] * np.array([[1, 2]])
        )
        lengths = inputs["input_mask"].numpy().sum(1)
        np.testing.assert_array_equal(lengths, 3 + targets["logits"].numpy()[:, 0] % 7)
    targets = epoch(dataclasses.replace(outputs, states=None))[0][1]
    np.testing.assert_array_equal(targets, batches[0][1]["logits"])


@pytest.mark.slow
def test_an_imported_teacher(tmp_path):
    """An imported classifier that transformers saved."""
    source, folder = (
        ROOT / "tests" / "golden" / "squeezebert" / "classification" / "0",
        tmp_path / "imported",
    )
    assert call("import_hf", "--source", source, "--output", folder) == 0
    model = sqb_tf.load(folder)
    data = tmp_path / "data"
    data.mkdir()
    rows = "".join(f"the plot was {label}\t{label}\n" for label in model.labels)
    for split in ("train", "dev"):
        (data / f"{split}.tsv").write_text(f"text\tlabel\n{rows}")
    flags = ["--data", data, "--epochs", 1, "--preset", "squeezebert-tiny", "--vocab-size", 50]
    flags += ["--teacher", folder, "--output", tmp_path / "out"]
    assert call("distill", *flags) == 0
    assert sqb_tf.load(tmp_path / "out").labels == sorted(model.labels)


def test_a_student_follows_its_teacher(teacher, tmp_path):
    """With alpha 1 it learns the teacher's answers, which differ from the labels."""
    flags = [*SMALL, "--teacher", teacher, "--dropout", 0, "--epochs", 40, "--learning-rate", 3e-3]
    out = tmp_path / "out"
    assert call("distill", *flags, "--alpha", 1, "--output", out, "--evaluate-every", 10_000) == 0
    student, teacher_model = sqb_tf.load(out), sqb_tf.load(teacher)
    texts = [example.text for example in Task("classification", DEMO, limit=64).split("train")]
    answers, teacher_answers = (
        m(m.preprocessor(texts)).numpy().argmax(-1) for m in (student, teacher_model)
    )
    ids = {label: i for i, label in enumerate(teacher_model.labels)}
    labels = [ids[e.label] for e in Task("classification", DEMO, limit=64).split("train")]
    assert np.mean(teacher_answers == labels) < 0.4
    options = json.loads((out / "metrics.json").read_text())["options"]
    assert (options["teacher"], options["alpha"]) == (str(teacher), 1.0)
    # The step that is best on dev is kept, not the last; at any step it is nearer to the teacher.
    assert np.mean(answers == teacher_answers) > 2 * np.mean(answers == labels)


@pytest.mark.slow
def test_with_alpha_0_the_teacher_changes_nothing(teacher, tmp_path):
    assert call("finetune", *SMALL, "--output", tmp_path / "plain") == 0
    flags = [*SMALL, "--teacher", teacher, "--alpha", 0]
    assert call("distill", *flags, "--output", tmp_path / "distilled") == 0
    plain, distilled = (sqb_tf.load(tmp_path / name) for name in ("plain", "distilled"))
    for actual, expected in zip(distilled.trainable_weights, plain.trainable_weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_a_student_approaches_hidden_states(teacher, labels, tmp_path):
    task = Task("classification", DEMO, limit=64)
    outputs = teacher_outputs(find_teacher(teacher), task, labels, 64, tmp_path, [1])
    student = SqueezeBertClassifier(tiny_config(), num_labels=len(labels))
    model = distillation_model(student, outputs, seed=0)
    options = FinetuneOptions(hidden_weight=1.0)
    model.compile(
        "adam", jit_compile=False, **distillation_losses("classification", options, outputs)
    )
    inputs = sqb_tf.load(teacher).preprocessor([e.text for e in task.split("train")])
    indexed_labels = np.column_stack([np.zeros(64), np.arange(64)])
    targets = outputs.targets(keras.ops.convert_to_tensor(indexed_labels))
    before = model.evaluate(inputs, targets, verbose=0, return_dict=True)
    model.fit(inputs, targets, epochs=30, verbose=0)
    after = model.evaluate(inputs, targets, verbose=0, return_dict=True)
    assert after["states_loss"] < 0.5 * before["states_loss"]
    assert after["logits_loss"] < before["logits_loss"]
    # The student itself was trained.
    states = student.with_first_tokens()(inputs)["first_token_states"][:, :1]
    assert float(PatientLoss()(outputs.states, states)) == pytest.approx(
        after["states_loss"], rel=1e-3
    )


@pytest.mark.slow
def test_the_projection_is_learned_and_saved_but_no_part_of_the_student(teacher, labels, tmp_path):
    task = Task("classification", DEMO, limit=64)
    outputs = teacher_outputs(find_teacher(teacher), task, labels, 64, tmp_path, [1])
    student = SqueezeBertClassifier(tiny_config(hidden_size=16), num_labels=len(labels))
    model = distillation_model(student, outputs, seed=3)
    (projection,) = [w for w in model.trainable_weights if w.path.startswith("projection/")]
    assert projection.shape == (16, 32)
    assert len(model.trainable_weights) == len(student.trainable_weights) + 1
    again = distillation_model(student, outputs, seed=3).get_layer("projection").kernel
    np.testing.assert_array_equal(projection, again)
    same_size = SqueezeBertClassifier(tiny_config(), num_labels=len(labels))
    assert len(distillation_model(same_size, outputs, 0).weights) == len(same_size.weights)

    options = FinetuneOptions(hidden_weight=2.0)
    model.compile(
        "sgd", jit_compile=False, **distillation_losses("classification", options, outputs)
    )
    inputs = random_inputs(student.config, 8, 6)
    targets = {"logits": np.zeros((8, 1 + len(labels)), np.float32), "states": outputs.states[:8]}
    losses = model.evaluate(inputs, targets, verbose=0, return_dict=True)
    parts = losses["logits_loss"] + 2 * losses["states_loss"]
    assert losses["loss"] == pytest.approx(parts, rel=1e-5)

    state = RunState(tmp_path / "state.npz", model)
    before = projection.numpy()
    state.step = 5
    state.save()
    projection.assign(before + 1)
    assert RunState(tmp_path / "state.npz", model).restore() == 5
    np.testing.assert_array_equal(projection, before)


@pytest.fixture(scope="module")
def hidden_flags(teacher, labels, tmp_path_factory):
    """The flags of a run on hidden states through a projection, with dropout."""
    config = tiny_config(hidden_size=16, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    model = SqueezeBertClassifier(config, num_labels=len(labels))
    start = save(tmp_path_factory.mktemp("start") / "bundle", model, labels)
    return [*DATA, "--init", start, "--teacher", teacher, "--hidden-weight", 1, "--epochs", 2]


@pytest.fixture(scope="module")
def hidden_run(hidden_flags, tmp_path_factory):
    """The bundle of such a run without interruption."""
    out = tmp_path_factory.mktemp("hidden") / "out"
    assert call("distill", *hidden_flags, "--save-every", 3, "--output", out) == 0
    return out


def assert_equal_bundles(actual_path: Path, expected_path: Path) -> None:
    models = sqb_tf.load(actual_path), sqb_tf.load(expected_path)
    for actual, expected in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("saves", tiered([0, 2], [2]))
def test_resume_is_exact(hidden_flags, hidden_run, tmp_path, monkeypatch, saves):
    """Stopped before the first save, when the teacher has already run, and after the second."""
    flags = [*hidden_flags, "--save-every", 3, "--output", tmp_path / "out"]
    original, calls = RunState.save, []

    def stopped(state):
        calls.append(1)
        if len(calls) > saves:
            raise KeyboardInterrupt
        original(state)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunState, "save", stopped)
        call("distill", *flags)
    with pytest.raises(InputError, match=r"has hidden-weight 1.0, not 2.0"):
        call("distill", *flags, "--hidden-weight", 2, "--resume")
    monkeypatch.setattr(teacher_module, "_compute", None)  # a second run would fail
    assert call("distill", *flags, "--resume") == 0
    assert_equal_bundles(tmp_path / "out", hidden_run)


@pytest.mark.slow
def test_in_bfloat16(hidden_flags, tmp_path):
    flags = [*hidden_flags, "--precision", "mixed_bfloat16", "--output", tmp_path / "out"]
    assert call("distill", *flags) == 0
    assert {w.dtype for w in sqb_tf.load(tmp_path / "out").trainable_weights} == {"float32"}


@pytest.mark.slow
def test_full_disk_and_outputs_that_are_not_finite(teacher, labels, spoiled, tmp_path, monkeypatch):
    task = Task("classification", DEMO, limit=64)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "work"
    with monkeypatch.context() as patched:
        patched.setattr(RowWriter, "_write_header", full)
        with pytest.raises(InputError, match=r"cannot write .*npy: No space left on device"):
            teacher_outputs(find_teacher(teacher), task, labels, 64, folder, [1])
    assert listing(folder) == []
    model = sqb_tf.load(spoiled)
    model.head.kernel.assign(np.full(model.head.kernel.shape, 3e38))  # the sums are not finite
    bundle.save_weights(model, spoiled / bundle.WEIGHTS)
    checksum.write(spoiled / bundle.WEIGHTS)
    (spoiled / "labels.txt").write_text("bad\nfair\ngood\n")
    data = tmp_path / "data.tsv"
    data.write_text("text\tlabel\na good film\tgood\na film\tfair\na bad film\tbad\n" * 4)
    with pytest.raises(InputError, match="teacher's outputs are not finite"):
        teacher_outputs(
            find_teacher(spoiled), Task("classification", data), model.labels, 12, folder
        )
    assert listing(folder) == []


def test_teachers_that_do_not_fit(teacher, tmp_path, regression_bundle_dir):
    def error(*flags) -> str:
        with pytest.raises(InputError) as caught:
            call("distill", *SMALL, *flags, "--output", tmp_path / "out")
        assert listing(tmp_path) == []
        return str(caught.value)

    assert "a teacher for regression into score; the data is for classification" in error(
        "--teacher", regression_bundle_dir
    )
    assert "temperature 0.0: expected a number above 0" in error(
        "--teacher", teacher, "--temperature", 0
    )
    assert "alpha 1.5: expected 0 to 1" in error("--teacher", teacher, "--alpha", 1.5)
    assert "hidden_weight -1.0: expected 0 or above" in error(
        "--teacher", teacher, "--hidden-weight", -1
    )
    assert "gone: no such folder" in error("--teacher", "gone")
    assert f"{tmp_path}: no teacher: expected a bundle" in error("--teacher", tmp_path)
    pairs, without_weights = Task("rte", DEMO), find_teacher(teacher)
    with pytest.raises(InputError, match="the data is for classification into a, b"):
        without_weights.check(pairs, ["a", "b"])
    with pytest.raises(InputError, match="the teacher takes single texts, but the data has pairs"):
        without_weights.check(pairs, without_weights.labels)


def test_the_loss_is_saved_with_a_model(tmp_path):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", DistillationLoss("classification", 2.0, 0.5))
    model.fit(np.ones((4, 2)), np.ones((4, 4)), verbose=0)
    model.save(tmp_path / "model.keras")
    loss = keras.saving.load_model(tmp_path / "model.keras").loss
    assert (loss.temperature, loss.alpha) == (2.0, 0.5)
