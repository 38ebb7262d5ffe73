"""Tokenized shards: pretraining instances on disk, written once, read at random without TensorFlow.

A folder with

index.json                        what it contains (`Index`)
vocab.txt                         the vocabulary
train-00000.tfrecord ..., dev-... instances, `RECORDS` per file
samples.json                      texts of each split, for calibration and verification

Records are in TFRecord's format (length, checksum, payload, checksum). The payload is little-endian uint16:
the lengths of the two segments, then their tokens, padded with 0 to `seq_length` - 3. All records have the
same size, so record n is at a known offset: batches are read in any order, and a resumed run does not read
what it has seen. Reading needs numpy only.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.line_file import read_lines

INDEX, SAMPLES = "index.json", "samples.json"
RECORDS = 65_536
# Bytes before a payload, its length (uint64) and a checksum (uint32), and after it, a checksum.
HEAD, TAIL = 12, 4
DTYPE = np.dtype("<u2")
MAX_TOKENS = np.iinfo(DTYPE).max + 1  # of a vocabulary
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Index:
    """`index.json`: what the shards hold and how they were made."""

    format: int
    seq_length: int
    lowercase: bool
    source: dict[str, Any]  # the options and files they were made from
    records: dict[str, list[int]]  # split -> number of records in each file, in order
    unigrams: list[int]  # count of each token in train

    @classmethod
    def read(cls, directory: Path) -> Index:
        """The index of a folder of shards; an `InputError` names the file that is missing or wrong."""
        path = directory / INDEX
        if not path.is_file():
            raise InputError(
                f"{directory}: not a folder of shards: {INDEX} is missing: make one with "
                "`sqb pretrain --text FILE --shards DIR`"
            )
        try:
            index = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None
        if index.format != FORMAT:
            raise InputError(
                f"{path}: format {index.format}, expected {FORMAT}: make the shards again"
            )
        return index

    @property
    def record_size(self) -> int:
        """Bytes of a record, TFRecord's framing included."""
        return HEAD + self.payload_size + TAIL

    @property
    def payload_size(self) -> int:
        """Bytes of an instance."""
        return DTYPE.itemsize * (2 + self.seq_length - 3)


@dataclasses.dataclass(frozen=True)
class Instances:
    """Unmasked instances: tokens int32 `[n, seq_length - 3]`, both segments' lengths int32 `[n, 2]`."""

    tokens: np.ndarray
    lengths: np.ndarray


class Shards:
    """Reads the records of a folder of shards.

    Raises:
        InputError: names the file that is missing, truncated or not as the index says.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.index = Index.read(self.directory)
        self.vocabulary = read_lines(self.directory / "vocab.txt", "a vocabulary")
        if len(self.vocabulary) != len(self.index.unigrams):
            raise InputError(
                f"{self.directory}/vocab.txt: {len(self.vocabulary)} tokens, {INDEX} has "
                f"{len(self.index.unigrams)}"
            )
        self._files = {
            split: [self._open(split, i, count) for i, count in enumerate(counts)]
            for split, counts in self.index.records.items()
        }

    def count(self, split: str) -> int:
        """Instances of `train` or `dev`."""
        return sum(self.index.records[split])

    def texts(self, split: str) -> list[str]:
        """A sample of the texts of `train` or `dev`."""
        path = self.directory / SAMPLES
        try:
            return json.loads(path.read_text(encoding="utf-8"))[split]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None

    def read(self, split: str, indices: np.ndarray) -> Instances:
        """The instances at `indices`, int `[n]`, in that order."""
        starts = np.cumsum([0, *self.index.records[split]])
        files = np.searchsorted(starts, indices, side="right") - 1
        rows: np.ndarray = np.empty(
            (len(indices), self.index.payload_size // DTYPE.itemsize), np.int32
        )
        for file in np.unique(files):
            in_file = files == file
            records = self._files[split][file][indices[in_file] - starts[file]]
            rows[in_file] = self._payloads(split, file, records)
        return Instances(rows[:, 2:], rows[:, :2])

    def _open(self, split: str, number: int, count: int) -> np.ndarray:
        path, size = self.directory / shard_name(split, number), self.index.record_size
        try:
            actual_size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if actual_size != count * size:
            raise InputError(
                f"{path}: {actual_size} bytes, expected {count * size} ({count} records): copy it again"
            )
        return np.memmap(path, np.uint8, "r", shape=(count, size))

    def _payloads(self, split: str, file: int, records: np.ndarray) -> np.ndarray:
        lengths = np.ascontiguousarray(records[:, :8]).view("<u8")[:, 0]
        payloads = np.ascontiguousarray(records[:, HEAD:-TAIL]).view(DTYPE)
        max_tokens = payloads.shape[1] - 2
        sizes = payloads[:, :2].astype(np.int64)
        if (lengths != self.index.payload_size).any() or (
            (sizes < 1).any()
            or (sizes.sum(1) > max_tokens).any()
            or payloads[:, 2:].max(initial=0) >= len(self.vocabulary)
        ):
            raise InputError(
                f"{self.directory / shard_name(split, file)}: damaged: copy it again or make the shards again"
            )
        return payloads


def shard_name(split: str, number: int) -> str:
    """The file name of shard `number` of a split."""
    return f"{split}-{number:05}.tfrecord"
