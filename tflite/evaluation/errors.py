"""The wrong decisions of an evaluation as a CSV file, in bounded memory."""

from __future__ import annotations

import csv
import io
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.atomic_write import staged_file


class ErrorLog:
    """Rows on disk, 16 bytes of each in memory, and read back in the order of their scores."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - as long as the log
        self._scores, self._offsets = array("d"), array("q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._scores)

    def add(self, row: Sequence[str], score: float | None) -> None:
        """One more row; None sorts last."""
        line = _line(row).encode("utf-8", "surrogatepass")
        self._scores.append(-np.inf if score is None else score)
        self._offsets.append(self._end)
        self._end += self._file.write(line)

    def rows(self, limit: int | None = None) -> Iterator[list[str]]:
        """The rows, the highest scores first."""
        for line in self._lines(limit):
            yield next(csv.reader(io.StringIO(line, newline="")))

    def write(self, path: Path) -> None:
        """A header and all rows."""
        with staged_file(path) as staged, staged.open("w", encoding="utf-8", newline="") as file:
            file.write(_line(self.columns))
            file.writelines(self._lines(None))

    def _lines(self, limit: int | None) -> Iterator[str]:
        order = np.argsort(-np.frombuffer(self._scores), kind="stable")[:limit]
        ends = [*self._offsets[1:], self._end]
        for index in order:
            self._file.seek(self._offsets[index])
            line = self._file.read(ends[index] - self._offsets[index])
            yield line.decode("utf-8", "replace")


def _line(row: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(row)
    return text.getvalue()
