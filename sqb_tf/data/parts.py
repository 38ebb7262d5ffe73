"""The parts of one file: which of its examples are held out."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from sqb_tf.data.example import Example

TRAIN = "train"
# A class of fewer rows stays in train: a row or two of it tell nothing.
FEWEST_ROWS = 5
# More labels than this are no classes (numbers, say), and would not fit in memory.
MOST_LABELS = 100_000


@dataclasses.dataclass
class _Class:
    """Rows of a class by part, and the smallest hashes of different texts in train."""

    rows: Counter[str] = dataclasses.field(default_factory=Counter)
    hashes: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Parts:
    """Splits a file by a hash of each example's key, so that a text is in the same part whenever it is read.

    With `by_class`, every class of `FEWEST_ROWS` rows or more has a row in each part, if it has as many
    different texts, and rarer classes stay in train. The file is read once more to find out.

    Args:
        file: the examples, re-iterable, to count classes in.
        held_out: part -> percent of the examples; the rest is `TRAIN`.
        key: the text of an example that is hashed.
        by_class: whether each label is a class.
    """

    file: Iterable[Example]
    held_out: Mapping[str, int]
    key: Callable[[Example], str]
    by_class: bool = False

    def name_of(self, example: Example) -> str:
        """The part that an example is in."""
        digest, label = self._hash(example), example.label_text
        return (
            self._moved.get((label, digest))
            or self._moved.get((label, None))
            or self._by_hash(digest)
        )

    def _hash(self, example: Example) -> int:
        return zlib.crc32(self.key(example).encode("utf-8", "surrogatepass"))

    def _by_hash(self, digest: int) -> str:
        percent, first = digest % 100, 0
        for name, share in self.held_out.items():
            if first <= percent < first + share:
                return name
            first += share
        return TRAIN

    @functools.cached_property
    def _moved(self) -> dict[tuple[str, int | None], str]:
        """Where rows go against their hash: by label and hash, or by label for all rows of a rare class."""
        moved: dict[tuple[str, int | None], str] = {}
        for label, counts in self._count_classes().items():
            if counts.rows.total() < FEWEST_ROWS or not counts.rows[TRAIN]:
                moved[label, None] = TRAIN
                continue
            lacking = [part for part in self.held_out if not counts.rows[part]]
            # The last of the hashes is not moved, so that train keeps a text.
            moved |= {(label, h): part for h, part in zip(counts.hashes[:-1], lacking)}
        return moved

    def _count_classes(self) -> dict[str, _Class]:
        classes: dict[str, _Class] = {}
        for example in self.file if self.by_class else ():
            digest = self._hash(example)
            part = self._by_hash(digest)
            counts = classes.setdefault(example.label_text, _Class())
            counts.rows[part] += 1
            if part == TRAIN and digest not in counts.hashes:
                counts.hashes = sorted([*counts.hashes, digest])[: len(self.held_out) + 1]
            if len(classes) > MOST_LABELS:
                return {}
        return classes


@dataclasses.dataclass(frozen=True)
class Part:
    """The examples of a file that are in one of its parts, re-iterable."""

    parts: Parts
    file: Iterable[Example]
    name: str

    def __iter__(self) -> Iterator[Example]:
        return (example for example in self.file if self.parts.name_of(example) == self.name)
