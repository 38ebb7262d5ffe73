"""What tags of words say: the best one for each word, and the entities that they mark."""

from __future__ import annotations

from collections.abc import Sequence

from sqb_tf.data.conll import OUTSIDE

# Before the dash of a tag: which words begin an entity (U of BILOU and S of BIOES are all of one), which end
# one, and which are inside.
BEGINS, ENDS, INSIDE = "BSU", "ESLU", "I"
# The type of an entity whose tags are prefixes alone, as seqeval has it.
UNNAMED = "_"


def outside_tag(labels: Sequence[str]) -> str:
    """The tag of a word that is in no entity; a model without one gives its first."""
    return OUTSIDE if OUTSIDE in labels else labels[0]


def tag_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word) of each entity, in order.

    As `seqeval` reads tags (and `entity_f1` counts them): BIO, BIOES and what is between. An entity begins at
    a B or S, behind an E or S, where the type changes, and at the first word behind others: an I without a B
    of its type before it begins one. It ends before the next one, or before a word outside.

    Two schemes `seqeval` does not know. BILOU's U and L are read as S and E. Of tags without a prefix
    (`PER`), equal neighbours are one entity.
    """
    spans: list[tuple[str, int, int]] = []
    open_kind: str | None = None  # the type of the entity that the next word may go on with
    for word, tag in enumerate(tags):
        prefix, kind = _parsed(tag)
        if not prefix:
            open_kind = None
            continue
        if kind == open_kind and prefix not in BEGINS:
            spans[-1] = (kind, spans[-1][1], word)
        else:
            spans.append((kind, word, word))
        open_kind = None if prefix in ENDS else kind
    return spans


def _parsed(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; no prefix: the word is in no entity."""
    if tag == OUTSIDE:
        return "", ""
    prefix, _, kind = tag.partition("-")
    if len(prefix) == 1 and prefix in BEGINS + ENDS + INSIDE:
        return prefix, kind or UNNAMED
    return INSIDE, tag
