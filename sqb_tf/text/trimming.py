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


def kept_ids(
    vocabulary: Sequence[str], counts: Counter[int], size: int | None, least: int
) -> np.ndarray:
    """The ids of the tokens to keep, ascending.

    Special tokens and single characters are always kept, so that every word can still be spelled. Then come
    the tokens of the texts by falling frequency, then the others by rising id: BERT's vocabularies list
    frequent tokens first.

    Args:
        vocabulary: the tokens, in the order of their ids.
        counts: how often each id occurs in the texts.
        size: how many tokens to keep, if that is more than those always kept; None: every token of the texts,
            and others up to `least`.
        least: see `size`.
    """
    always = [i for i, token in enumerate(vocabulary) if _is_basic(token)]
    by_frequency = sorted(counts, key=lambda i: (-counts[i], i))
    ordered = list(dict.fromkeys([*always, *by_frequency]))
    if size is None:
        size = max(len(ordered), least)
    others = (i for i, token in enumerate(vocabulary) if not _is_unused(token))
    ordered = list(dict.fromkeys([*ordered, *others]))
    return np.sort(np.array(ordered[: max(size, len(always))]))


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
