"""Texts that occur again in a stream, in bounded memory."""

from __future__ import annotations

import dataclasses
import zlib

# Distinct texts that are remembered, some 60 MB.
CAPACITY = 1 << 18


@dataclasses.dataclass(slots=True)
class Occurrences:
    """Of one text: how often, its first label, and whether another label occurred too."""

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
        self._texts: dict[tuple[int, int], Occurrences] = {}

    def offer(self, text: str, label: str | None) -> Occurrences | None:
        """Counts a text; what is known of it, itself included, or None if it is not in the sample."""
        key = self._key(text)
        if key is None:
            return None
        occurrences = self._texts.get(key)
        if occurrences is None:
            self._texts[key] = occurrences = Occurrences(1, label)
            if len(self._texts) > self._capacity:
                self.scale *= 2
                self._texts = {k: v for k, v in self._texts.items() if k[0] % self.scale == 0}
        else:
            occurrences.count += 1
            occurrences.conflicts |= label != occurrences.label
        return occurrences

    def __contains__(self, text: str) -> bool:
        key = self._key(text)
        return key is not None and key in self._texts

    @property
    def repeated(self) -> int:
        """Rows whose text stood in an earlier row; an estimate if `scale` is above 1."""
        return self.scale * sum(seen.count - 1 for seen in self._texts.values())

    @property
    def conflicting(self) -> int:
        """Texts with different labels; an estimate if `scale` is above 1."""
        return self.scale * sum(seen.conflicts for seen in self._texts.values())

    def _key(self, text: str) -> tuple[int, int] | None:
        """Two hashes: one that chooses the sample, in every process alike, and one of 64 bits."""
        content = text.strip().lower().encode("utf-8", "surrogatepass")
        place = zlib.crc32(content)
        return None if place % self.scale else (place, hash(content))
