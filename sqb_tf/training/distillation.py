"""Knowledge distillation: a student learns from a teacher's outputs beside the labels.

Hinton et al. 2015 (arXiv 1503.02531), section 2. SqueezeBERT's fine-tuning "with bells and whistles"
(arXiv 2006.11316) distills too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sqb_tf.errors import InputError
from sqb_tf.files import staged_file
from sqb_tf.progress import say, track
from sqb_tf.tasks.kind import Passage
from sqb_tf.tasks.task import Task
from sqb_tf.training.pipeline import prediction_batches

KINDS = ("classification", "regression")
BATCH = 64


@keras.saving.register_keras_serializable(package="sqb_tf")
class DistillationLoss(keras.losses.Loss):
    """`alpha` times the loss against the teacher, 1 - `alpha` times that against the label.

    Targets are `[batch, 1 + labels]`: the label's id, then the teacher's logits. Classification:
    cross-entropy, against the teacher's probabilities at `temperature`, times its square, so that gradients
    keep their size. Regression: squared errors.
    """

    def __init__(
        self, kind: str, temperature: float, alpha: float, name: str = "distillation", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.kind, self.temperature, self.alpha = kind, temperature, alpha

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, `[batch]`."""
        labels, teacher = y_true[:, 0], y_true[:, 1:]
        if self.kind == "regression":
            hard, soft = (ops.square(y_pred[:, 0] - y) for y in (labels, teacher[:, 0]))
        else:
            hard = ops.sparse_categorical_crossentropy(
                ops.cast(labels, "int32"), y_pred, from_logits=True
            )
            expected = ops.softmax(teacher / self.temperature, axis=-1)
            found = ops.log_softmax(y_pred / self.temperature, axis=-1)
            soft = -ops.sum(expected * found, axis=-1) * self.temperature**2
        return self.alpha * soft + (1 - self.alpha) * hard

    def get_config(self) -> dict[str, Any]:
        settings = dict(kind=self.kind, temperature=self.temperature, alpha=self.alpha)
        return {**super().get_config(), **settings}


def teacher_logits(
    teacher: Any, task: Task, labels: list[str], num_examples: int, cache: Path
) -> np.ndarray:
    """The teacher's logits of the training examples, in order, `[n, labels]`; computed once into `cache`.

    Raises:
        InputError: a teacher of another kind of task, or with other labels.
    """
    info = teacher.info
    if info.task.kind != task.kind or teacher.labels != labels:
        raise InputError(
            f"{info.directory}: a teacher for {info.task.kind} into {', '.join(teacher.labels)}; the data "
            f"is for {task.kind} into {', '.join(labels)}"
        )
    if info.task.paired != task.paired:
        raise InputError(f"{info.directory}: one of teacher and data is for pairs, one for texts")
    if not cache.is_file():
        say(f"asking the teacher {info.directory}")
        passages = (Passage(e.text, e.pair) for e in task.split("train"))
        batches = prediction_batches(passages, teacher.preprocessor, info.task.paired, BATCH)
        steps = -(-num_examples // BATCH)
        found = [
            teacher.predict_on_batch(inputs) for inputs in track(batches, "teacher batch", steps)
        ]
        with staged_file(cache) as staged, staged.open("wb") as file:
            np.save(file, np.concatenate(found))
    return np.load(cache, mmap_mode="r")
