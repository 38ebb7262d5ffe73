"""How `sqb predict` prints rows with their results: a line each, a JSON object each, or the table again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from sqb_tf.data.lines import half_character
from sqb_tf.heads.head import Head
from sqb_tf.json_text import to_json
from sqb_tf.line_file import escape_breaks
from sqb_tf.terminal import data_output, show
from sqb_tools.prediction_rows import InputRow

# In place of a label.
FAILED = "(error)"


class LinePrinter:
    """For people: one line, whatever the text."""

    def print(self, row: InputRow, result: Any) -> None:
        """The result of a row with an error is None, here as in the other printers."""
        if row.texts is None:
            line = f"{FAILED}\t{row.error}\t{row.cells['text']}"
        else:
            line = result.line(*row.texts)
        show(escape_breaks(line))


class JsonPrinter:
    """An object for each row."""

    def print(self, row: InputRow, result: Any) -> None:
        text = to_json(record(row, result))
        if half_character(text):  # in a column that is not read
            text = to_json(record(row, result), ascii=True)
        data_output().write(f"{text}\n")


class TablePrinter:
    """The table, with the result in further columns; they are empty for a row with an error.

    Args:
        suffix: `.csv` or `.tsv`.
        head: which knows the columns.
    """

    def __init__(self, suffix: str, head: Head) -> None:
        self._line = _csv_line if suffix == ".csv" else "\t".join
        self._head = head
        self._has_header = False

    def print(self, row: InputRow, result: Any) -> None:
        columns = self._head.table_columns
        cells = [""] * len(columns) if row.texts is None else self._head.table_cells(result)
        whole = row.record(dict(zip(columns, cells, strict=True)))
        lines = [whole.values()] if self._has_header else [whole, whole.values()]
        self._has_header = True
        data_output().writelines(f"{self._line(cells)}\n" for cells in lines)


Printer = LinePrinter | JsonPrinter | TablePrinter


def printer_for(suffix: str, jsonl: bool, head: Head) -> Printer:
    """What prints the rows of a table with this suffix, empty for lines of text."""
    if jsonl or suffix == ".jsonl":
        return JsonPrinter()
    return TablePrinter(suffix, head) if suffix else LinePrinter()


def _csv_line(cells: Iterable[str]) -> str:
    """A row of CSV. `csv.writer` of Python 3.11 writes a cell with a carriage return without quotes."""
    return ",".join(
        '"{}"'.format(cell.replace('"', '""')) if re.search('[",\r\n]', cell) else cell
        for cell in cells
    )


def record(row: InputRow, result: Any) -> dict[str, Any]:
    """A row with its result, for JSON."""
    if row.texts is None:
        return row.record({"error": row.error})
    added = {name: _plain(value) for name, value in dataclasses.asdict(result).items()}
    return row.record(added)


def _plain(value: Any) -> Any:
    """A value for JSON; numbers of a float32 array are the shortest that read as the same float32."""
    return value.astype(str).astype(float).tolist() if isinstance(value, np.ndarray) else value
