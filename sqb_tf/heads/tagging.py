"""Tags of words, from the scores of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sqb_tf.data.conll import OUTSIDE
from sqb_tf.data.example import Example
from sqb_tf.heads.head_type import (
    Outputs,
    Passage,
    Row,
    TaskKind,
)
from sqb_tf.text.encoder import TextEncoder


@dataclasses.dataclass(frozen=True)
class Tagging:
    """The result for one text of tagged words: each word with its tag."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    def line(self, text: str, pair: str | None) -> str:
        """For people: every word with its tag."""
        return " ".join(f"{word}/{tag}" for word, tag in zip(self.words, self.tags, strict=True))


@dataclasses.dataclass(frozen=True)
class TaggedPassage(Passage):
    """A text with its `TextEncoder.word_positions` `[words]`."""

    places: np.ndarray


class TaggingKind(TaskKind):
    """A tag for each word; a text is its words parted by single spaces, its label their tags."""

    target_dtype = "string"

    def labels_of(self, example: Example, source: str) -> list[str]:
        return example.label.split(" ")

    def _goals(self, examples: Sequence[Example]) -> list[list[str]]:
        return [e.label.split(" ") for e in examples]

    def target(self, example: Example) -> str:
        return " ".join(str(self.label_ids[tag]) for tag in example.label.split(" "))

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        return inputs, *preprocessor.tag_targets(texts, targets, preprocessor.length(inputs))

    def _passages(self, encoder: TextEncoder, rows: Sequence[Row]) -> list[list[Passage]]:
        return [[TaggedPassage(*row, encoder.word_positions(row[0]))] for row in rows]

    def result(self, row: Row, passages: Sequence[Passage], outputs: Sequence[Outputs]) -> Tagging:
        (scores,) = outputs[0].values()
        (passage,) = passages
        return Tagging(tuple(row[0].split(" ")), tags_of(self.labels, scores, passage.places))

    def decisions(self, result: Tagging) -> tuple[str, ...]:
        return result.tags

    def outputs(self, results: Sequence[Tagging]) -> list[list[str]]:
        return [list(one.tags) for one in results]

    def submission(
        self, examples: Sequence[Example], results: Sequence[Tagging], names: Mapping[str, str]
    ) -> Iterator[str]:
        """The lines of a CoNLL file."""
        for one in results:
            yield from (f"{word}\t{tag}" for word, tag in zip(one.words, one.tags, strict=True))
            yield ""


def tags_of(labels: Sequence[str], scores: np.ndarray, places: np.ndarray) -> tuple[str, ...]:
    """The tag of each word: the best one at its first piece.

    Args:
        labels: the tags, in the order of the scores.
        scores: of one text, `[tokens, labels]`.
        places: `TextEncoder.word_positions` of the text, `[words]`; a word at -1 is in no entity.
    """
    best = scores.argmax(-1)
    outside = OUTSIDE if OUTSIDE in labels else labels[0]
    return tuple(labels[best[place]] if place >= 0 else outside for place in places)
