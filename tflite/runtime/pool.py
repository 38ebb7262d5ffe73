"""Objects of which a thread uses one at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sqb_tf.errors import InputError

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends each object to one thread at a time, and opens another one while all are lent.

    Args:
        open_one: opens an object; called by the thread that needs it.
        size: objects at most; further threads wait.
        owner: who was closed, in messages.
    """

    def __init__(self, open_one: Callable[[], T], size: int, owner: str) -> None:
        self._open_one, self._size, self._owner = open_one, size, owner
        self._idle: list[T] = []
        self._count = 0  # idle and lent
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lent(self) -> Iterator[T]:
        """An object that no other thread uses meanwhile.

        Raises:
            InputError: the pool was closed, also while a thread waited.
        """
        item = self._take()
        try:
            yield item
        finally:
            self._give_back(item)

    def detach(self) -> T:
        """An object that leaves the pool, for a caller who keeps it; errors as of `lent`."""
        item = self._take()
        with self._changed:
            self._count -= 1
            self._changed.notify()
        return item

    def close(self) -> None:
        """Drops the idle objects; those that are lent go when their thread has done."""
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._changed.notify_all()

    def _take(self) -> T:
        with self._changed:
            while not self._closed and not self._idle and self._count >= self._size:
                self._changed.wait()
            if self._closed:
                raise InputError(f"{self._owner} was closed: open it again")
            if self._idle:
                return self._idle.pop()  # the last one used: its memory is in the caches
            self._count += 1
        try:
            return self._open_one()
        except BaseException:
            with self._changed:
                self._count -= 1
                self._changed.notify()
            raise

    def _give_back(self, item: T) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(item)
                self._changed.notify()
