"""A uniform sample of a stream, in one pass at constant memory."""

from __future__ import annotations

import random
from typing import Generic, TypeVar

T = TypeVar("T")


class ReservoirSample(Generic[T]):
    """A uniform sample of at most `size` items (reservoir sampling); equal streams give equal samples."""

    def __init__(self, size: int) -> None:
        self._size, self._offered, self._random = size, 0, random.Random(0)
        self.items: list[T] = []

    def offer(self, item: T) -> None:
        """Passes the stream's next item, which the sample keeps or drops."""
        if len(self.items) < self._size:
            self.items.append(item)
        elif (index := self._random.randint(0, self._offered)) < self._size:
            self.items[index] = item
        self._offered += 1
