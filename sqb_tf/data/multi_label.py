"""Delimited files whose rows have any number of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqb_tf.data.data_format import Skip
from sqb_tf.data.delimited import DelimitedFile, DelimitedFormat
from sqb_tf.data.example import Columns, Example
from sqb_tf.errors import InputError

# Separates the labels in an example's label; no file format has it within a label.
SEPARATOR = "\t"


@dataclasses.dataclass(frozen=True)
class MultiLabelFile(DelimitedFile):
    """A delimited file with the labels of a row in one column, separated by `columns.label_separator`.

    In JSONL they may be a list. An empty cell or list is a row without any label. An example's label is
    `join_labels` of them.

    Raises (while iterating):
        InputError: as `DelimitedFile`; a list of something else than texts, a label of several lines.
    """

    empty_labels: bool = True

    def example(self, line: int, row: dict[str, Any]) -> Example:
        column = self.columns.label
        if column is None or column not in row:
            return super().example(line, row)
        value = row[column]
        if isinstance(value, str):
            parts = (part.strip() for part in value.split(self.columns.label_separator))
            value = [part for part in parts if part]
        if not isinstance(value, list):
            raise InputError(
                f"{self.path}:{line}: {column!r} is {value!r}: expected a list of labels, or one text with "
                f"{self.columns.label_separator!r} between them"
            )
        return super().example(line, {**row, column: join_labels(self._checked(line, value))})

    def _checked(self, line: int, labels: list[Any]) -> list[str]:
        for label in labels:
            if not isinstance(label, str) or not label.strip() or {"\t", "\n", "\r"} & set(label):
                raise InputError(
                    f"{self.path}:{line}: label {label!r}: expected text of one line, without tabs"
                )
        return [label.strip() for label in labels]


@dataclasses.dataclass(frozen=True)
class MultiLabelFormat(DelimitedFormat):
    """`MultiLabelFile`s, named as delimited files are."""

    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        return MultiLabelFile(path, columns, skip=skip)


def join_labels(labels: Iterable[str]) -> str:
    """The labels as an example's label: each once, sorted, separated by tabs."""
    return SEPARATOR.join(sorted(set(labels)))


def split_labels(label: str | None) -> list[str]:
    """The labels in an example's label; none in an empty one."""
    return label.split(SEPARATOR) if label else []
