"""Rows of a table on disk, read back in the order of their ranks: what is wrong, what has changed."""

from __future__ import annotations

import csv
import json
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.atomic_write import staged_file


class RankedRows:
    """A table of any number of rows, of which 16 bytes each are in memory."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - as long as the table
        self._ranks, self._offsets = array("d"), array("q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._ranks)

    def add(self, row: Sequence[str], rank: float | None) -> None:
        """One more row; those without a rank come last."""
        self._ranks.append(-np.inf if rank is None else rank)
        self._offsets.append(self._end)
        self._end += self._file.write(json.dumps(row).encode() + b"\n")

    def rows(self, limit: int | None = None) -> Iterator[list[str]]:
        """The rows, the highest ranks first, at most `limit` of them."""
        for index in np.argsort(-np.frombuffer(self._ranks), kind="stable")[:limit]:
            self._file.seek(self._offsets[index])
            yield json.loads(self._file.readline())

    def write(self, path: Path) -> None:
        """A CSV file with a header and all rows."""
        with (
            staged_file(path) as staged,
            open(staged, "w", encoding="utf-8", errors="replace", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows())
