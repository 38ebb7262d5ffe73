"""The metrics of the tasks, on a model's outputs; higher is better.

Those of texts are GLUE's, those of tagged words seqeval's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def scores(names: Iterable[str], outputs: Any, targets: Any) -> dict[str, float]:
    """The metrics of `names` for `outputs` `[n, labels]` (`[n, 1]` in regression) and `targets` `[n]`.

    For tagged words both are the tags of each text, a list of lists.
    """
    return {name: METRICS[name](outputs, targets) for name in names}


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Share of the examples whose label has the highest score."""
    return float(np.mean(outputs.argmax(-1) == targets))


def f1(outputs: np.ndarray, targets: np.ndarray) -> float:
    """F1 of the label with id 1 (MRPC, QQP); 0 where it is neither there nor given."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets, outputs.argmax(-1), zero_division=0.0))


def matthews(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Matthews' correlation coefficient (CoLA); 0 where all answers are one."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, outputs.argmax(-1)))


def pearson(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Pearson's correlation of scores and targets (STS-B); 0 where either is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, outputs, targets)


def spearman(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Spearman's rank correlation (STS-B); 0 where either is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, outputs, targets)


def _correlation(function, outputs: np.ndarray, targets: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant correlates with nothing: not a number
        value = float(function(outputs[:, 0], targets).statistic) if len(targets) > 1 else np.nan
    return 0.0 if np.isnan(value) else value


def entity_f1(outputs: Sequence[list[str]], targets: Sequence[list[str]]) -> float:
    """F1 of whole entities (Tjong Kim Sang 2003), as `seqeval` computes it; 0 where there are none."""
    from seqeval.metrics import f1_score

    return float(f1_score(list(targets), list(outputs), zero_division=0))


def tag_accuracy(outputs: Sequence[list[str]], targets: Sequence[list[str]]) -> float:
    """Share of the words with their own tag."""
    pairs = [
        p for one, other in zip(outputs, targets, strict=True) for p in zip(one, other, strict=True)
    ]
    return float(np.mean([one == other for one, other in pairs]))


METRICS = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "entity_f1": entity_f1,
    "tag_accuracy": tag_accuracy,
}
