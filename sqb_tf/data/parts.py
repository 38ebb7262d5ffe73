"""The parts of one file: which of its examples are held out."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from sqb_tf.data.example import Example

TRAIN = "train"
# A class of fewer different texts stays in train: one or two of them tell nothing.
FEWEST_TEXTS = 5
# A class with more different texts than this has some in each part: 0.9 ** 200 is 7e-10.
MANY_TEXTS = 200
# More labels than this are no classes (numbers, say), and would not fit in memory.
MOST_LABELS = 100_000


@dataclasses.dataclass(frozen=True)
class Parts:
    """Splits a file by a hash of each example's key, so that a text is always in the same part.

    With `classes`, every class of `FEWEST_TEXTS` different texts or more has one in each part, and the texts
    of rarer classes stay in train, as far as texts of several classes allow. The file is read once more to
    find out.

    Args:
        file: the examples, re-iterable, to count classes in.
        held_out: part -> percent of the examples; the rest is `TRAIN`.
        key: the text of an example that is hashed.
        classes: those of an example; None: labels are no classes.
    """

    file: Iterable[Example]
    held_out: Mapping[str, int]
    key: Callable[[Example], str]
    classes: Callable[[Example], Iterable[str]] | None = None

    def name_of(self, example: Example) -> str:
        """The part that an example is in."""
        digest = self._hash(example)
        return self._moved.get(digest) or self._by_hash(digest)

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
    def _moved(self) -> dict[int, str]:
        """The part of each text that goes against its hash, by that hash."""
        moved: dict[int, str] = {}
        names = [TRAIN, *self.held_out]
        # Rare ones first: what they keep in train, no other class takes from it.
        for hashes in sorted(self._class_hashes().values(), key=len):
            if len(hashes) > MANY_TEXTS:
                continue
            if len(hashes) < FEWEST_TEXTS:
                moved |= dict.fromkeys(hashes, TRAIN)
                continue
            texts: dict[str, list[int]] = {name: [] for name in names}
            for digest in sorted(hashes):
                texts[moved.get(digest) or self._by_hash(digest)].append(digest)
            for name in names:
                fullest = max(names, key=lambda other: len(texts[other]))
                movable = [digest for digest in texts[fullest] if digest not in moved]
                if not texts[name] and movable:
                    texts[fullest].remove(movable[-1])
                    texts[name].append(movable[-1])
                    moved[movable[-1]] = name
        return moved

    def _class_hashes(self) -> dict[str, set[int]]:
        """The hashes of each class's texts, or `MANY_TEXTS` and one of them; none if there are no classes."""
        hashes: dict[str, set[int]] = {}
        if self.classes is None:
            return hashes
        for example in self.file:
            for name in self.classes(example):
                of_class = hashes.setdefault(name, set())
                if len(of_class) <= MANY_TEXTS:
                    of_class.add(self._hash(example))
            if len(hashes) > MOST_LABELS:
                return {}
        return hashes


@dataclasses.dataclass(frozen=True)
class Part:
    """The examples of a file that are in one of its parts, re-iterable."""

    parts: Parts
    file: Iterable[Example]
    name: str

    def __iter__(self) -> Iterator[Example]:
        return (example for example in self.file if self.parts.name_of(example) == self.name)
