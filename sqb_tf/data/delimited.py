"""Delimited text files (TSV, CSV, JSONL) as re-iterable streams of examples."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqb_tf.data.data_format import DataFormat, Skip, find_file
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.labels import clean_label, shortened
from sqb_tf.data.lines import half_character
from sqb_tf.data.rows import Row, csv_rows, json_rows, other_separator, tsv_rows
from sqb_tf.errors import InputError, suggest

SUFFIXES = (".tsv", ".csv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class DelimitedFile:
    """A `.tsv`, `.csv` or `.jsonl` file. Iterating opens it anew and holds one row at a time.

    TSV is split at tabs with no quoting (GLUE's form); CSV is RFC 4180. Each has a header line, except a TSV
    whose columns are given as `header`. JSONL holds one object per line. All are UTF-8, with or without a
    byte order mark. With `skip_broken`, rows with a missing or empty cell are skipped; with `skip`, rows that
    raise an error, which it is given.

    Raises (while iterating):
        InputError: naming file and line: unreadable, not UTF-8, a missing column, two of one name, a cell too
            many or too few, wrong quotes, an empty text, a value that is neither text nor a finite number, a
            label of several lines.
    """

    path: Path
    columns: Columns = dataclasses.field(default_factory=Columns)
    header: tuple[str, ...] | None = None
    skip_broken: bool = False
    skip: Skip | None = None

    def __post_init__(self) -> None:
        if self._suffix not in SUFFIXES:
            hint = "; SQuAD's .json goes with --task squad" if self._suffix == ".json" else ""
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
        text = self.cell(line, row, self.columns.text)
        pair = self.cell(line, row, self.columns.pair)
        return Example(text or "", pair, self.label(line, row))

    def label(self, line: int, row: dict[str, Any]) -> str | None:
        """The label in a row, None for no column; `InputError` if there is none."""
        label = self.cell(line, row, self.columns.label)
        if label is None:
            return None
        try:
            return clean_label(label)
        except InputError as error:
            raise InputError(f"{self.path}:{line}: {error}") from None

    def rows(self) -> Iterator[Row]:
        """(line number, cells by column) of every row."""
        if self._suffix == ".csv":
            return csv_rows(self.path, self.refuse)
        if self._suffix == ".tsv":
            return tsv_rows(self.path, self.header, self.refuse)
        return json_rows(self.path, self.refuse)

    def refuse(self, error: InputError) -> None:
        """Raises the error of a row, or passes it on."""
        if self.skip is None:
            raise error
        self.skip(error)

    @functools.cached_property
    def _suffix(self) -> str:
        return self.path.suffix.lower()

    @functools.cached_property
    def is_json(self) -> bool:
        """Whether it is JSONL, whose values may be more than text."""
        return self._suffix == ".jsonl"

    def cell(
        self, line: int, row: dict[str, Any], column: str | None, empty: bool = False
    ) -> str | None:
        """The text in a column of a row, None for no column; `InputError` if there is none.

        Only where it may be `empty` is it white space alone.
        """
        if column is None:
            return None
        text = row.get(column)
        if text is None:
            raise self._missing(line, row, column)
        if self.is_json:
            text = self.text_of(line, column, text)
        if (not text or text.isspace()) and not empty:
            raise InputError(f"{self.path}:{line}: {column!r} is empty: expected text")
        return text

    def text_of(self, line: int, column: str, value: Any) -> str:
        """The text that a value of JSON stands for; `InputError` if it is no text and no finite number."""
        if not isinstance(value, str):
            is_number = isinstance(value, int) or (
                isinstance(value, float) and math.isfinite(value)
            )
            if not is_number or isinstance(value, bool):
                raise InputError(
                    f"{self.path}:{line}: {column!r} is {json.dumps(value):.80}: expected text or a finite "
                    "number"
                )
            return str(int(value) if value == int(value) else value)  # 1.0 and 1 are one class
        half = half_character(value)  # the other formats are UTF-8, which has none
        if half:
            raise InputError(f"{self.path}:{line}: {column!r} holds half a character ({half})")
        return value

    def _missing(self, line: int, row: dict[str, Any], column: str) -> InputError:
        """Why a row has no value in a column."""
        if column in row and self.is_json:
            return InputError(f"{self.path}:{line}: {column!r} is null: expected text")
        if column in row:
            count = sum(cell is not None for cell in row.values())
            cells = "1 cell" if count == 1 else f"{count} cells"
            return InputError(
                f"{self.path}:{line}: {column!r} is missing: the row has {cells}, the header {len(row)}"
            )
        names = [repr(key)[1:-1] for key in row if key]  # on one line
        present = shortened(names or ["none"], 20)
        hint = other_separator(self.path, row) or suggest(column, row) or self._unlabelled(column)
        return InputError(
            f"{self.path}:{line}: no column {column!r}; found: {present}{hint} "
            "(--text-column, --pair-column and --label-column name the columns)"
        )

    def _unlabelled(self, column: str) -> str:
        """What pairs without labels are for."""
        if self.columns.pair is None or column != self.columns.label:
            return ""
        return "; pairs that belong together, without labels, go with --task retrieval"


@dataclasses.dataclass(frozen=True)
class SampleFile(DelimitedFile):
    """Examples that a bundle keeps: a label is what an `Example` of its task has, none included."""

    def label(self, line: int, row: dict[str, Any]) -> str | None:
        return self.cell(line, row, self.columns.label, empty=True)


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
    """`folder/split.tsv`, `.csv` or `.jsonl`, whichever exists; suffixes may be in capitals."""
    if folder.is_dir():
        path = find_file(folder, split, SUFFIXES)
        if path is not None:
            return path
        stems = {path.stem for path in folder.iterdir() if path.suffix.lower() in SUFFIXES}
        raise InputError(
            f"{folder}: no {split}.tsv, {split}.csv or {split}.jsonl in it{suggest(split, stems)}"
        )
    if folder.exists():
        raise InputError(f"{folder}: expected a folder, or a file ending in {', '.join(SUFFIXES)}")
    raise InputError(f"{folder}: no such file or folder")
