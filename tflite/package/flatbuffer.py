"""Reading flatbuffers that nobody vouches for: within their bounds, and as many tables as they have room for.

The library's own reader follows any offset, and what refers to one element a hundred times, on three levels,
is a million tables in 1.5 kB. https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

import numpy as np

# As many as the verifier of the C++ library lets pass. A BERT of 24 layers and 16 lengths has some 100,000.
MAX_TABLES = 1_000_000
# What a table takes at least: the offset that refers to it, and its own to its vtable.
_TABLE_BYTES = 8
# Of a table, that are read. None of the tables of models and metadata has more that anything here asks for.
_SLOTS = 16
# Forms of `struct`, as fields have them.
BYTE, UBYTE, INT, UINT, ULONG, FLOAT = "<b", "<B", "<i", "<I", "<Q", "<f"


class Damaged(ValueError):
    """The bytes are no flatbuffer of this form; the message says what is wrong with them."""


class Flatbuffer:
    """The tables of a flatbuffer, from its root.

    Args:
        data: begins with the flatbuffer; it may go on with other things.

    Raises:
        Damaged: from every method of its tables.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.size = len(data)
        self._tables = min(self.size // _TABLE_BYTES, MAX_TABLES)
        self._copied = self.size  # bytes of texts and integers, which are in a file once

    @property
    def root(self) -> Table:
        return self.table_at(0)

    def unpack(self, form: str, position: int) -> tuple:
        """The numbers at a position."""
        try:
            if position >= 0:  # Python takes others for positions from the end
                return struct.unpack_from(form, self.data, position)
        except struct.error:
            pass
        raise Damaged(f"an offset to byte {position:,} of {self.size:,}")

    def table_at(self, position: int) -> Table:
        """The table that the offset at a position refers to."""
        self._tables -= 1
        if self._tables < 0:
            raise Damaged("more tables than it has room for")
        return Table(self, position + self.unpack(UINT, position)[0])

    def vector_at(self, position: int, item_size: int) -> tuple[int, int]:
        """Where the items of the vector that the offset at a position refers to begin, and their number."""
        start = position + self.unpack(UINT, position)[0]
        (count,) = self.unpack(UINT, start)
        if start + 4 + count * item_size > self.size:
            raise Damaged(f"a vector of {count:,} items in {self.size:,} bytes")
        return start + 4, count

    def copy(self, size: int) -> None:
        """Counts bytes that are copied."""
        self._copied -= size
        if self._copied < 0:
            raise Damaged("more text or numbers than it has room for")


class Table:
    """A table; a field is named by its slot, its index in the schema's table. Missing fields are defaults."""

    __slots__ = ("_buffer", "_offsets", "_position")

    def __init__(self, buffer: Flatbuffer, position: int) -> None:
        self._buffer, self._position = buffer, position
        vtable = position - buffer.unpack(INT, position)[0]
        (size,) = buffer.unpack("<H", vtable)
        slots = min(max(0, size - 4) // 2, _SLOTS)
        self._offsets = buffer.unpack(f"<{slots}H", vtable + 4)  # after the vtable's two sizes

    def has(self, slot: int) -> bool:
        return self._at(slot) is not None

    def number(self, slot: int, form: str, default: float = 0) -> Any:
        """A number; `form` is that of `struct`."""
        position = self._at(slot)
        return default if position is None else self._buffer.unpack(form, position)[0]

    def string(self, slot: int) -> str:
        """A text; empty where it is missing."""
        position = self._at(slot)
        if position is None:
            return ""
        start, count = self._buffer.vector_at(position, 1)
        self._buffer.copy(count)
        try:
            return self._buffer.data[start : start + count].decode()
        except UnicodeDecodeError:
            raise Damaged("a text that is not UTF-8") from None

    def numbers(self, slot: int, form: str) -> tuple:
        """A vector of int32 (`i`) or float32 (`f`); empty where it is missing."""
        position = self._at(slot)
        if position is None:
            return ()
        start, count = self._buffer.vector_at(position, 4)
        self._buffer.copy(4 * count)
        return self._buffer.unpack(f"<{count}{form}", start)

    def array(self, slot: int, dtype: type) -> np.ndarray:
        """A vector of numbers, a view into the data; empty where it is missing."""
        position = self._at(slot)
        if position is None:
            return np.empty(0, dtype)
        start, count = self._buffer.vector_at(position, np.dtype(dtype).itemsize)
        return np.frombuffer(self._buffer.data, dtype, count, start)

    def size(self, slot: int) -> int:
        """Bytes of a vector of bytes."""
        position = self._at(slot)
        return 0 if position is None else self._buffer.vector_at(position, 1)[1]

    def table(self, slot: int) -> Table | None:
        position = self._at(slot)
        return None if position is None else self._buffer.table_at(position)

    def tables(self, slot: int) -> list[Table]:
        """A vector of tables; empty where it is missing."""
        position = self._at(slot)
        if position is None:
            return []
        start, count = self._buffer.vector_at(position, 4)
        return [self._buffer.table_at(start + 4 * index) for index in range(count)]

    def _at(self, slot: int) -> int | None:
        """The position of a field's value, or of the offset to it; None: the field is missing."""
        offset = self._offsets[slot] if slot < len(self._offsets) else 0
        return self._position + offset if offset else None
