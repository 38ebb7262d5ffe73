"""A number for a text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.classification import Classification, ClassificationHead
from sqb_tf.heads.head import Output
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.long_texts import LONG_TEXTS
from sqb_tf.heads.metrics import pearson, spearman


class RegressionHead(ClassificationHead):
    """A number: a classifier with one output and no softmax."""

    name = "regression"
    decoding_settings = (LONG_TEXTS,)
    fixed_labels = ("score",)
    outputs = (Output("logits", centered=True),)
    hf_problem_type = "regression"
    metrics: ClassVar = {"pearson": pearson, "spearman": spearman}
    has_classes = one_class = judges_classes = judges_probabilities = False
    opens_in_mediapipe = False
    target_dtype = "float32"
    distillation_loss = "squared_error"
    table_columns = ("score",)

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        return num_labels == 1 and problem_type != "multi_label_classification"

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        check_number(example, source)
        return ()

    def number(self, example: Example) -> float:
        return float(example.label_text)

    def target(self, example: Example) -> float:
        return self.number(example)

    def table_cells(self, result: Classification) -> tuple[str, ...]:
        return (f"{result.score:.4f}",)

    def compile_arguments(self) -> dict[str, Any]:
        import keras

        return {"loss": keras.losses.MeanSquaredError()}

    def judge(self, example: Example, result: Classification) -> Iterable[Judgement]:
        """Beyond rounding, any number but the right one is off."""
        (score,) = result.scores.values()
        distance = abs(score - self.target(example))
        yield Judgement(example.label_text, f"{score:.4f}", distance < 5e-5, distance)

    def metric_inputs(self, results: Sequence[Classification]) -> np.ndarray:
        """The scores, `[n]`."""
        return np.array([next(iter(result.scores.values())) for result in results])

    def loss(self, results: Sequence[Classification], references: Any) -> float | None:
        """Squared error."""
        return float(np.square(self.metric_inputs(results) - references).mean())

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        return "always answering the same number", 0.0

    def format_prediction(self, result: Classification, names: Mapping[str, str]) -> str:
        return f"{next(iter(result.scores.values())):.4f}"


def check_number(example: Example, source: str) -> None:
    """`InputError`, which names the file `source`, for a label that is no finite number."""
    try:
        finite = np.isfinite(float(example.label_text))
    except ValueError:
        finite = False
    if not finite:
        raise InputError(
            f"{source}: target {example.label!r} is not a number: expected numbers as labels"
        )


HEAD = RegressionHead
