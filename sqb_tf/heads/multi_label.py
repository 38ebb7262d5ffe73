"""Any number of labels for a text, or for a pair of texts."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example, TextPair
from sqb_tf.data.multi_label import split_labels
from sqb_tf.errors import InputError
from sqb_tf.heads.classification import ABSTAINED
from sqb_tf.heads.head import Output, Outputs
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.long_texts import LONG_TEXTS
from sqb_tf.heads.metrics import macro_f1_of_labels, micro_f1_of_labels, subset_accuracy
from sqb_tf.heads.task_head import IndexedHead

# The setting of the score from which a label is given: a number, or one for each label by name.
THRESHOLDS = "thresholds"
DEFAULT_THRESHOLD = 0.5
FEW = 20  # of 400 labels, metrics of every number of them took 9 s
MACRO_F1 = "macro_f1"


@dataclasses.dataclass(frozen=True)
class MultiLabel:
    """The result for one text: the labels that it gets, and the score of every label, both in their order.

    `truncated` counts the tokens of the text that the model has not seen.
    """

    labels: tuple[str, ...]
    scores: dict[str, float]
    truncated: int = 0

    def line(self, text: str, pair: str | None) -> str:
        """For people: the labels, surest first, with their scores, and the text."""
        ordered = sorted(self.labels, key=lambda label: -self.scores[label])
        listed = ", ".join(f"{label} {self.scores[label]:.4f}" for label in ordered)
        return "\t".join([listed or ABSTAINED, text, *([] if pair is None else [pair])])


class MultiLabelHead(IndexedHead):
    """Each label or not, independently; an example's label is `join_labels` of those that it has.

    Settings: `thresholds`, the score from which a label is given, a number or a label's own by name (0.5 for
    others); `long_texts`, see `long_texts.POLICIES`.
    """

    name = "multi_label"
    keras_class = "sqb_tf.model.heads.SqueezeBertClassifier"
    decoding_settings: ClassVar[tuple[str, ...]] = (THRESHOLDS, LONG_TEXTS)
    fitted_settings = (THRESHOLDS,)
    pooled_only = True
    outputs = (Output("probabilities", activation="sigmoid"),)
    hf_class = "ForSequenceClassification"
    hf_layers: ClassVar = {"classifier_head": "classifier"}
    hf_problem_type = "multi_label_classification"
    metrics: ClassVar = {
        "micro_f1": micro_f1_of_labels,
        MACRO_F1: macro_f1_of_labels,
        "subset_accuracy": subset_accuracy,
    }
    has_classes = True
    fewest_labels = 1
    judges_classes = True
    opens_in_mediapipe = True
    target_dtype = "string"
    table_columns = ("labels", "scores")

    def __post_init__(self) -> None:
        super().__post_init__()
        setting = self.settings.get(THRESHOLDS, DEFAULT_THRESHOLD)
        by_label = setting if isinstance(setting, Mapping) else {"": setting}
        for value in by_label.values():
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not 0 <= value <= 1
            ):
                raise InputError(f"{THRESHOLDS} {value!r}: expected a score from 0 to 1")

    @functools.cached_property
    def thresholds(self) -> np.ndarray:
        """The score from which each label is given, `[labels]`."""
        setting = self.settings.get(THRESHOLDS, DEFAULT_THRESHOLD)
        if not isinstance(setting, Mapping):
            return np.full(len(self.labels), float(setting))
        return np.array([float(setting.get(label, DEFAULT_THRESHOLD)) for label in self.labels])

    @property
    def lowest_score(self) -> float | None:
        thresholds = set(self.thresholds.tolist())
        return thresholds.pop() if THRESHOLDS in self.settings and len(thresholds) == 1 else None

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        return problem_type == cls.hf_problem_type

    # --- From the data to training batches ---

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        return split_labels(example.label)

    def target(self, example: Example) -> str:
        """The ids of its labels: a row of zeros and ones for each of 100,000 texts would fill the memory."""
        return " ".join(str(self.label_ids[label]) for label in split_labels(example.label))

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        """The targets as float32 `[n, labels]`: 1 for each label that a text has."""
        import tensorflow as tf  # late: the runtime does without it

        ids = tf.strings.to_number(tf.strings.split(targets), tf.int32).to_tensor(-1)
        return inputs, tf.reduce_sum(tf.one_hot(ids, len(self.labels)), axis=1)

    def _references(self, examples: Sequence[Example]) -> np.ndarray:
        """Which labels each example has, bool `[n, labels]`."""
        references: np.ndarray = np.zeros((len(examples), len(self.labels)), bool)
        for row, example in zip(references, examples, strict=True):
            row[[self.label_ids[label] for label in split_labels(example.label)]] = True
        return references

    def compile_arguments(self) -> dict[str, Any]:
        import keras

        return {"loss": keras.losses.BinaryCrossentropy(from_logits=True)}

    # --- Results and their scores ---

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> MultiLabel:
        scores = self.mean_output(outputs)
        above = zip(self.labels, (scores >= self.thresholds).tolist(), strict=True)
        named = zip(self.labels, scores.tolist(), strict=True)
        labels = tuple(label for label, is_above in above if is_above)
        return MultiLabel(labels, dict(named), requests[0].truncated)

    def table_cells(self, result: MultiLabel) -> tuple[str, ...]:
        """The labels, and the score of each, separated by commas."""
        scores = (f"{result.scores[label]:.4f}" for label in result.labels)
        return ",".join(result.labels), ",".join(scores)

    def decisions(self, result: MultiLabel) -> tuple[str, ...]:
        return result.labels

    def same_decisions(self, expected: MultiLabel, actual: MultiLabel) -> list[bool]:
        """Of the labels that either one gives: nearly all labels are not given, and say nothing."""
        either = {*expected.labels, *actual.labels}
        both = set(expected.labels) & set(actual.labels)
        return [label in both for label in sorted(either)] or [True]

    def judge(self, example: Example, result: MultiLabel) -> Iterator[Judgement]:
        """Each label that is right, missed or invented."""
        gold = set(split_labels(example.label))
        for label in self.labels:
            score = result.scores[label]
            if label in result.labels:
                right = label in gold
                yield Judgement(label if right else "", label, right, score)
            elif label in gold:
                yield Judgement(label, "", False, 1 - score)

    def fitted(
        self, results: Sequence[MultiLabel], references: np.ndarray, metric: str
    ) -> MultiLabelHead:
        """With the thresholds of the best F1: for the macro average each label's own, else one for all.

        That one decides best over all labels together is also theory (Lipton et al. 2014, arXiv 1402.1892):
        half of the F1. On GoEmotions' test, squeezebert-micro has a micro F1 of 0.587 by one threshold and
        0.568 by each label's own, a macro F1 of 0.432 and 0.461.
        """
        scores = _scores(results)
        shared = best_threshold(scores.ravel(), references.ravel())
        thresholds = dict.fromkeys(self.labels, shared)
        if metric == MACRO_F1:
            for i, label in enumerate(self.labels):
                if references[:, i].any():
                    thresholds[label] = best_threshold(scores[:, i], references[:, i])
        return dataclasses.replace(self, settings={**self.settings, THRESHOLDS: thresholds})

    def metric_inputs(self, results: Sequence[MultiLabel]) -> np.ndarray:
        """Which labels each text gets, bool `[n, labels]`."""
        return _scores(results) >= self.thresholds

    def loss(self, results: Sequence[MultiLabel], references: Any) -> float | None:
        """Binary cross-entropy."""
        scores = np.where(references, _scores(results), 1 - _scores(results))
        return float(-np.log(np.maximum(scores, np.finfo(np.float32).tiny)).mean())

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        """The best of always giving the most frequent labels: up to `FEW` of them, or all.

        Where a model gives every text the same scores, fitted thresholds give the labels that score best.
        """
        constant = np.zeros_like(references)
        best, answer = -1.0, ""
        for count, label in enumerate(np.argsort(-references.sum(0), kind="stable"), 1):
            constant[:, label] = True
            if FEW < count < len(self.labels):
                continue
            score = self.metrics[metric](constant, references)
            if score > best:
                names = (
                    f"the {count} most frequent labels" if count > 1 else repr(self.labels[label])
                )
                best, answer = score, f"always giving {names}"
        return answer, best

    def format_prediction(self, result: MultiLabel, names: Mapping[str, str]) -> str:
        """A list in JSON: any separator may be in a label."""
        return json.dumps([names.get(label, label) for label in result.labels], ensure_ascii=False)


def best_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    """The threshold of the highest F1, midway between two scores; `DEFAULT_THRESHOLD` without a target.

    Args:
        scores: `[n]`.
        targets: whether each should be given, bool `[n]`.
    """
    if not targets.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].astype(float)
    f1 = 2 * np.cumsum(targets[order]) / (np.arange(1, len(order) + 1) + targets.sum())
    differs: np.ndarray = np.append(
        np.diff(ordered) < 0, [True]
    )  # equal scores are on the same side
    last = int(np.argmax(np.where(differs, f1, -1.0)))
    lower = ordered[last + 1] if last + 1 < len(ordered) else 0.0
    return float((ordered[last] + lower) / 2)


def _scores(results: Sequence[MultiLabel]) -> np.ndarray:
    """`[n, labels]`."""
    return np.array([list(result.scores.values()) for result in results])


HEAD = MultiLabelHead
