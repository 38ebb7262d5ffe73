"""The metrics of the tasks, on a model's outputs; higher is better.

Those of texts are GLUE's, on outputs `[n, labels]` (`[n, 1]` in regression) and targets `[n]`; those of
tagged words seqeval's, on the tags of each text; those of answers SQuAD's, on the answer to each question
and all that are right.
"""

from __future__ import annotations

import collections
import re
import string
import warnings
from collections.abc import Callable, Sequence

import numpy as np


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


def exact_match(outputs: Sequence[str], targets: Sequence[list[str]]) -> float:
    """Share of the answers that are one of the right ones, but for case, punctuation and articles.

    As SQuAD's evaluation scripts, 1.1 and 2.0 (Rajpurkar et al. 2016, 2018); where there is no right
    answer, the empty one is.
    """
    return _mean_of_best(lambda one, other: float(one == other), outputs, targets)


def answer_f1(outputs: Sequence[str], targets: Sequence[list[str]]) -> float:
    """Mean F1 of the words that an answer has in common with the right one nearest to it, as there."""
    return _mean_of_best(_words_f1, outputs, targets)


def _mean_of_best(
    score: Callable[[list[str], list[str]], float],
    outputs: Sequence[str],
    targets: Sequence[list[str]],
) -> float:
    best = []
    for answer, right in zip(outputs, targets, strict=True):
        # An answer of nothing but articles and punctuation is none.
        words = [w for w in map(answer_words, right) if w] or [[]]
        best.append(max(score(answer_words(answer), one) for one in words))
    return float(np.mean(best))


def answer_words(answer: str) -> list[str]:
    """The words by which answers are compared."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def _words_f1(one: list[str], other: list[str]) -> float:
    if not one or not other:
        return float(one == other)
    common = sum((collections.Counter(one) & collections.Counter(other)).values())
    # 2 p r / (p + r) with precision common / len(one), recall common / len(other)
    return 2 * common / (len(one) + len(other))


METRICS = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "entity_f1": entity_f1,
    "tag_accuracy": tag_accuracy,
}
