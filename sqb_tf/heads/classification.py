"""Labels and numbers of texts, or of pairs of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import (
    IndexedKind,
    Outputs,
    Passage,
    Row,
)


@dataclasses.dataclass(frozen=True)
class Classification:
    """The result for one text: the top label, and every label's score in the order of the labels."""

    label: str
    scores: dict[str, float]

    @classmethod
    def of(cls, labels: Sequence[str], scores: np.ndarray) -> Classification:
        """The classification of an output vector `[labels]`."""
        named = {label: float(score) for label, score in zip(labels, scores, strict=True)}
        return cls(labels[int(scores.argmax())], named)

    def line(self, text: str, pair: str | None) -> str:
        """For people: label, its score, and the text."""
        shown = text if pair is None else f"{text}\t{pair}"
        return f"{self.label}\t{self.scores[self.label]:.4f}\t{shown}"


class ClassificationKind(IndexedKind):
    """One of several labels."""

    def target(self, example: Example) -> int:
        return self.label_ids[example.label]

    def result(
        self, row: Row, passages: Sequence[Passage], outputs: Sequence[Outputs]
    ) -> Classification:
        (scores,) = outputs[0].values()
        return Classification.of(self.labels, scores)

    def decisions(self, result: Classification) -> list[str]:
        return [result.label]

    def outputs(self, results: Sequence[Classification]) -> np.ndarray:
        return np.array([list(one.scores.values()) for one in results])

    def answer(self, result: Classification, names: Mapping[str, str]) -> str:
        return names.get(result.label, result.label)


class RegressionKind(ClassificationKind):
    """A number."""

    fixed_labels = ("score",)
    target_dtype = "float32"

    def labels_of(self, example: Example, source: str) -> Iterable[str]:
        try:
            finite = np.isfinite(float(example.label))
        except ValueError:
            finite = False
        if not finite:
            raise InputError(f"{source}: target {example.label!r} is not a number")
        return ()

    def target(self, example: Example) -> float:
        return float(example.label)

    def compiled(self) -> dict[str, Any]:
        import keras

        return {"loss": keras.losses.MeanSquaredError()}

    def answer(self, result: Classification, names: Mapping[str, str]) -> str:
        return f"{next(iter(result.scores.values())):.4f}"
