"""Delimited text files (TSV, CSV, JSONL) as re-iterable streams of examples."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqb_tf.data.data_format import DataFormat, Skip
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError, suggest

SUFFIXES = (".tsv", ".csv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class DelimitedFile:
    """A `.tsv`, `.csv` or `.jsonl` file. Iterating opens it anew and holds one row at a time.

    TSV is split at tabs with no quoting (GLUE's form); CSV is RFC 4180. Each has a header line, except a TSV
    whose columns are given as `header`. JSONL holds one object per line. All are UTF-8, with or without a
    byte order mark. With `skip_broken`, rows with a missing or empty cell are skipped; with `skip`, rows that
    raise an error, which it is given. With `empty_labels`, a label may be empty.

    Raises (while iterating):
        InputError: naming file and line: unreadable, not UTF-8, a missing column, an empty text.
    """

    path: Path
    columns: Columns = dataclasses.field(default_factory=Columns)
    header: tuple[str, ...] | None = None
    skip_broken: bool = False
    skip: Skip | None = None
    empty_labels: bool = False

    def __post_init__(self) -> None:
        if self.path.suffix not in SUFFIXES:
            hint = "; SQuAD's .json goes with --task squad" if self.path.suffix == ".json" else ""
            raise InputError(f"{self.path}: expected a file ending in {', '.join(SUFFIXES)}{hint}")
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")

    def __iter__(self) -> Iterator[Example]:
        columns = (self.columns.text, self.columns.pair, self.columns.label)
        required = [column for column in columns if column is not None]
        for line, row in self.rows():
            if self.skip_broken and any(not (row.get(c) or "").strip() for c in required):
                continue
            try:
                example = self.example(line, row)
            except InputError as error:
                self.refuse(error)
            else:
                yield example

    def example(self, line: int, row: dict[str, Any]) -> Example:
        """The example in a row; `InputError` if there is none."""
        columns = self.columns
        text = self.cell(line, row, columns.text)
        pair = self.cell(line, row, columns.pair)
        return Example(str(text), pair, self.cell(line, row, columns.label))

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line number, cells by column) of every row."""
        if self.path.suffix == ".csv":
            return _csv_rows(self.path)
        if self.path.suffix == ".tsv":
            return _tsv_rows(self.path, self.header, self.refuse)
        return _json_rows(self.path, self.refuse)

    def refuse(self, error: InputError) -> None:
        """Raises the error of a row, or passes it on."""
        if self.skip is None:
            raise error
        self.skip(error)

    @functools.cached_property
    def _is_json(self) -> bool:
        return self.path.suffix == ".jsonl"

    def cell(self, line: int, row: dict[str, Any], column: str | None) -> str | None:
        """The text in a column of a row, None for no column; `InputError` if there is none."""
        if column is None:
            return None
        value = row.get(column)
        if value is None:
            present = ", ".join(repr(key)[1:-1] for key in row if key) or "none"  # on one line
            hint = (
                suggest(column, row) or _other_separator(self.path, row) or self._unlabelled(column)
            )
            raise InputError(
                f"{self.path}:{line}: no column {column!r}; found: {present}{hint} "
                "(--text-column, --pair-column and --label-column name the columns)"
            )
        text = str(value)
        if self.empty_labels and column == self.columns.label and not text.strip():
            return ""
        if not text or text.isspace():
            raise InputError(f"{self.path}:{line}: {column!r} is empty: expected text")
        if self._is_json:  # the other formats are UTF-8, which has none
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{self.path}:{line}: {column!r} holds half a character "
                    f"(\\u{ord(text[error.start]):04x})"
                ) from None
        return text

    def _unlabelled(self, column: str) -> str:
        """What pairs without labels are for."""
        if self.columns.pair is None or column != self.columns.label:
            return ""
        return "; pairs that belong together, without labels, go with --task retrieval"


@dataclasses.dataclass(frozen=True)
class DelimitedFormat(DataFormat):
    """Delimited files: `SPLIT.tsv`, `.csv` or `.jsonl`.

    Attributes:
        header: the columns of TSV files without a header line; unlabelled files have one.
        skip_broken: rows that lack a cell are published, and everybody skips them.
    """

    header: tuple[str, ...] | None = None
    skip_broken: bool = False

    def find(self, folder: Path, name: str, split: str) -> Path:
        return find_split(folder, name)

    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        header = self.header if columns.label is not None else None
        return DelimitedFile(path, columns, header, self.skip_broken, skip)


def find_split(folder: Path, split: str) -> Path:
    """`folder/split.tsv`, `.csv` or `.jsonl`, whichever exists."""
    for suffix in SUFFIXES:
        if (folder / f"{split}{suffix}").is_file():
            return folder / f"{split}{suffix}"
    if folder.is_dir():
        files = {path.stem for path in folder.iterdir() if path.suffix in SUFFIXES}
        raise InputError(
            f"{folder}: no {split}.tsv, {split}.csv or {split}.jsonl in it{suggest(split, files)}"
        )
    if folder.exists():
        raise InputError(f"{folder}: expected a folder, or a file ending in {', '.join(SUFFIXES)}")
    raise InputError(f"{folder}: no such file or folder")


def _other_separator(path: Path, row: dict[str, Any]) -> str:
    """What is wrong where the header is one cell with another separator in it."""
    header = next(iter(row), None) or ""
    separators = [mark for mark in ",;\t" if mark in header]
    if path.suffix == ".jsonl" or len(row) > 1 or not separators:
        return ""
    expected = "tabs" if path.suffix == ".tsv" else "commas"
    return f"; {path.suffix} files separate columns by {expected}, this one by {separators[0]!r}"


def _tsv_rows(
    path: Path, header: tuple[str, ...] | None, refuse: Callable[[InputError], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = numbered_lines(path)
    if header is None:
        header = tuple(next(lines, (1, ""))[1].rstrip("\r\n").split("\t"))
    for number, line in lines:
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) > len(header):
            refuse(InputError(f"{path}:{number}: {len(cells)} cells, but {len(header)} columns"))
        elif cells != [""]:
            yield number, dict(zip(header, cells))


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for current, line in numbered_lines(path):
            number = current  # reader.line_num does not count the line of an error
            yield line

    try:
        for row in csv.DictReader(lines()):
            yield number, row
    except csv.Error as error:
        raise InputError(f"{path}:{number}: not CSV: {error}") from None


def _json_rows(
    path: Path, refuse: Callable[[InputError], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            refuse(InputError(f"{path}:{number}: not JSON: {error}"))
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            refuse(InputError(f"{path}:{number}: expected a JSON object per line"))
