"""A uniform sample of a stream, in one pass at constant memory (Li 1994, algorithm L)."""

from __future__ import annotations

import math
import random
from typing import Generic, TypeVar

T = TypeVar("T")


class ReservoirSample(Generic[T]):
    """A uniform sample of at most `size` items (reservoir sampling); equal streams give equal samples."""

    def __init__(self, size: int) -> None:
        self._size, self._offered, self._random = size, 0, random.Random(0)
        self._next, self._weight = size - 1, 1.0  # the next item that is kept
        self.items: list[T] = []

    def offer(self, item: T) -> None:
        """Passes the stream's next item, which the sample keeps or drops."""
        if self._offered < self._size:
            self.items.append(item)
        elif self._offered == self._next:
            self.items[self._random.randrange(self._size)] = item
        if self._offered == self._next:
            self._weight *= math.exp(math.log(1 - self._random.random()) / self._size)
            skipped = math.log(1 - self._random.random()) / math.log1p(-self._weight)
            self._next += int(skipped) + 1
        self._offered += 1
