"""What long work tells its user: log messages through absl, progress bars on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from sqb_tf.terminal import show

T = TypeVar("T")


class Progress:
    """`label 120/400 30% 0:12 left loss 0.31`: redrawn on a terminal, else one line every 10 s.

    `absl.logging.set_verbosity("error")` hides it, as the tools' `--quiet` does.
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, total
        self._hidden = _is_quiet()
        self._terminal = sys.stderr.isatty()
        self._interval = 0.2 if self._terminal else 10.0
        self._first: int | None = None

    def update(self, done: int, note: str = "") -> None:
        """Shows `done` of `total`, and `note`, unless the line was drawn a moment ago."""
        if self._hidden:
            return
        now = time.monotonic()
        if self._first is None:
            # The first item pays for tracing and caches: the rate is that of those after it.
            self._first, self._start, self._next = done, now, now + self._interval
        if now < self._next and done < self.total:
            return
        self._next = now + self._interval
        rate = max(done - self._first, 1) / max(now - self._start, 1e-9)
        line = (
            f"{self.label} {done}/{self.total} {100 * done // max(self.total, 1)}% "
            f"{clock((self.total - done) / rate)} left {note}"
        )
        end = "\n" if not self._terminal or done >= self.total else "\r"
        line = line.ljust(78) if self._terminal else line.rstrip()  # over a longer line before it
        show(line, sys.stderr, end, flush=True)


def clock(seconds: float) -> str:
    """`h:mm:ss`, without the hours when there are none."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _is_quiet() -> bool:
    logging = sys.modules.get("absl.logging")  # a process that has not imported it set no level
    return logging is not None and logging.get_verbosity() < logging.WARNING


def log(message: str) -> None:
    """Logs what the library is doing, at absl's level INFO.

    The tools show it. In Python, `absl.logging.set_verbosity("info")` does.
    """
    from absl import logging  # late: its 25 ms are not for a process that logs nothing

    logging.info("%s", message)


def warn(message: str) -> None:
    """Logs what the user should know, at absl's level WARNING: shown in Python too, unless silenced."""
    from absl import logging

    logging.warning("%s", message)


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """`items`, with their progress shown."""
    progress = Progress(label, total)
    for done, item in enumerate(items, 1):
        yield item
        progress.update(done)
