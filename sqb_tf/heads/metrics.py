"""The metrics of the tasks; higher is better.

For texts, GLUE's: predictions `[n]` (ids of labels, or numbers) and targets `[n]`. For tagged words,
seqeval's: the tags of each text. For answers, SQuAD's: the answer to each question, and all right answers.
For pairs that belong together: the vectors of their texts, and ids that tell equal texts.
"""

from __future__ import annotations

import collections
import re
import string
import warnings
from collections.abc import Callable, Sequence

import numpy as np

# Of fewer examples a score proves nothing: of 100, an accuracy of 0.95 has a standard error of 2.2 points.
FEWEST_EXAMPLES = 100
# Texts whose rank is looked for at once: 256 by 100,000 cosines are 100 MB.
_RANKED = 256


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Share of the examples whose label is right."""
    return float(np.mean(outputs == targets))


def f1(outputs: np.ndarray, targets: np.ndarray) -> float:
    """F1 of the label with id 1 (MRPC, QQP); 0 where no example has or gets it."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets == 1, outputs == 1, zero_division=0.0))


def macro_f1(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The mean over the labels of their F1, so that rare ones count as much; labels of no example do not."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(
            targets,
            outputs,
            labels=np.unique(targets),
            average="macro",
            zero_division=0.0,
        )
    )


def micro_f1_of_labels(outputs: np.ndarray, targets: np.ndarray) -> float:
    """F1 of all decisions of all labels together, bool `[n, labels]`; 0 where nothing is given and right."""
    return float(2 * np.sum(outputs & targets) / max(np.sum(outputs) + np.sum(targets), 1))


def macro_f1_of_labels(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The mean over the labels that occur of their F1, bool `[n, labels]`."""
    occurs = targets.any(0)
    if not occurs.any():
        return 0.0
    both = 2 * (outputs & targets).sum(0)
    return float(np.mean((both / np.maximum(outputs.sum(0) + targets.sum(0), 1))[occurs]))


def subset_accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Share of the examples whose labels are all right and complete, bool `[n, labels]`."""
    return float((outputs == targets).all(1).mean())


def matthews(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Matthews' correlation coefficient (CoLA); 0 where all answers are the same."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, outputs))


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
        warnings.simplefilter("ignore")  # a constant correlates with nothing: NaN
        value = float(function(outputs, targets).statistic) if len(targets) > 1 else np.nan
    return 0.0 if np.isnan(value) else value


def entity_f1(outputs: Sequence[list[str]], targets: Sequence[list[str]]) -> float:
    """F1 of whole entities (Tjong Kim Sang 2003), as `seqeval` computes it; 0 where there are none."""
    from seqeval.metrics import f1_score

    return float(f1_score(list(targets), list(outputs), zero_division=0))


def tag_accuracy(outputs: Sequence[list[str]], targets: Sequence[list[str]]) -> float:
    """Share of the words with the right tag."""
    pairs = [
        pair
        for tags, expected in zip(outputs, targets, strict=True)
        for pair in zip(tags, expected, strict=True)
    ]
    return float(np.mean([tag == expected for tag, expected in pairs]))


def exact_match(outputs: Sequence[str], targets: Sequence[list[str]]) -> float:
    """Share of the answers that are one of the right ones, ignoring case, punctuation and articles.

    As in SQuAD's evaluation scripts, 1.1 and 2.0 (Rajpurkar et al. 2016, 2018); where there is no right
    answer, the empty one is right.
    """
    return _mean_of_best(lambda words, right: float(words == right), outputs, targets)


def answer_f1(outputs: Sequence[str], targets: Sequence[list[str]]) -> float:
    """Mean F1 of the words that an answer shares with the most similar right answer, as in those scripts."""
    return _mean_of_best(_words_f1, outputs, targets)


def _mean_of_best(
    score: Callable[[list[str], list[str]], float],
    outputs: Sequence[str],
    targets: Sequence[list[str]],
) -> float:
    best = []
    for answer, right in zip(outputs, targets, strict=True):
        # A right answer of nothing but articles and punctuation does not count.
        candidates = [words for words in map(answer_words, right) if words] or [[]]
        best.append(max(score(answer_words(answer), words) for words in candidates))
    return float(np.mean(best))


def answer_words(answer: str) -> list[str]:
    """The words by which answers are compared."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def _words_f1(words: list[str], right: list[str]) -> float:
    if not words or not right:
        return float(words == right)
    common = sum((collections.Counter(words) & collections.Counter(right)).values())
    # 2 p r / (p + r) with precision common / len(words), recall common / len(right)
    return 2 * common / (len(words) + len(right))


def mean_reciprocal_rank(vectors: np.ndarray, ids: np.ndarray) -> float:
    """The mean of 1 / the rank of each text's own pair among all second texts; see `pair_ranks`."""
    return float(np.mean(1 / pair_ranks(vectors, ids)))


def accuracy_at_1(vectors: np.ndarray, ids: np.ndarray) -> float:
    """The share of the texts whose own pair is the nearest second text; see `pair_ranks`."""
    return float(np.mean(pair_ranks(vectors, ids) == 1))


def pair_ranks(vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The rank of each text's own pair among all second texts by cosine, from 1, `[n]`.

    The pair of an equal text, and an equal second text, are no competitors. Competitors that are as near
    come first, so that equal vectors for all texts are the worst that there is.

    Args:
        vectors: of the pairs' texts, of length 1, `[n, 2, hidden]`.
        ids: of these texts, `[n, 2]`: equal for equal texts.
    """
    first, second = vectors[:, 0], vectors[:, 1]
    own = np.sum(first * second, axis=-1)
    ranks: np.ndarray = np.ones(len(vectors), int)
    for start in range(0, len(vectors), _RANKED):
        rows = slice(start, start + _RANKED)
        # The matmul of a block rounds otherwise than the sum: some 1e-7.
        nearer = first[rows] @ second.T >= own[rows, None] - 1e-6
        nearer &= ids[rows, :1] != ids[None, :, 0]
        nearer &= ids[rows, 1:] != ids[None, :, 1]
        nearer &= ids[rows, :1] != ids[None, :, 1]
        ranks[rows] += nearer.sum(axis=-1)
    return ranks
