"""Two models on the same data: what one gets right and the other wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqb_tf.data.example import Example
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.task_head import TaskHead

from .assessment import Assessment
from .ranked_rows import RankedRows

COLUMNS = ("text", "pair", "gold", "predicted", "other", "right")
# Which of the two is right, where they decide differently.
BOTH_RIGHT, THIS, OTHER, NEITHER = "both", "this model", "the other", "neither"


class Comparison:
    """Counts examples by which of the two models is right, at constant memory.

    Attributes:
        right: who is right -> examples.
        changed: examples whose decisions differ.
        changes: those examples; what the other model alone gets right comes first.
        other: what is counted of the other model.
    """

    def __init__(self, other_head: TaskHead) -> None:
        self.other = Assessment(other_head)
        self.right: Counter[str] = Counter()
        self.changes = RankedRows(COLUMNS)

    @property
    def changed(self) -> int:
        """Examples whose decisions differ."""
        return len(self.changes)

    def add(
        self, example: Example, judgements: Sequence[Judgement], others: Sequence[Judgement]
    ) -> None:
        """One more example, as both models decide it."""
        self.other.add(example, others)
        ours, theirs = (all(j.right for j in side) for side in (judgements, others))
        who = {(True, True): BOTH_RIGHT, (True, False): THIS, (False, True): OTHER}.get(
            (ours, theirs), NEITHER
        )
        self.right[who] += 1
        if _decisions(judgements) != _decisions(others):
            gold = "; ".join(j.gold for j in judgements if j.gold)
            said = ("; ".join(j.predicted for j in side) for side in (judgements, others))
            place = {OTHER: 3.0, THIS: 2.0, NEITHER: 1.0}.get(who, 0.0)
            self.changes.add([example.text, example.pair or "", gold, *said, who], place)

    def to_json(self) -> dict[str, Any]:
        """Counts of examples, and what `Assessment.to_json` says of the other model."""
        return {
            "examples": self.right.total(),
            "changed": self.changed,
            "both_right": self.right[BOTH_RIGHT],
            "only_this_right": self.right[THIS],
            "only_other_right": self.right[OTHER],
            "neither_right": self.right[NEITHER],
            "other": self.other.to_json(),
        }


def _decisions(judgements: Sequence[Judgement]) -> list[tuple[str, str]]:
    return [(j.part, j.predicted) for j in judgements if j.predicted]
