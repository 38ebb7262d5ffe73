"""Texts that occur again in a stream, in bounded memory."""

from __future__ import annotations

import dataclasses
import zlib

# Distinct texts that are remembered, some 30 MB.
CAPACITY = 1 << 18
CRC_BITS = 32


@dataclasses.dataclass(slots=True)
class Occurrences:
    """Of a text that occurs again: how often in all, its first label, and whether another occurred too."""

    count: int
    label: str | None
    conflicts: bool = False


class SeenTexts:
    """Counts texts that occur again, ignoring case and outer spaces.

    Exact for up to `capacity` distinct texts. Of more, it remembers a sample, chosen by a hash (adaptive
    sampling, Flajolet 1990), which is halved whenever it is full: one text in `scale`.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.scale = 1
        self._capacity = capacity
        # By key. Most texts occur once: a number and a string, neither of which the garbage collector visits.
        self._first_labels: dict[int, str | None] = {}
        self._again: dict[int, Occurrences] = {}

    def offer(self, text: str, label: str | None) -> Occurrences | None:
        """Counts a text; its occurrences, this one included, or None if it is new or not in the sample."""
        key = self._key(text)
        if key is None:
            return None
        if key not in self._first_labels:
            self._first_labels[key] = label
            if len(self._first_labels) > self._capacity:
                self._halve()
            return None
        occurrences = self._again.setdefault(key, Occurrences(1, self._first_labels[key]))
        occurrences.count += 1
        occurrences.conflicts |= label != occurrences.label
        return occurrences

    def __contains__(self, text: str) -> bool:
        return self._key(text) in self._first_labels

    @property
    def repeated(self) -> int:
        """Rows whose text stood in an earlier row; an estimate if `scale` is above 1."""
        return self.scale * sum(seen.count - 1 for seen in self._again.values())

    @property
    def conflicting(self) -> int:
        """Texts with different labels; an estimate if `scale` is above 1."""
        return self.scale * sum(seen.conflicts for seen in self._again.values())

    def _key(self, text: str) -> int | None:
        """Two hashes: the low bits choose the sample, in every process alike; above them are 64 others.

        None for a text that is not in the sample: most texts of a large file, so the other hash is spared.
        """
        content = text.strip().lower()
        low = zlib.crc32(content.encode("utf-8", "surrogatepass"))
        return None if low % self.scale else hash(content) << CRC_BITS | low

    def _halve(self) -> None:
        self.scale *= 2
        for texts in (self._first_labels, self._again):
            for key in [key for key in texts if key % self.scale]:
                del texts[key]
