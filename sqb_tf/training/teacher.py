"""The teacher of a distillation: its outputs for the training examples, computed once."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle, model_garden
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import Passage
from sqb_tf.progress import log, track
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.pipeline import prediction_batches

KINDS = ("classification", "regression")
BATCH = 64
# In the folder of a run's state.
LOGITS, STATES = "teacher.npy", "teacher_states.npy"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained classifier or regression, its weights not loaded yet.

    Attributes:
        directory: a bundle, or a folder of Model Garden.
        kind: one of `KINDS`.
        paired: whether it takes two texts; None where that is not recorded.
        labels: label names in the order of its logits.
        num_layers: of its encoder.
        pools_first_token: whether it reads its first token, which then stands for the whole text.
        load: gives its preprocessor and its model, of which the outputs are `logits` `[batch, labels]` and
            `first_token_states`, of each layer `[batch, hidden]`.
    """

    directory: Path
    kind: str
    paired: bool | None
    labels: list[str]
    num_layers: int
    pools_first_token: bool
    load: Callable[[], tuple[Preprocessor, Any]]

    def check(self, task: Task, labels: Sequence[str]) -> None:
        """`InputError` if it is for another kind of task, or has other labels; their order is free."""
        if self.kind != task.head or set(self.labels) != set(labels):
            raise InputError(
                f"{self.directory}: a teacher for {self.kind} into {', '.join(self.labels)}; the data is for "
                f"{task.head} into {', '.join(labels)}: if these are names of the same, edit its labels.txt"
            )
        if self.paired not in (None, task.paired):
            raise InputError(
                f"{self.directory}: one of teacher and data is for pairs, one for texts"
            )


@dataclasses.dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs for the training examples, in order; arrays that are mapped, not read.

    Attributes:
        logits: `[n, labels]`, float32, in the order of the data's labels.
        states: the first token's states of some layers, each of length 1, `[n, layers, hidden]` in float16,
            which is half the size and moves the squared distance between two of 768 channels by 1e-4 at
            most (of 20,000 random pairs). None where they are not asked for.
    """

    logits: np.ndarray
    states: np.ndarray | None = None

    def targets(self, numbered: tf.Tensor) -> tf.Tensor | dict[str, tf.Tensor]:
        """The targets of a batch from its labels and the places of its examples, `[batch, 2]`.

        They are the label and the logits, `[batch, 1 + labels]`; with states a dict of these `logits` and of
        `states` `[batch, layers, hidden]`, all float32. Looked up as they are needed, so that what waits
        in the shuffle buffer is small.
        """
        places = tf.cast(numbered[:, 1], tf.int64)
        labels = tf.cast(numbered[:, :1], tf.float32)
        logits = tf.concat([labels, _look_up(self.logits, places)], axis=1)
        if self.states is None:
            return logits
        return {"logits": logits, "states": _look_up(self.states, places)}


def find_teacher(directory: str | Path) -> Teacher:
    """The teacher in a folder, without its weights.

    Raises:
        InputError: neither a bundle nor a folder of Model Garden; a bundle for another kind of task; a file
            in it that is missing or wrong.
    """
    directory = Path(directory)
    if (directory / model_garden.PARAMS).is_file():
        garden = model_garden.read_info(directory)

        def load_garden() -> tuple[Preprocessor, Any]:
            tokenizer = WordPieceTokenizer(directory / "vocab.txt", garden.lowercase)
            return Preprocessor(tokenizer, garden.seq_length), model_garden.load(garden)

        return Teacher(
            directory, garden.kind, None, garden.labels, garden.num_layers, True, load_garden
        )
    if directory.is_dir() and not (directory / "task.json").is_file():
        raise InputError(
            f"{directory}: no teacher: expected a bundle (it has task.json), or a folder of Model Garden's "
            f"training (it has {model_garden.PARAMS}, checkpoints, vocab.txt and labels.txt)"
        )
    info = bundle.read_info(directory, KINDS)

    def load_bundle() -> tuple[Preprocessor, Any]:
        model = bundle.load(directory, KINDS)
        return model.preprocessor, model.with_first_tokens()

    return Teacher(
        directory,
        info.task.kind,
        info.task.paired,
        info.labels,
        info.config.num_hidden_layers,
        info.config.pools_first_token,
        load_bundle,
    )


def teacher_outputs(
    teacher: Teacher,
    task: Task,
    labels: Sequence[str],
    num_examples: int,
    folder: Path,
    layers: Sequence[int] = (),
) -> TeacherOutputs:
    """The teacher's outputs for the training examples, computed once into files of `folder`.

    The states are those after `layers`, counted from 1; with none there are no states. Memory does not
    grow with the examples: outputs are written batch by batch.

    Args:
        teacher: one that `check` found to fit.
        labels: the data's, in the order that the logits shall have.

    Raises:
        InputError: a damaged teacher; outputs that are not finite; no room on the disk.
    """
    paths = [folder / name for name in ((LOGITS, STATES) if layers else (LOGITS,))]
    if not all(path.is_file() for path in paths):
        log(f"asking the teacher {teacher.directory}")
        batches = _ask(teacher, task, [teacher.labels.index(label) for label in labels], layers)
        steps = -(-num_examples // BATCH)
        with contextlib.ExitStack() as stack:
            staged = [stack.enter_context(staged_file(path)) for path in paths]
            files = [stack.enter_context(path.open("wb")) for path in staged]
            for step, arrays in enumerate(track(batches, "teacher batch", steps)):
                for file, array in zip(files, arrays, strict=True):
                    if not step:
                        _write_header(file, array, num_examples)
                    file.write(array.tobytes())
    return TeacherOutputs(*(np.load(path, mmap_mode="r") for path in paths))


def _ask(
    teacher: Teacher, task: Task, order: Sequence[int], layers: Sequence[int]
) -> Iterator[list[np.ndarray]]:
    """Logits, and states where `layers` are given, as `TeacherOutputs` has them, batch by batch."""
    preprocessor, model = teacher.load()
    ask = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    passages = (Passage(example.text, example.pair) for example in task.split("train"))
    for inputs in prediction_batches(passages, preprocessor, task.paired, BATCH):
        found = ask(inputs)
        arrays = [found["logits"].numpy()[:, order].astype(np.float32)]
        if layers:
            states = found["first_token_states"]
            states = tf.stack(states, axis=1) if isinstance(states, list) else states
            states = tf.gather(states, [layer - 1 for layer in layers], axis=1)
            arrays.append(tf.math.l2_normalize(states, axis=-1).numpy().astype(np.float16))
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"{teacher.directory}: outputs of this teacher are not finite")
        yield arrays


def _write_header(file: BinaryIO, batch: np.ndarray, count: int) -> None:
    """Begins a `.npy` of `count` rows as `batch` has. Rows are appended: a mapped file of that size would
    kill the process where the disk is full."""
    header = dict(descr=batch.dtype.str, fortran_order=False, shape=(count, *batch.shape[1:]))
    np.lib.format.write_array_header_1_0(file, header)


def _look_up(array: np.ndarray, places: tf.Tensor) -> tf.Tensor:
    """Rows of a mapped array, in float32."""
    found = tf.numpy_function(
        lambda rows: np.asarray(array[rows], np.float32), [places], tf.float32, stateful=False
    )
    return tf.ensure_shape(found, (None, *array.shape[1:]))
