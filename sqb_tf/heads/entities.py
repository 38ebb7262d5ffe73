"""Entities of a plain text: which of its characters they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sqb_tf.heads.tags import tag_spans


@dataclasses.dataclass(frozen=True)
class Entity:
    """An entity of a text.

    Attributes:
        entity: its type, as in the tags: `PER` of `B-PER`.
        text: the characters `[start:end]` of the text.
        start: its first character, counted in Unicode code points.
        end: the character behind its last one.
        score: the mean probability of its words' tags.
    """

    entity: str
    text: str
    start: int
    end: int
    score: float


@dataclasses.dataclass(frozen=True)
class Entities:
    """The result for a plain text: its entities, in their order in the text."""

    entities: tuple[Entity, ...]

    def line(self, text: str, pair: str | None) -> str:
        """For people: the text with each entity in brackets, its type and score behind it."""
        ends = [0, *(entity.end for entity in self.entities)]
        marked = [
            f"{text[end : e.start]}[{e.text}: {e.entity} {e.score:.2f}]"
            for end, e in zip(ends, self.entities)
        ]
        return "".join(marked) + text[ends[-1] :]


def find_entities(
    text: str, labels: Sequence[str], spans: np.ndarray, probabilities: np.ndarray
) -> Entities:
    """The entities of a text, from its words' probabilities.

    Each word has its best tag, and `tag_spans` repairs and joins them. What stands between two words of an
    entity belongs to it. Its score is the mean of its words' probabilities: it tells right entities from
    wrong ones better than the smallest or the product does (docs/decisions/095-entities-of-plain-text.md).

    Args:
        text: as it was given.
        labels: the tags, in the order of the probabilities.
        spans: first and end character of each word, int64 `[words, 2]`.
        probabilities: of each word's tags, `[words, labels]`.
    """
    best = probabilities.argmax(-1)
    sure = probabilities.max(-1)
    entities = []
    for kind, first, last in tag_spans([labels[tag] for tag in best]):
        start, end = int(spans[first, 0]), int(spans[last, 1])
        score = float(sure[first : last + 1].mean())
        entities.append(Entity(kind, text[start:end], start, end, score))
    return Entities(tuple(entities))
