"""Texts of no class: how many get no label, and what other thresholds would refuse."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from sqb_tf.heads.classification import Classification

# Shares of the texts of a class that keep their answer.
KEPT = (0.99, 0.98, 0.97, 0.96, 0.95, 0.93, 0.9, 0.85, 0.8)


class OutOfScope:
    """Compares the scores of texts of a class with those of others, at 8 bytes a text."""

    def __init__(self) -> None:
        self._scores = array("d")

    def add(self, result: Classification) -> None:
        """One more text of a class."""
        self._scores.append(result.score)

    def to_json(self, others: Iterable[Classification]) -> dict[str, Any]:
        """Of the `others`: their number `texts`, the share `caught` (without a label), and the `curve`."""
        results = list(others)
        scores = np.array([result.score for result in results])
        return {
            "texts": len(results),
            "caught": sum(result.label is None for result in results) / len(results),
            "curve": threshold_curve(np.array(self._scores), scores),
        }


def threshold_curve(inside: np.ndarray, outside: np.ndarray) -> list[dict[str, float]]:
    """What thresholds would do, by the share of the texts of a class that keep their answer.

    Args:
        inside: scores of texts of a class, `[n]`.
        outside: scores of texts of no class, `[m]`.

    Returns:
        For each of `KEPT`, or the next share above it that equal scores allow: `kept`, the `threshold`,
        `caught` (share of `outside` below it), `precision` (of all texts below it, the share of `outside`).
    """
    ordered = np.sort(inside)
    points = []
    for kept in KEPT:
        threshold = max(float(ordered[round((1 - kept) * len(ordered))]), 0.0)
        caught, lost = (int((scores < threshold).sum()) for scores in (outside, inside))
        points.append(
            {
                "kept": 1 - lost / len(inside),
                "threshold": threshold,
                "caught": caught / len(outside),
                "precision": caught / max(caught + lost, 1),
            }
        )
    return points
