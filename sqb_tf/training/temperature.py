"""Scores that mean something: logits divided by a temperature that is fitted on dev (Guo et al. 2017).

The division goes into the weights of the last layer, so that Keras, every package, and what is exported to
`transformers` have the same scores. What is predicted stays the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sqb_tf.heads.classification import Classification
from sqb_tf.heads.confidence import ConfidenceBins
from sqb_tf.heads.head import softmax

# Fewer wrong examples tell nothing of how often the model is wrong.
FEWEST_WRONG = 5
# Where the temperature is looked for.
LOWEST, HIGHEST = 0.2, 10.0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A temperature, and the expected calibration error on dev without and with it."""

    temperature: float
    error_before: float
    error_after: float


def fit(results: Sequence[Classification], references: np.ndarray) -> Calibration | None:
    """The temperature at which dev's labels are likeliest.

    Args:
        results: dev's, before the division.
        references: the ids of their labels, `[n]`.

    Returns:
        None if fewer than `FEWEST_WRONG` of the results are wrong.
    """
    from scipy.optimize import minimize_scalar

    scores = np.array([list(result.scores.values()) for result in results])
    right = scores.argmax(-1) == references
    if len(right) - right.sum() < FEWEST_WRONG:
        return None
    logits = np.log(np.maximum(scores, np.finfo(np.float32).tiny))

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        likelihoods = probabilities[np.arange(len(references)), references]
        return float(-np.log(np.maximum(likelihoods, 1e-300)).mean())

    found = minimize_scalar(loss, bounds=np.log([LOWEST, HIGHEST]), method="bounded")
    temperature = float(np.exp(found.x))
    errors = (
        _calibration_error(probabilities, right)
        for probabilities in (scores, softmax(logits / temperature))
    )
    return Calibration(temperature, *errors)


def divide_logits(layer: Any, temperature: float) -> None:
    """Divides what a Keras layer without activation computes."""
    layer.set_weights([weight / temperature for weight in layer.get_weights()])


def _calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    bins = ConfidenceBins()
    for confidence, is_right in zip(probabilities.max(-1).tolist(), right.tolist(), strict=True):
        bins.add(confidence, is_right)
    counted = bins.to_json()
    assert counted is not None
    return float(counted["expected_calibration_error"])
