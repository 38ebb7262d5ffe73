"""A teacher's outputs for the training examples, computed once into the run directory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from sqb_tf.atomic_write import staged_file
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.npy_file import RowWriter
from sqb_tf.progress import log, track
from sqb_tf.training.pipeline import prediction_batches
from sqb_tf.training.teacher import Teacher

BATCH = 64
# Files of the run directory.
LOGITS, STATES = "teacher.npy", "teacher_states.npy"


@dataclasses.dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs for the training examples, in order, as memory-mapped arrays.

    Attributes:
        logits: `[n, labels]`, float32, in the order of the data's labels.
        states: the first token's states in some layers, each scaled to length 1, `[n, layers, hidden]`.
            float16 halves their size and changes the squared distance between two states of 768 channels by
            at most 1e-4 (over 20,000 random pairs). None if they are not needed.
    """

    logits: np.ndarray
    states: np.ndarray | None = None

    def targets(self, indexed_labels: tf.Tensor) -> tf.Tensor | dict[str, tf.Tensor]:
        """The targets of a batch from the labels and the indices of its examples, `[batch, 2]`.

        They are the label and the logits, `[batch, 1 + labels]`; with states a dict of these as `logits` and
        `states` `[batch, layers, hidden]`, all float32. They are looked up batch by batch, so that the
        shuffle buffer holds indices only.
        """
        indices = tf.cast(indexed_labels[:, 1], tf.int64)
        labels = tf.cast(indexed_labels[:, :1], tf.float32)
        logits = tf.concat([labels, _look_up(self.logits, indices)], axis=1)
        if self.states is None:
            return logits
        return {"logits": logits, "states": _look_up(self.states, indices)}


def teacher_outputs(
    teacher: Teacher,
    task: Task,
    labels: Sequence[str],
    num_examples: int,
    folder: Path,
    layers: Sequence[int] = (),
) -> TeacherOutputs:
    """The teacher's outputs for the training examples, computed once into files of `folder`.

    Outputs are written batch by batch, so memory does not grow with the examples.

    Args:
        teacher: a teacher that has passed `check`.
        task: its "train" split is computed.
        labels: the data's labels, in the order that the logits are to have.
        num_examples: training examples.
        folder: the run directory.
        layers: the layers, counted from 1, whose states are kept; empty: no states.

    Raises:
        InputError: a damaged teacher, outputs that are not finite, or a full disk.
    """
    paths = [folder / name for name in ((LOGITS, STATES) if layers else (LOGITS,))]
    if not all(path.is_file() for path in paths):
        log(f"running the teacher {teacher.directory}")
        batches = _compute(teacher, task, [teacher.labels.index(label) for label in labels], layers)
        steps = -(-num_examples // BATCH)
        with contextlib.ExitStack() as stack:
            staged = [stack.enter_context(staged_file(path)) for path in paths]
            files = [stack.enter_context(RowWriter(path)) for path in staged]
            for arrays in track(batches, "teacher batch", steps):
                for file, array in zip(files, arrays, strict=True):
                    file.append(array)
    return TeacherOutputs(*(np.load(path, mmap_mode="r") for path in paths))


def _compute(
    teacher: Teacher, task: Task, order: Sequence[int], layers: Sequence[int]
) -> Iterator[list[np.ndarray]]:
    """Logits, and states unless `layers` is empty, as `TeacherOutputs` holds them, batch by batch."""
    preprocessor, model = teacher.load()
    predict = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    for inputs in prediction_batches(task.split("train"), preprocessor, task.paired, BATCH):
        outputs = predict(inputs)
        arrays = [outputs["logits"].numpy()[:, order].astype(np.float32)]
        if layers:
            states = outputs["first_token_states"]
            states = tf.stack(states, axis=1) if isinstance(states, list) else states
            states = tf.gather(states, [layer - 1 for layer in layers], axis=1)
            arrays.append(tf.math.l2_normalize(states, axis=-1).numpy().astype(np.float16))
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"{teacher.directory}: this teacher's outputs are not finite")
        yield arrays


def _look_up(array: np.ndarray, indices: tf.Tensor) -> tf.Tensor:
    """Rows of a memory-mapped array, in float32."""
    rows = tf.numpy_function(
        lambda i: np.asarray(array[i], np.float32), [indices], tf.float32, stateful=False
    )
    return tf.ensure_shape(rows, (None, *array.shape[1:]))
