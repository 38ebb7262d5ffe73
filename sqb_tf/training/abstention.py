""" "None of these": the score below which a classifier gives no label, fitted on dev.

Either so that what it answers is right as often as wanted, or so that it tells dev's texts from other texts,
which belong to no class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.data.delimited import SUFFIXES, DelimitedFile
from sqb_tf.data.example import Columns
from sqb_tf.data.texts import read_texts
from sqb_tf.errors import InputError
from sqb_tf.heads.classification import Classification


@dataclasses.dataclass(frozen=True)
class Abstention:
    """A threshold, and what it does on dev.

    Attributes:
        below: no label is given where the best one scores less.
        answered: share of dev that gets one.
        precision: share of those that is right.
        caught: share of the texts of no class that get none; None if there are no such texts.
    """

    below: float
    answered: float
    precision: float
    caught: float | None = None


def wanted_precision(value: str) -> float | None:
    """0.95 for `95%` or `0.95`; None for anything else, which names a file."""
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise InputError(
            f"abstain {value}: expected a share of right answers, as 95%, or a file of texts"
        )
    return share


def read_others(path: str, text_column: str) -> list[str]:
    """The texts of no class in a table or, one per line, in any other file.

    Raises:
        InputError: a file that cannot be read, or has no text in it.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        return [str(text) for text in read_texts(path, paired=False)]
    texts = [e.text for e in DelimitedFile(Path(path), Columns(text_column, None, None))]
    if not texts:
        raise InputError(f"{path}: no text in it: expected some that belong to no class")
    return texts


def fit_precision(
    results: Sequence[Classification], references: np.ndarray, wanted: float
) -> Abstention | None:
    """The lowest threshold from which the share `wanted` of the answers is right.

    None if there is none: even the answers with the highest scores are wrong too often.
    """
    scores, right = _scores(results), _right(results, references)
    order = np.argsort(-scores, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Equal scores are on the same side of a threshold.
    differs: np.ndarray = np.append(np.diff(scores[order]) < 0, [True])
    enough = np.flatnonzero((precision >= wanted) & differs)
    if not len(enough):
        return None
    below = 0.0 if enough[-1] == len(order) - 1 else float(scores[order][enough[-1]])
    return _abstention(below, scores, right)


def fit_others(
    results: Sequence[Classification],
    references: np.ndarray,
    others: Iterable[Classification],
) -> Abstention:
    """The threshold that best tells dev's texts from others: the sum of both shares is largest."""
    scores, other_scores = _scores(results), _scores(list(others))
    candidates = np.unique(np.concatenate([[0.0], scores, other_scores]))
    kept = 1 - np.searchsorted(np.sort(scores), candidates, side="left") / len(scores)
    caught = np.searchsorted(np.sort(other_scores), candidates, side="left") / len(other_scores)
    below = float(candidates[np.argmax(kept + caught)])
    share = float(np.mean(other_scores < below))
    return dataclasses.replace(
        _abstention(below, scores, _right(results, references)), caught=share
    )


def _abstention(below: float, scores: np.ndarray, right: np.ndarray) -> Abstention:
    answered = scores >= below
    precision = float(right[answered].mean()) if answered.any() else 0.0
    return Abstention(below, float(answered.mean()), precision)


def _scores(results: Sequence[Classification]) -> np.ndarray:
    return np.array([result.score for result in results])


def _right(results: Sequence[Classification], references: np.ndarray) -> np.ndarray:
    labels = [list(result.scores).index(result.best) for result in results]
    return np.array(labels) == references
