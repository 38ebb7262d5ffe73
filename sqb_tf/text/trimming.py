"""A vocabulary with fewer tokens: those that a task's texts need, then the most frequent of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.vocabulary import SPECIAL_TOKENS, SUFFIX


def count_tokens(encoder: TextEncoder, texts: Iterable[str]) -> Counter[int]:
    """How often each id occurs in texts."""
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(encoder.ids(text))
    return counts


def kept_ids(vocabulary: Sequence[str], counts: Counter[int], size: int) -> np.ndarray:
    """The ids of the tokens to keep, ascending: the first `size` of `_ranked`, and all single characters.

    Args:
        vocabulary: the tokens, in the order of their ids.
        counts: how often each id occurs in the texts.
        size: how many tokens to keep, if that is more than those always kept.
    """
    always, others = _ranked(vocabulary, counts)
    return np.sort(np.array([*always, *others[: max(size - len(always), 0)]]))


def sufficient_size(
    vocabulary: Sequence[str],
    counts: Counter[int],
    held_out: Counter[int],
    least: int,
    most_missing: float,
) -> int:
    """How many tokens to keep: every one of the texts, `least` or more, and enough for other texts too.

    Args:
        vocabulary: the tokens, in the order of their ids.
        counts: how often each id occurs in the texts.
        held_out: the same of texts like them.
        least: tokens.
        most_missing: the share of `held_out` that may be missing.
    """
    always, others = _ranked(vocabulary, counts)
    ordered = [*always, *others]
    size = min(max(len(set(always) | set(counts)), least), len(ordered))
    missing = sum(held_out[i] for i in ordered[size:])
    while missing > most_missing * sum(held_out.values()):
        missing -= held_out[ordered[size]]
        size += 1
    return size


def _ranked(vocabulary: Sequence[str], counts: Counter[int]) -> tuple[list[int], list[int]]:
    """Ids that are always kept, and the others, those that are needed most first.

    Special tokens and single characters are always kept, so that every word can still be spelled. Then come
    the tokens of the texts by falling frequency, then the others by rising id: BERT's vocabularies list
    frequent tokens first.
    """
    always = [i for i, token in enumerate(vocabulary) if _is_basic(token)]
    by_frequency = sorted(counts, key=lambda i: (-counts[i], i))
    by_id = (i for i, token in enumerate(vocabulary) if not _is_unused(token))
    ordered = dict.fromkeys([*always, *by_frequency, *by_id])
    return always, list(ordered)[len(always) :]


def changed_share(
    encoder: TextEncoder, trimmed: TextEncoder, kept: np.ndarray, texts: Iterable[str]
) -> float:
    """The share of the tokens of texts that the trimmed vocabulary replaces by others."""
    changed = total = 0
    for text in texts:
        ids = Counter(encoder.ids(text))
        changed += sum((ids - Counter(kept[trimmed.ids(text)].tolist())).values())
        total += sum(ids.values())
    return changed / max(total, 1)


def _is_basic(token: str) -> bool:
    return token in SPECIAL_TOKENS or len(token.removeprefix(SUFFIX)) == 1


def _is_unused(token: str) -> bool:
    """Whether no text has it: BERT's `[unused0]` and so on."""
    return token.startswith("[unused") and token.endswith("]")
