"""Tokenized shards: pretraining instances on disk, written once, read at random without TensorFlow.

A folder with

index.json                        what it contains (`Index`)
vocab.txt                         the vocabulary
train-00000.tfrecord ..., dev-... instances, `RECORDS` per file
samples.json                      texts of each split, for calibration and verification

Records are in TFRecord's format (length, checksum, payload, checksum). The payload is little-endian uint16:
the lengths of the two segments, then their tokens, padded with 0 to `seq_length` - 3. All records have the
same size, so record n is at a known offset: batches are read in any order, and a resumed run does not read
what it has seen. Reading needs numpy only, and checks both checksums, as TensorFlow's `TFRecordDataset` does.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.json_schema import Count, Natural, Size, check_json, read_json_file
from sqb_tf.line_file import read_lines
from sqb_tf.training.pretraining.crc32c import Crc32c

INDEX, SAMPLES = "index.json", "samples.json"
SPLITS = ("train", "dev")
MIN_SEQ_LENGTH = 16
RECORDS = 65_536
# Bytes before a payload, its length (uint64) and a checksum (uint32), and after it, a checksum.
HEAD, TAIL = 12, 4
DTYPE = np.dtype("<u2")
MAX_TOKENS = np.iinfo(DTYPE).max + 1  # of a vocabulary
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Index:
    """`index.json`: what the shards hold and how they were made."""

    format: Natural
    seq_length: Count
    lowercase: bool
    source: dict[str, Any]  # the options and files they were made from
    records: dict[str, list[Count]]  # split -> number of records in each file, in order
    unigrams: list[Size]  # count of each token in train

    @classmethod
    def read(cls, directory: Path) -> Index:
        """The index of a folder of shards; an `InputError` names the file that is missing or wrong."""
        path = directory / INDEX
        if not path.is_file():
            raise InputError(
                f"{directory}: not a folder of shards: {INDEX} is missing: make one with "
                "`sqb pretrain --text FILE --shards DIR`"
            )
        values = read_json_file(path, dict[str, Any])
        if values.get("format") != FORMAT:
            raise InputError(
                f"{path}: format {values.get('format')!r:.40}, expected {FORMAT}: make the shards again"
            )
        index = check_json(values, cls, str(path))
        if set(index.records) != set(SPLITS) or not all(index.records.values()):
            raise InputError(f"{path}: records: expected files of {' and '.join(SPLITS)}")
        if index.seq_length < MIN_SEQ_LENGTH:
            raise InputError(
                f"{path}: seq_length {index.seq_length}: expected at least {MIN_SEQ_LENGTH}"
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
        self._texts = _read_texts(self.directory / SAMPLES)
        length: np.ndarray = np.array([[self.index.payload_size]], "<u8").view(np.uint8)
        self._head: np.ndarray = np.append(
            length, Crc32c(length.size)(length).astype("<u4").view(np.uint8)
        )
        self._crc = Crc32c(self.index.payload_size)
        self._files = {
            split: [self._open(split, i, count) for i, count in enumerate(counts)]
            for split, counts in self.index.records.items()
        }

    def count(self, split: str) -> int:
        """Instances of `train` or `dev`."""
        return sum(self.index.records[split])

    def texts(self, split: str) -> list[str]:
        """A sample of the texts of `train` or `dev`."""
        return self._texts[split]

    def read(self, split: str, indices: np.ndarray) -> Instances:
        """The instances at `indices`, int `[n]`, in that order.

        Raises:
            InputError: a record is damaged; the message names the file and the record.
        """
        starts = np.cumsum([0, *self.index.records[split]])
        files = np.searchsorted(starts, indices, side="right") - 1
        rows: np.ndarray = np.empty(
            (len(indices), self.index.payload_size // DTYPE.itemsize), np.int32
        )
        for file in np.unique(files):
            in_file = files == file
            numbers = indices[in_file] - starts[file]
            rows[in_file] = self._payloads(split, file, numbers)
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

    def _payloads(self, split: str, file: int, numbers: np.ndarray) -> np.ndarray:
        """The payloads of the records `numbers` of a file, their checksums and tokens checked."""
        records = self._files[split][file][numbers]
        content = np.ascontiguousarray(records[:, HEAD:-TAIL])
        stored = np.ascontiguousarray(records[:, -TAIL:]).view("<u4")[:, 0]
        payloads = content.view(DTYPE)
        sizes = payloads[:, :2].astype(np.int64)
        for is_bad, what in (
            (
                (records[:, :HEAD] != self._head).any(1),
                "its length, or the checksum of that, is wrong",
            ),
            (self._crc(content) != stored, "its checksum is wrong"),
            (
                (sizes < 1).any(1) | (sizes.sum(1) > payloads.shape[1] - 2),
                "segments of no such lengths",
            ),
            (
                (payloads[:, 2:] >= len(self.vocabulary)).any(1),
                "a token that the vocabulary does not have",
            ),
        ):
            if is_bad.any():
                path, number = self.directory / shard_name(split, file), numbers[is_bad.argmax()]
                raise InputError(
                    f"{path}: record {number} is damaged: {what}: copy it again or make the shards again"
                )
        return payloads


def _read_texts(path: Path) -> dict[str, list[str]]:
    texts = read_json_file(path, dict[str, list[str]])
    if not set(SPLITS) <= set(texts):
        raise InputError(f"{path}: expected lists of texts named {' and '.join(SPLITS)}")
    return texts


def shard_name(split: str, number: int) -> str:
    """The file name of shard `number` of a split."""
    return f"{split}-{number:05}.tfrecord"
