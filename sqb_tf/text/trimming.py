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


def ranked_ids(vocabulary: Sequence[str], counts: Counter[int]) -> tuple[list[int], int]:
    """Ids by how much they are needed, without the unused ones, and how many of them are always kept.

    Special tokens and single characters come first and are always kept, so that every word can still be
    spelled. Then come the tokens of the texts by falling frequency, then the others by rising id: BERT's
    vocabularies list frequent tokens first.

    Args:
        vocabulary: the tokens, in the order of their ids.
        counts: how often each id occurs in the texts.
    """
    always = [i for i, token in enumerate(vocabulary) if _is_basic(token)]
    by_frequency = sorted(counts, key=lambda i: (-counts[i], i))
    by_id = (i for i, token in enumerate(vocabulary) if not _is_unused(token))
    return list(dict.fromkeys([*always, *by_frequency, *by_id])), len(always)


def sufficient_size(
    ranked: Sequence[int], least: int, held_out: Counter[int], most_missing: float
) -> int:
    """How many of the ranked ids to keep, so that few tokens of held-out texts are dropped.

    Held-out tokens decide how many are kept, not which: if they were kept themselves, they would say nothing
    of other texts. Where they are fewer than 1 / `most_missing`, none may be dropped.

    Args:
        ranked: see `ranked_ids`.
        least: how many to keep at least.
        held_out: how often each id occurs in the held-out texts.
        most_missing: the share of `held_out` that may be dropped, 0 to 1.
    """
    size = min(least, len(ranked))
    missing, allowed = sum(held_out[i] for i in ranked[size:]), most_missing * held_out.total()
    while missing > allowed:
        missing -= held_out[ranked[size]]
        size += 1
    return size


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
