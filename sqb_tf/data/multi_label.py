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
        column = self.columns.label or ""
        listed = row.get(column)
        if isinstance(listed, list):
            self._check(line, listed)
            return super().example(line, {**row, column: join_labels(listed)})
        example = super().example(line, row)
        if example.label is None:
            return example
        parts = (part.strip() for part in example.label.split(self.columns.label_separator))
        labels = [part for part in parts if part]
        self._check(line, labels)
        return dataclasses.replace(example, label=join_labels(labels))

    def _check(self, line: int, labels: Iterable[Any]) -> None:
        for label in labels:
            if not isinstance(label, str) or not label.strip() or {"\t", "\n", "\r"} & set(label):
                raise InputError(
                    f"{self.path}:{line}: label {label!r}: expected text of one line, without tabs"
                )


@dataclasses.dataclass(frozen=True)
class MultiLabelFormat(DelimitedFormat):
    """`MultiLabelFile`s, named as delimited files are."""

    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        return MultiLabelFile(path, columns, skip=skip)


def join_labels(labels: Iterable[str]) -> str:
    """The labels as an example's label: each once, in their order, separated by tabs."""
    return SEPARATOR.join(dict.fromkeys(labels))


def split_labels(label: str | None) -> list[str]:
    """The labels in an example's label; none in an empty one."""
    return label.split(SEPARATOR) if label else []
