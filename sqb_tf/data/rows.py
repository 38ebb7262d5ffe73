"""The rows of TSV, CSV and JSONL files: cells by column, with the line that a row begins on."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError

# (line number from 1, cells by column); a cell that a TSV or CSV row lacks is None.
Row = tuple[int, dict[str, Any]]
# Takes the error of a row: it raises it, or the row is skipped.
Refuse = Callable[[InputError], None]

# Characters of a CSV cell. Python's csv takes 131,072, fewer than a long document has. With no limit, a quote
# that is never closed would read the rest of the file into memory.
MOST_CELL = 1 << 24
# A cell of a CSV row with what ends it.
_CELL = re.compile(r'(?:"(?:[^"]|"")*+"|[^",\r\n][^,\r\n]*+|)(?:,|\r?\n|\Z)')


def tsv_rows(path: Path, header: tuple[str, ...] | None, refuse: Refuse) -> Iterator[Row]:
    """The rows of a TSV file: split at tabs, nothing is quoted. Without `header`, the first line is one.

    Raises:
        InputError: a file that cannot be read, two columns of one name. `refuse` takes the error of a row
            with too many cells.
    """
    lines = numbered_lines(path)
    if header is None:
        number, line = next(((n, line) for n, line in lines if line.strip("\r\n")), (1, ""))
        header = _named(path, number, line.rstrip("\r\n").split("\t"))
    width = len(header)
    for number, line in lines:
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) == width and cells != [""]:
            yield number, dict(zip(header, cells))
        elif len(cells) > width:
            hint = other_separator(path, header)
            refuse(InputError(f"{path}:{number}: {_too_many(cells, header)}{hint}"))
        elif cells != [""]:
            yield number, dict(itertools.zip_longest(header, cells))


def csv_rows(path: Path, refuse: Refuse) -> Iterator[Row]:
    """The rows of a CSV file (RFC 4180). A row's number is that of the line it begins on.

    Raises:
        InputError: a file that cannot be read, a header that is not CSV, two columns of one name. `refuse`
            takes the error of a row with too many cells or wrong quotes.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MOST_CELL))
    first = 1  # line of the row that is read
    lines: list[str] = []

    def row_lines() -> Iterator[str]:
        nonlocal first
        for number, line in numbered_lines(path):
            if not lines:
                first = number
            lines.append(line)
            yield line

    reader = csv.reader(row_lines(), strict=True)
    header: tuple[str, ...] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = []
            problem = _quoting(path, first, "".join(lines), error)
            if header is None:
                raise InputError(problem + other_separator(path, lines[:1])) from None
            refuse(InputError(problem + other_separator(path, header)))
        lines.clear()
        if header is None:
            if cells:
                header = _named(path, first, cells)
        elif len(cells) == len(header):
            yield first, dict(zip(header, cells))
        elif len(cells) > len(header):
            hint = other_separator(path, header) or (
                ": a cell with a comma in it is written in quotes"
            )
            refuse(InputError(f"{path}:{first}: {_too_many(cells, header)}{hint}"))
        elif cells:
            yield first, dict(itertools.zip_longest(header, cells))


def json_rows(path: Path, refuse: Refuse) -> Iterator[Row]:
    """The objects of a JSONL file, one per line.

    Raises:
        InputError: a file that cannot be read. `refuse` takes the error of a line that is no JSON object, or
            in which a key appears twice.
    """
    decode = json.JSONDecoder(object_pairs_hook=_object).decode
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except InputError as error:
            refuse(InputError(f"{path}:{number}: {error}"))
        except ValueError as error:
            refuse(InputError(f"{path}:{number}: not JSON: {error}"))
        except RecursionError:
            refuse(InputError(f"{path}:{number}: not JSON that can be read: nested too deeply"))
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                refuse(InputError(f"{path}:{number}: expected a JSON object per line"))


def other_separator(path: Path, header: Iterable[str]) -> str:
    """What is wrong where the header is one cell with another separator in it; nothing for JSONL."""
    expected = {".tsv": "tabs", ".csv": "commas"}.get(path.suffix.lower())
    cells = list(header)
    separators = [mark for mark in ",;\t" if cells and mark in cells[0]]
    if expected is None or len(cells) > 1 or not separators:
        return ""
    return f"; {path.suffix} files separate columns by {expected}, this one by {separators[0]!r}"


def _named(path: Path, line: int, header: Sequence[str]) -> tuple[str, ...]:
    """The columns of a header; one without a name, as spreadsheets add, is called by its place: `column 3`.

    `InputError` for two columns of one name.
    """
    own = [name for name in header if name]
    if len(set(own)) < len(own):
        twice = next(name for name in own if own.count(name) > 1)
        raise InputError(f"{path}:{line}: two columns are called {twice!r}: rename one of them")
    # By a later place where the file has a column of that name.
    places = {place: name for place, name in enumerate(header, 1) if name}
    for place, name in enumerate(header, 1):
        if not name:
            number = place
            while f"column {number}" in places.values():
                number += 1
            places[place] = f"column {number}"
    return tuple(places[place] for place in range(1, len(header) + 1))


def _too_many(cells: Sequence[str], header: Sequence[str]) -> str:
    return f"{len(cells)} cells, but {len(header)} column{'s' * (len(header) > 1)}"


def _quoting(path: Path, first: int, content: str, error: csv.Error) -> str:
    """What is wrong with the row `content`, with the line that the cell at fault begins on."""
    start = end = 0
    while end < len(content) and (match := _CELL.match(content, end)):
        start, end = end, match.end()
    if end < len(content):
        start = end
    line = first + content.count("\n", 0, start)
    if content[start : start + 1] != '"':
        reason = f"{error}".partition(" - ")[0]
    elif "expected after" in f"{error}":
        reason = (
            "text after the closing quote of a cell: a cell with quotes in it is written in quotes, and each "
            'quote in it twice, as "She said ""wow"""'
        )
    else:
        reason = (
            f"the quote that opens this cell is not closed within {MOST_CELL:,} characters: close it, "
            "or remove it"
        )
    return f"{path}:{line}: not CSV: {reason}"


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; `InputError` if it has two values for a key, of which `json` would drop one."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"two values are called {twice!r}: rename one of them")
    return values
