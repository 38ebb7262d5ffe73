"""A label for a text, or for a pair of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example, TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Output, Outputs
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.long_texts import LONG_TEXTS
from sqb_tf.heads.metrics import accuracy, f1, macro_f1, matthews
from sqb_tf.heads.task_head import IndexedHead

# The setting of the score below which no label is given, and what is shown then.
ABSTAIN_BELOW = "abstain_below"
ABSTAINED = "(none)"


@dataclasses.dataclass(frozen=True)
class Classification:
    """The result for one text: the top label, and the score of every label in the labels' order.

    `label` is None where the model abstains: the best score is too low. `truncated` counts the tokens of the
    text that the model has not seen.
    """

    label: str | None
    scores: dict[str, float]
    truncated: int = 0

    @classmethod
    def from_scores(
        cls, labels: Sequence[str], scores: np.ndarray, abstain_below: float = 0.0
    ) -> Classification:
        """The classification of an output vector `[labels]`."""
        named = {label: float(score) for label, score in zip(labels, scores, strict=True)}
        best = int(scores.argmax())
        # Not `>=`: a score that is not a number is for verification to find, not an abstention.
        return cls(None if scores[best] < abstain_below else labels[best], named)

    @property
    def best(self) -> str:
        """The label with the highest score, whether it is given or not."""
        return (
            self.label if self.label is not None else max(self.scores, key=self.scores.__getitem__)
        )

    @property
    def score(self) -> float:
        """That of the best label."""
        return self.scores[self.best]

    def line(self, text: str, pair: str | None) -> str:
        """For people: label, its score, and the text."""
        shown = text if pair is None else f"{text}\t{pair}"
        return f"{ABSTAINED if self.label is None else self.label}\t{self.score:.4f}\t{shown}"


class ClassificationHead(IndexedHead):
    """One of several labels, or none of them.

    Settings: `abstain_below`, the score that the best label must have to be given; `long_texts`, see
    `long_texts.POLICIES`.
    """

    name = "classification"
    keras_class = "sqb_tf.model.heads.SqueezeBertClassifier"
    decoding_settings: ClassVar[tuple[str, ...]] = (ABSTAIN_BELOW, LONG_TEXTS)
    pooled_only = True
    outputs: ClassVar[tuple[Output, ...]] = (Output("probabilities", activation="softmax"),)
    hf_class = "ForSequenceClassification"
    hf_layers: ClassVar = {"classifier_head": "classifier"}
    hf_problem_type = "single_label_classification"
    metrics: ClassVar = {"accuracy": accuracy, "macro_f1": macro_f1, "f1": f1, "matthews": matthews}
    has_classes = one_class = True
    judges_classes = True
    judges_probabilities = True
    opens_in_mediapipe = True
    distillation_loss = "cross_entropy"
    table_columns: ClassVar[tuple[str, ...]] = ("label", "score")

    def __post_init__(self) -> None:
        super().__post_init__()
        below = self.settings.get(ABSTAIN_BELOW, 0.0)
        if isinstance(below, bool) or not isinstance(below, (int, float)) or not 0 <= below <= 1:
            raise InputError(f"{ABSTAIN_BELOW} {below!r}: expected a score from 0 to 1")

    @property
    def lowest_score(self) -> float | None:
        return self.settings.get(ABSTAIN_BELOW)

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        return num_labels > 1 and problem_type != "multi_label_classification"

    def target(self, example: Example) -> int | float:
        return self.label_ids[example.label_text]

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> Classification:
        (scores,) = outputs[0].values()
        if len(outputs) > 1:
            scores = self.mean_output(outputs)
        below = self.settings.get(ABSTAIN_BELOW, 0.0)
        result = Classification.from_scores(self.labels, scores, below)
        return dataclasses.replace(result, truncated=requests[0].truncated)

    def table_cells(self, result: Classification) -> tuple[str, ...]:
        """The label, empty for none, and the score of the best one."""
        return result.label or "", f"{result.score:.4f}"

    def decisions(self, result: Classification) -> list[str | None]:
        return [result.label]

    def compile_arguments(self) -> dict[str, Any]:
        import keras

        # The mean of the weights is 1 over the rows, not in a batch. Divided by each batch's own sum, as for
        # words, a batch without a rare class would count as much as one with it.
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="sum_over_batch_size"
        )
        return {"loss": loss}

    def check_metric(self, name: str) -> None:
        if name == "f1" and len(self.labels) != 2:
            raise InputError(
                f"metric f1: of two classes, the data has {len(self.labels)}: macro_f1 is the mean over all"
            )

    def judge(self, example: Example, result: Classification) -> Iterable[Judgement]:
        label = example.label_text
        yield Judgement(label, result.label or "", result.label == label, result.score)

    def metric_inputs(self, results: Sequence[Classification]) -> np.ndarray:
        """The ids of the labels, `[n]`; -1 for none."""
        return np.array([self.label_ids.get(str(result.label), -1) for result in results])

    def loss(self, results: Sequence[Any], references: Any) -> float | None:
        """Cross-entropy."""
        pairs = zip(results, references, strict=True)
        scores = [result.scores[self.labels[label]] for result, label in pairs]
        return float(-np.log(np.maximum(scores, np.finfo(np.float32).tiny)).mean())

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        most = np.bincount(references).argmax()
        constant = np.full_like(references, most)
        return f"always answering {self.labels[most]!r}", self.metrics[metric](constant, references)

    def format_prediction(self, result: Classification, names: Mapping[str, str]) -> str:
        return names.get(result.best, result.best)


HEAD = ClassificationHead
