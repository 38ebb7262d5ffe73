"""A teacher of TensorFlow Model Garden: built, trained and saved by tf-models-official's own code."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import (
    ROOT,
    error_line,
    listing,
    rejects,
    run,
)
from fixtures.models import VOCABULARY

import sqb_tf
from sqb_tf.checkpoint import model_garden
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.survey.survey import survey
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.teacher import find_teacher
from sqb_tf.training.teacher_outputs import teacher_outputs

DEMO = ROOT / "sqb_tf" / "demo"
FLAGS = ["--data", DEMO, "--limit", 64, "--epochs", 1, "--seq-length", 16, "--vocab-size", 300]
FLAGS += ["--preset", "squeezebert-tiny"]


def save(folder: Path, labels: list[str], pooler: bool, encoder: str, text: bool):
    """A classifier of Model Garden after a few training steps, saved as its trainer saves it."""
    import tensorflow as tf
    import tf_keras
    from official.core import exp_factory, train_utils
    from official.nlp.configs import finetuning_experiments  # noqa: F401  registers them
    from official.nlp.tasks import sentence_prediction

    params = exp_factory.get_exp_config("bert/sentence_prediction" + ("_text" if text else ""))
    params.task.model.num_classes = len(labels)
    params.task.model.use_encoder_pooler = pooler
    params.task.model.encoder.type = encoder
    sizes = dict(hidden_size=24, num_layers=3, num_attention_heads=3, intermediate_size=32)
    sizes |= dict(vocab_size=len(VOCABULARY), max_position_embeddings=48, initializer_range=0.2)
    params.task.model.encoder.get().override(sizes)
    params.task.train_data.seq_length = 20
    if not text:
        params.task.train_data.label_name = ("label_ids", "label_ids")  # a tuple in the YAML
    train_utils.serialize_config(params, str(folder))

    task = sentence_prediction.SentencePredictionTask(params.task)
    model = task.build_model()
    optimizer = tf_keras.optimizers.Adam(1e-3)
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), 20)
    examples = list(Task("classification", DEMO, limit=32).split("train"))
    ids = np.arange(32) % len(labels)
    features = {
        **preprocessor([example.text for example in examples]),
        task.label_field: ids.astype(np.float32 if len(labels) == 1 else np.int32),
    }
    checkpoint = tf.train.Checkpoint(
        global_step=optimizer.iterations, model=model, optimizer=optimizer, **model.checkpoint_items
    )
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=5)
    for _ in range(2):
        task.train_step(features, model, optimizer)
        manager.save(checkpoint_number=int(optimizer.iterations))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    if len(labels) > 1:
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    return model


@pytest.fixture(scope="module")
def labels() -> list[str]:
    return survey(Task("classification", DEMO, limit=64)).labels


@pytest.fixture(scope="module")
def garden(labels, tmp_path_factory):
    """The folder and the model."""
    folder = tmp_path_factory.mktemp("garden") / "teacher"
    return folder, save(folder, labels, pooler=False, encoder="bert", text=True)


@pytest.fixture
def damaged(garden, tmp_path) -> Path:
    """A copy of the folder that a test may damage."""
    return Path(shutil.copytree(garden[0], tmp_path / "garden"))


def assert_same_outputs(folder: Path, model, task: Task, labels: list[str], work: Path) -> None:
    """The stored outputs are those of the model itself on one padded batch of all texts."""
    texts = [example.text for example in task.split("train")]
    inputs = Preprocessor(WordPieceTokenizer(VOCABULARY), 20)(texts)
    outputs = teacher_outputs(find_teacher(folder), task, labels, len(texts), work, [1, 3])
    expected = model(inputs, training=False).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(outputs.logits, expected, atol=1e-5)
    states = model.checkpoint_items["encoder"](inputs)["encoder_outputs"]
    states = np.stack([states[0][:, 0], states[2][:, 0]], axis=1)
    states /= np.linalg.norm(states, axis=-1, keepdims=True)
    np.testing.assert_allclose(outputs.states, states, atol=5e-4)


def test_outputs_are_the_models_own(garden, labels, tmp_path):
    folder, model = garden
    info = model_garden.read_info(folder)
    assert (info.checkpoint.name, info.seq_length, info.lowercase) == ("ckpt-2", 20, True)
    task = Task("classification", DEMO, limit=100)
    assert_same_outputs(folder, model, task, labels, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("pooler", "encoder"), [(True, "bert"), (False, "bert_v2")])
def test_other_classifiers(labels, tmp_path, pooler, encoder):
    """With the encoder's own pooler; with the newer encoder; trained from ids instead of text."""
    folder = tmp_path / "teacher"
    model = save(folder, labels, pooler, encoder, text=False)
    assert "python/tuple" in (folder / "params.yaml").read_text()
    # Whether text was lowercased is not recorded, so the capitals in the vocabulary decide.
    assert not model_garden.read_info(folder).lowercase
    (folder / "vocab.txt").write_text(
        "".join(f"{token}\n" for token in VOCABULARY).replace("The\n", "thy\n")
    )
    assert model_garden.read_info(folder).lowercase
    task = Task("classification", DEMO, limit=70)
    assert_same_outputs(folder, model, task, labels, tmp_path)


@pytest.mark.slow
def test_a_regression(tmp_path):
    folder, data = tmp_path / "teacher", tmp_path / "data.tsv"
    model = save(folder, ["score"], pooler=True, encoder="bert", text=True)
    rows = [f"{'the film ' * (1 + i % 4)}\t{i}\n" for i in range(60)]
    data.write_text("text\tlabel\n" + "".join(rows))
    task = Task("regression", data)
    texts = [example.text for example in task.split("train")]
    outputs = teacher_outputs(find_teacher(folder), task, ["score"], len(texts), tmp_path)
    expected = model(Preprocessor(WordPieceTokenizer(VOCABULARY), 20)(texts), training=False)
    np.testing.assert_allclose(outputs.logits, expected, atol=1e-5)


@pytest.mark.slow
def test_distill_by_the_tool(garden, tmp_path):
    """In a separate process: logits, and hidden states of another size than the student's."""
    out = tmp_path / "out"
    flags = [*FLAGS, "--teacher", garden[0], "--hidden-weight", 1, "--output", out]
    process = run("distill", *flags, "--json", tmp_path / "result.json")
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "result.json").read_text())["options"]["hidden_weight"] == 1
    assert sqb_tf.load(out).config.hidden_size == 128
    assert listing(tmp_path) == ["out", "result.json"]


def test_other_labels(damaged, labels, tmp_path):
    flags = [*FLAGS, "--teacher", damaged, "--output", tmp_path / "out"]
    (damaged / "labels.txt").write_text("".join(f"{label}\n" for label in labels[:-1]))
    rejects(r"labels.txt: \d+ lines: params.yaml has task.model.num_classes \d+", "distill", *flags)
    (damaged / "labels.txt").write_text("".join(f"{label}s\n" for label in labels))
    rejects("a teacher for classification into .*; the data is for", "distill", *flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0, 100, -100])
@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_truncated_checkpoints(damaged, suffix, kept):
    path = damaged / f"ckpt-2.{suffix}"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="ckpt-2: damaged, or of another model than") as caught:
        find_teacher(damaged).load()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_files_that_are_missing_or_wrong(damaged, tmp_path):
    """Each is one line that names the file, nothing in it is run, and the tool ends with 2."""

    def rejected(match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            find_teacher(damaged).load()
        assert "\n" not in str(caught.value) and str(damaged) in str(caught.value)

    def edited(name: str, old: str, new: str, match: str) -> None:
        path = damaged / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        rejected(match)
        path.write_text(text)

    edited("params.yaml", "hidden_size: 24", "hidden_size: 36", "ckpt-2: damaged, or of another")
    edited("params.yaml", "hidden_size: 24", "height: 24", "Model Garden rejects task.model")
    edited("params.yaml", "num_layers: 3", "num_layers: 4", "ckpt-2: damaged, or of another")
    edited("params.yaml", "num_layers: 3", "num_layers: x", "num_layers is 'x': expected int")
    edited("params.yaml", "type: bert", "type: albert", "the encoder is 'albert'")
    edited("params.yaml", "task:", "tasks:", "task.model.encoder.type is None: expected str")
    edited("params.yaml", "runtime:", "runtime: [", "cannot be read as YAML")
    code = "!!python/object/apply:os.system ['touch " + str(tmp_path / "run") + "']"
    edited("params.yaml", "name: null", f"name: {code}", "cannot be read as YAML: could not determ")
    assert not (tmp_path / "run").exists()
    edited("vocab.txt", "film\n", "", r"vocab.txt: \d+ lines: params.yaml has task.model.encoder")
    edited("vocab.txt", "[SEP]", "SEP", r"vocab.txt: the vocabulary lacks \[SEP\]")
    for name in ("vocab.txt", "labels.txt"):
        (damaged / name).rename(tmp_path / name)
        rejected(f"{name}: cannot be read.*No such file")
        (tmp_path / name).rename(damaged / name)
    (damaged / "ckpt-2.data-00000-of-00001").unlink()
    rejected("ckpt-2: damaged, or of another")
    for path in damaged.glob("ckpt-*"):
        path.unlink()
    process = run("distill", *FLAGS, "--teacher", damaged, "--output", tmp_path / "out")
    assert "no checkpoint: expected ckpt-N.index and its data" in error_line(process)
    (damaged / "params.yaml").write_text("- 1\n")
    rejected("params.yaml: expected Model Garden's experiment")
    assert not (tmp_path / "out").exists()
