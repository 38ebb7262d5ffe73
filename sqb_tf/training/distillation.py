"""Knowledge distillation: a student learns from a teacher's outputs as well as from the labels.

Logits: Hinton et al. 2015 (arXiv 1503.02531), section 2. Hidden states: Sun et al. 2019 (arXiv 1908.09355),
section 3.2, "patient knowledge distillation". SqueezeBERT's fine-tuning "with bells and whistles"
(arXiv 2006.11316) distills too.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sqb_tf.config import SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model.backbone import token_inputs
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.teacher import Teacher
from sqb_tf.training.teacher_outputs import TeacherOutputs


@keras.saving.register_keras_serializable(package="sqb_tf")
class DistillationLoss(keras.losses.Loss):
    """`alpha` times the loss against the teacher plus 1 - `alpha` times the loss against the label.

    Targets are `[batch, 1 + labels]`: the label's id, then the teacher's logits. Classification uses
    cross-entropy; against the teacher it is that of the probabilities at `temperature`, times
    `temperature` squared, which keeps the size of the gradients. Regression uses squared errors.
    """

    def __init__(
        self, head: str, temperature: float, alpha: float, name: str = "distillation", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.head, self.temperature, self.alpha = head, temperature, alpha

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, `[batch]`."""
        labels, teacher = y_true[:, 0], y_true[:, 1:]
        if registry.get_task_head(self.head).distillation_loss == "squared_error":
            hard, soft = (ops.square(y_pred[:, 0] - y) for y in (labels, teacher[:, 0]))
        else:
            hard = ops.sparse_categorical_crossentropy(
                ops.cast(labels, "int32"), y_pred, from_logits=True
            )
            probabilities = ops.softmax(teacher / self.temperature, axis=-1)
            log_probabilities = ops.log_softmax(y_pred / self.temperature, axis=-1)
            soft = -ops.sum(probabilities * log_probabilities, axis=-1) * self.temperature**2
        return self.alpha * soft + (1 - self.alpha) * hard

    def get_config(self) -> dict[str, Any]:
        settings = dict(head=self.head, temperature=self.temperature, alpha=self.alpha)
        return {**super().get_config(), **settings}


@keras.saving.register_keras_serializable(package="sqb_tf")
class PatientLoss(keras.losses.Loss):
    """The squared distance between the teacher's and the student's states, each scaled to length 1.

    Both are `[batch, layers, hidden]`; the teacher's have length 1 already. This is equation 7 of Sun et al.
    2019 with the mean over batch and layers instead of the sum: 0 to 4. Their code averages over the channels
    too, so their weights of 10 to 1000 equal these times the hidden size.
    """

    def __init__(self, name: str = "patient", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, `[batch]`."""
        distances = ops.square(ops.normalize(y_pred, axis=-1) - y_true)
        return ops.mean(ops.sum(distances, axis=-1), axis=-1)


def patient_layers(num_student: int, num_teacher: int) -> list[int]:
    """The teacher layer for each student layer but the last: evenly spaced, counted from 1.

    This is "PKD-skip" (section 3.2): a student of 6 layers learns from layers 2, 4, 6, 8 and 10 of 12. The
    student's last layer learns from the logits, which are computed from it.

    Raises:
        InputError: a student of one layer, which has no other.
    """
    if num_student < 2:
        raise InputError(
            "hidden_weight: the student has one layer, which learns from the logits alone: expected two or "
            "more layers"
        )
    return [-(-layer * num_teacher // num_student) for layer in range(1, num_student)]


def match_layers(student: SqueezeBertConfig, teacher: Teacher) -> list[int]:
    """The teacher layers that a student's layers learn from, see `patient_layers`.

    Raises:
        InputError: the student or the teacher does not pool its first token; a student of one layer.
    """
    for name, pools_first_token in (
        ("the student", student.pools_first_token),
        (f"the teacher {teacher.directory}", teacher.pools_first_token),
    ):
        if not pools_first_token:
            raise InputError(
                f"hidden_weight: {name} does not pool its first token, whose states are compared: "
                "expected self-attention, or no hidden_weight"
            )
    return patient_layers(student.num_hidden_layers, teacher.num_layers)


def distillation_model(student: Any, teacher: TeacherOutputs, seed: int) -> keras.Model:
    """The student's layers as the model to train; its targets are `TeacherOutputs.targets`.

    With the teacher's states its outputs are `logits` and `states` `[batch, layers, hidden]`, those of every
    layer but the last. Where the hidden sizes differ, a learned matrix projects the student's states to the
    teacher's size (Jiao et al. 2020, arXiv 1909.10351, equation 8); it is not part of the student.
    """
    if teacher.states is None:
        return student
    inputs = token_inputs()
    outputs = student.with_first_tokens()(inputs)
    states, size = outputs["first_token_states"][:, :-1], teacher.states.shape[-1]
    if states.shape[-1] != size:
        project = keras.layers.Dense(
            size,
            use_bias=False,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            dtype="float32",
            name="projection",
        )
        states = project(states)
    outputs = {"logits": outputs["logits"], "states": states}
    return keras.Model(inputs, outputs, name="distillation")


def distillation_losses(
    head: str, options: FinetuneOptions, teacher: TeacherOutputs
) -> dict[str, Any]:
    """The losses of a `distillation_model`, as arguments of `compile`."""
    loss = DistillationLoss(head, options.temperature, options.alpha)
    if teacher.states is None:
        return {"loss": loss}
    return {
        "loss": {"logits": loss, "states": PatientLoss()},
        "loss_weights": {"logits": 1.0, "states": options.hidden_weight},
    }
