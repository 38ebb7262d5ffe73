"""`.npy` files written row by row, at constant memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np


class RowWriter:
    """Writes blocks of rows to a `.npy` file, whatever their number will be; to be used with `with`.

    The rows are appended: on a full disk, writing to a mapped file would kill the process. A file without
    rows holds an array of shape `[0, 0]`.

    Args:
        path: a new file; one that is to appear whole or not at all is a `staged_file`.

    Attributes:
        shape: of what is written so far; the size of a row is known from the first block on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dtype = np.dtype(np.float32)
        self.shape: tuple[int, ...] = (0, 0)

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def append(self, rows: np.ndarray) -> None:
        """Writes rows `[n, ...]`, all blocks alike but for their number of rows."""
        if not self.shape[0]:
            self._dtype, self.shape = rows.dtype, (0, *rows.shape[1:])
            self._write_header()
        self._file.write(rows.tobytes())
        self.shape = (self.shape[0] + len(rows), *self.shape[1:])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                self._write_header()

    def _write_header(self) -> None:
        """The header at the start of the file; numpy leaves room in it for the first axis to grow."""
        self._file.seek(0)
        header = dict(descr=self._dtype.str, fortran_order=False, shape=self.shape)
        np.lib.format.write_array_header_1_0(self._file, header)
