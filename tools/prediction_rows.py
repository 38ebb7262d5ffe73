"""What `sqb predict` reads: a row for each line of text or each row of a table, with or without an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqb_tf.data.delimited import DelimitedFile
from sqb_tf.data.example import Columns, TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Head


@dataclasses.dataclass(frozen=True)
class InputRow:
    """One row of the input, which becomes one of the output.

    Attributes:
        cells: of a row of a table, by column; of a line, the text under `text`.
        texts: what the model gets; None if there is an error.
        error: why it has no result, with the file and the line; None if it has one.
    """

    cells: dict[str, Any]
    texts: TextPair | None
    error: str | None = None

    def record(self, added: dict[str, Any]) -> dict[str, Any]:
        """The row with what is added: names that the table has already get `predicted_` before them."""
        whole = dict(self.cells)
        for name, value in added.items():
            while name in whole:
                name = f"predicted_{name}"
            whole[name] = value
        return whole


def line_rows(
    lines: Iterator[tuple[str, str]], head: Head, context: str | None, strict: bool
) -> Iterator[InputRow]:
    """The rows of lines of text.

    Args:
        lines: where each is from, and the line.
        head: which knows the form of its lines.
        context: for questions without their own.
        strict: raise the `InputError` of a line, in place of a row that has it.
    """
    for where, line in lines:
        try:
            texts = head.parse_line(line, where, context)
        except InputError as error:
            if strict:
                raise
            yield InputRow({"text": line}, None, str(error))
        else:
            text, pair = texts
            yield InputRow({"text": text, **({} if pair is None else {"pair": pair})}, texts)


def table_rows(
    path: str, columns: Columns, context: str | None, strict: bool
) -> Iterator[InputRow]:
    """The rows of a TSV, CSV or JSONL file. Arguments as for `line_rows`.

    Raises (while iterating):
        InputError: as `DelimitedFile`; that of an empty or missing text only if `strict`, or if no row has a
            column.
    """
    file = DelimitedFile(Path(path), columns)
    if file.is_json:
        _check_keys(file)
    for line, row in file.rows():
        cells = {
            name: "" if cell is None and not file.is_json else cell for name, cell in row.items()
        }
        try:
            example = file.example(line, row)
        except InputError as error:
            named = {columns.text, columns.pair or columns.text}
            if strict or (
                not file.is_json and not named <= row.keys()
            ):  # no row of the table has it
                raise
            yield InputRow(cells, None, str(error))
        else:
            yield InputRow(cells, (example.text, example.pair if context is None else context))


def _check_keys(file: DelimitedFile) -> None:
    """`InputError` for a column that no row of JSONL has; reads up to the first row that has it."""
    for column in (file.columns.text, file.columns.pair):
        rows = file.rows()
        first = next(rows, None)
        if column is None or first is None or column in first[1]:
            continue
        if not any(column in row for _, row in rows):
            file.cell(*first, column)
