"""Delimited files whose rows have any number of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqb_tf.data.data_format import Skip
from sqb_tf.data.delimited import DelimitedFile, DelimitedFormat
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.labels import clean_label
from sqb_tf.errors import InputError

# Separates the labels in an example's label; no file format has it within a label.
SEPARATOR = "\t"


@dataclasses.dataclass(frozen=True)
class MultiLabelFile(DelimitedFile):
    """A delimited file with the labels of a row in one column, separated by `columns.label_separator`.

    In JSONL they may be a list. An empty cell or list is a row without any label. An example's label is
    `join_labels` of them.

    Raises (while iterating):
        InputError: as `DelimitedFile`; a list of something else than texts and numbers, a label with a tab.
    """

    def label(self, line: int, row: dict[str, Any]) -> str | None:
        column = self.columns.label
        value = None if column is None else row.get(column)
        if not isinstance(value, list):
            text = self.cell(line, row, column, empty=True)
            if text is None:
                return None
            parts = (part.strip() for part in text.split(self.columns.label_separator))
            value = [part for part in parts if part]
        return join_labels(self._one(line, item) for item in value)

    def _one(self, line: int, item: Any) -> str:
        """One label of a row."""
        label = self.text_of(line, str(self.columns.label), item)
        if not label.strip() or SEPARATOR in label.strip():
            raise InputError(
                f"{self.path}:{line}: label {label!r:.80}: expected text of one line, without tabs"
            )
        try:
            return clean_label(label)
        except InputError as error:
            raise InputError(f"{self.path}:{line}: {error}") from None


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
