"""Delimited text files (TSV, CSV, JSONL) as re-iterable streams of examples."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError

SUFFIXES = (".tsv", ".csv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled text or pair; `pair` is None for a single text, `label` None where unlabelled.

    `id` is the file's own name for the example, where it has one.
    """

    text: str
    pair: str | None = None
    label: str | None = None
    id: str | None = None


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns (TSV and CSV) or keys (JSONL) of an example."""

    text: str = "text"
    pair: str | None = None
    label: str | None = "label"


@dataclasses.dataclass(frozen=True)
class DelimitedFile:
    """A `.tsv`, `.csv` or `.jsonl` file. Iterating opens it anew and holds one row at a time.

    TSV is split at tabs with no quoting (GLUE's form); CSV is RFC 4180; each has a header line, a TSV with
    `header` none. JSONL holds one object a line. All are UTF-8, with or without a byte order mark. With
    `skip_broken`, rows with a missing or empty cell are passed over.

    Raises (while iterating):
        InputError: naming file and line: unreadable, not UTF-8, a missing column, an empty text.
    """

    path: Path
    columns: Columns = Columns()
    header: tuple[str, ...] | None = None
    skip_broken: bool = False

    def __post_init__(self) -> None:
        if self.path.suffix not in SUFFIXES:
            raise InputError(f"{self.path}: expected a file ending in {', '.join(SUFFIXES)}")
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")

    def __iter__(self) -> Iterator[Example]:
        wanted = [column for column in dataclasses.astuple(self.columns) if column is not None]
        for line, row in self.rows():
            if not (self.skip_broken and any(not (row.get(c) or "").strip() for c in wanted)):
                cells = (self.cell(line, row, c) for c in dataclasses.astuple(self.columns))
                yield Example(*cells)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line number, cells by column) of every row."""
        if self.path.suffix == ".tsv":
            return _tsv_rows(self.path, self.header)
        return {".csv": _csv_rows, ".jsonl": _json_rows}[self.path.suffix](self.path)

    def cell(self, line: int, row: dict[str, Any], column: str | None) -> str | None:
        """The text in a column of a row, None for no column; `InputError` if there is none."""
        if column is None:
            return None
        if row.get(column) is None:
            found = ", ".join(key for key in row if key) or "none"
            raise InputError(
                f"{self.path}:{line}: no column {column!r}; found: {found}. "
                "Name the columns with --text-column, --pair-column, --label-column"
            )
        if not str(row[column]).strip():
            raise InputError(f"{self.path}:{line}: {column!r} is empty: expected text")
        return str(row[column])


def find_split(folder: Path, split: str) -> Path:
    """`folder/split.tsv`, `.csv` or `.jsonl`, whichever is there."""
    for suffix in SUFFIXES:
        if (folder / f"{split}{suffix}").is_file():
            return folder / f"{split}{suffix}"
    if folder.is_dir():
        raise InputError(f"{folder}: no {split}.tsv, {split}.csv or {split}.jsonl in it")
    if folder.exists():
        raise InputError(f"{folder}: expected a folder, or a file ending in {', '.join(SUFFIXES)}")
    raise InputError(f"{folder}: no such file or folder")


def find_by_name(folder: Path, name: str, suffixes: Sequence[str], parts: Sequence[str]) -> Path:
    """`folder/name` with one of `suffixes`, or the one file there that has one of `parts` in its name."""
    for suffix in suffixes:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with train and dev files")
    found = sorted(path for path in folder.iterdir() if any(p in path.name.lower() for p in parts))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"{folder}: expected {name}{suffixes[0]}, or one file with {' or '.join(parts)} in its name; "
            f"found: {listed}"
        )
    return found[0]


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line with its end) of a UTF-8 file, streamed; no byte order mark.

    Raises:
        InputError: naming the file that cannot be read or the line that is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            yield from decoded_lines(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def decoded_lines(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """`numbered_lines` of an open binary file, called `name` in messages."""
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}:{number}: not UTF-8 (byte {error.start + 1} of the line): "
                "save the file as UTF-8"
            ) from None
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def _tsv_rows(
    path: Path, header: tuple[str, ...] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = ((number, line.rstrip("\r\n")) for number, line in numbered_lines(path))
    if header is None:
        header = tuple(next(lines, (1, ""))[1].split("\t"))
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) > len(header):
            raise InputError(f"{path}:{number}: {len(cells)} cells, but {len(header)} columns")
        if line:
            yield number, dict(zip(header, cells))


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for at, line in numbered_lines(path):
            number = at  # reader.line_num does not count the line of an error
            yield line

    try:
        for row in csv.DictReader(lines()):
            yield number, row
    except csv.Error as error:
        raise InputError(f"{path}:{number}: not CSV: {error}") from None


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected a JSON object a line")
        yield number, row
