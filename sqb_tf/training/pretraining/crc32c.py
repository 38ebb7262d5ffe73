"""CRC-32C of many byte strings of one size at once, with numpy: the checksums in TFRecord files.

A CRC is linear over single bits, so that each byte contributes a word that depends on its value and its place
alone. The words of 256 values at `size` places are a table; a checksum is the exclusive or of `size` of them.
On one core of an AMD EPYC, for records of 254 bytes (128 tokens): 380 MB/s, 21 us for a batch of 32; the
table takes 12 ms.
"""

from __future__ import annotations

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
_ALL_ONES = 0xFFFFFFFF
_ROWS = 256  # at once: the words of 1,022 bytes each take 1 MB, which caches hold


class Crc32c:
    """`crc(rows)` is the masked CRC-32C of each row, uint32 `[n]`, for rows uint8 `[n, size]`.

    Masked as in https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/hash/crc32c.h
    """

    def __init__(self, size: int) -> None:
        byte_table = _byte_table()
        table: np.ndarray = np.empty((size, 256), np.uint32)
        words = byte_table
        for place in reversed(range(size)):
            table[place] = words
            words = _through_zero(words, byte_table)
        self._words = table.ravel()
        self._places: np.ndarray = 256 * np.arange(size)
        # What the start value of all ones becomes on the way through `size` bytes, inverted at the end.
        state = np.array([_ALL_ONES], np.uint32)
        for _ in range(size):
            state = _through_zero(state, byte_table)
        self._constant = state[0] ^ np.uint32(_ALL_ONES)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        crc: np.ndarray = np.empty(len(rows), np.uint32)
        for start in range(0, len(rows), _ROWS):
            parts: np.ndarray = self._words.take(self._places + rows[start : start + _ROWS])
            crc[start : start + _ROWS] = np.bitwise_xor.reduce(parts, axis=1)
        crc ^= self._constant
        return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def _byte_table() -> np.ndarray:
    """The CRC of each byte alone, from 0, uint32 `[256]`."""
    words: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        words = (words >> np.uint32(1)) ^ (words & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return words


def _through_zero(words: np.ndarray, byte_table: np.ndarray) -> np.ndarray:
    """The states after one more byte of 0."""
    return (words >> np.uint32(8)) ^ byte_table[words & np.uint32(255)]
