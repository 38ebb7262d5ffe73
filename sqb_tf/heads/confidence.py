"""How sure a model is, beside how often it is right."""

from __future__ import annotations

from typing import Any

import numpy as np

# Equally wide bins of confidence (Guo et al. 2017, section 2).
BINS = 15


class ConfidenceBins:
    """Counts decisions by their probability, one after the other."""

    def __init__(self) -> None:
        self._bins = np.zeros((BINS, 3))  # decisions, sum of confidence, those that are right

    def add(self, confidence: float, right: bool) -> None:
        """One more decision."""
        self._bins[min(int(confidence * BINS), BINS - 1)] += 1, confidence, right

    def to_json(self) -> dict[str, Any] | None:
        """The bins that are not empty, and the expected calibration error; None without decisions.

        The error is the mean distance between confidence and the share that is right, over the decisions.
        """
        total = self._bins[:, 0].sum()
        if not total:
            return None
        bins = [
            {"count": int(n), "confidence": confidence / n, "accuracy": right / n}
            for n, confidence, right in self._bins
            if n
        ]
        error = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / total
        return {"expected_calibration_error": float(error), "bins": bins}
