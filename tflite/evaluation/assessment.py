"""What is counted of a model's decisions: by class, by confidence, by group."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqb_tf.data.example import Example
from sqb_tf.heads.confidence import ConfidenceBins
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.task_head import TaskHead

from .ranked_rows import RankedRows

COLUMNS = ("text", "pair", "part", "gold", "predicted", "score")


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """How well one class is told.

    Attributes:
        gold: decisions that should be this class.
        predicted: decisions that are.
        right: those that are both.
    """

    gold: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        """Share of what is predicted that is right; 0 where nothing is."""
        return self.right / max(self.predicted, 1)

    @property
    def recall(self) -> float:
        """Share of what is there that is found; 0 where nothing is."""
        return self.right / max(self.gold, 1)

    @property
    def f1(self) -> float:
        """2 p r / (p + r); 0 where both are."""
        return 2 * self.right / max(self.gold + self.predicted, 1)

    def to_json(self) -> dict[str, Any]:
        """With the shares."""
        shares = {name: getattr(self, name) for name in ("precision", "recall", "f1")}
        return {**shares, **dataclasses.asdict(self)}


class Assessment:
    """Counts the decisions of a model, one example after the other, at constant memory.

    Attributes:
        pairs: (gold, predicted) -> decisions.
        groups: group -> decisions, and those that are right.
        confidence: the answers by their probability, where they have one.
        decisions, answered: those that have a probability; those that are no abstention.
        errors: the wrong decisions.
    """

    def __init__(self, head: TaskHead) -> None:
        self.head = head
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.groups: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.errors = RankedRows(COLUMNS)
        self.confidence = ConfidenceBins()
        self.decisions = self.answered = 0

    def add(self, example: Example, judgements: Iterable[Judgement]) -> None:
        """One more example."""
        for judgement in judgements:
            if self.head.judges_classes:
                self.pairs[judgement.gold, judgement.predicted] += 1
            if judgement.group:
                counts = self.groups[judgement.group]
                counts[0] += 1
                counts[1] += judgement.right
            if self.head.judges_probabilities and judgement.score is not None:
                self.decisions += 1
                if judgement.predicted:
                    self.answered += 1
                    self.confidence.add(judgement.score, judgement.right)
            if not judgement.right:
                self.errors.add(_row(example, judgement), judgement.score)

    def classes(self) -> dict[str, ClassScore]:
        """Class -> its score, the most frequent first; those that a model predicts alone come last."""
        gold: Counter[str] = Counter()
        predicted: Counter[str] = Counter()
        for (right, said), count in self.pairs.items():
            gold[right] += count
            predicted[said] += count
        names = [name for name, _ in gold.most_common()] + sorted(predicted.keys() - gold.keys())
        return {
            name: ClassScore(gold[name], predicted[name], self.pairs[name, name])
            for name in names
            if name
        }

    def averages(self) -> dict[str, dict[str, float]]:
        """`macro`: the mean over the classes that occur; `micro`: all decisions together."""
        scores = list(self.classes().values())
        occurring = [score for score in scores if score.gold]
        together = ClassScore(
            *(sum(getattr(s, name) for s in scores) for name in ("gold", "predicted", "right"))
        )
        names = ("precision", "recall", "f1")
        return {
            "macro": {
                n: sum(getattr(s, n) for s in occurring) / max(len(occurring), 1) for n in names
            },
            "micro": {n: getattr(together, n) for n in names},
        }

    def confusions(self) -> list[tuple[str, str, int]]:
        """(gold, predicted, decisions) of what is taken for something else, the most frequent first."""
        wrong = ((*pair, n) for pair, n in self.pairs.items() if pair[0] != pair[1])
        return sorted(wrong, key=lambda entry: -entry[2])

    def to_json(self) -> dict[str, Any]:
        """What there is of classes, calibration and groups, and how many decisions are wrong."""
        result: dict[str, Any] = {"wrong": len(self.errors)}
        if self.pairs:
            result["classes"] = {name: score.to_json() for name, score in self.classes().items()}
            result |= self.averages()
            result["confusions"] = [
                {"gold": gold, "predicted": said, "count": n} for gold, said, n in self.confusions()
            ]
        if self.answered < self.decisions:
            right = sum(count for (gold, said), count in self.pairs.items() if gold == said)
            result["abstention"] = {
                "answered": self.answered / self.decisions,
                "precision": right / max(self.answered, 1),
            }
        if (calibration := self.confidence.to_json()) is not None:
            result["calibration"] = calibration
        if self.groups:
            result["groups"] = {
                name: {"count": count, "right": right / count}
                for name, (count, right) in sorted_groups(self.groups).items()
            }
        return result


def sorted_groups(groups: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """In the order of the first number in a group's name, `more than` last."""

    def place(name: str) -> tuple[bool, int]:
        numbers = [int(word) for word in name.split() if word.isdecimal()]
        return name.startswith("more"), numbers[0] if numbers else 0

    return {name: groups[name] for name in sorted(groups, key=place)}


def _row(example: Example, judgement: Judgement) -> list[str]:
    score = "" if judgement.score is None else f"{judgement.score:.4f}"
    parts = (judgement.part, judgement.gold, judgement.predicted, score)
    return [example.text, example.pair or "", *parts]
