"""Delimited files with several choices for each text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sqb_tf.data.data_format import Skip
from sqb_tf.data.delimited import DelimitedFile, DelimitedFormat
from sqb_tf.data.example import Columns, Example
from sqb_tf.errors import InputError

# Separates the choices in an example's pair.
SEPARATOR = "\t"


@dataclasses.dataclass(frozen=True)
class ChoicesFile(DelimitedFile):
    """A delimited file with several choices for each text; the label is the index of the right one.

    The choices are the columns `ending0`, `ending1` and so on (SWAG's, Zellers et al. 2018) or, in JSONL, a
    list `choices`. With a pair column, its text begins each of them. An example's pair is `join_choices` of
    them.

    Raises (while iterating):
        InputError: as `DelimitedFile`, naming the line: fewer than two choices, not as many as in the
            first row, a label that is not the index of a choice.
    """

    def __iter__(self) -> Iterator[Example]:
        expected = None
        for line, row in self.rows():
            try:
                choices = self._choices(line, row)
                expected = expected or len(choices)
                example = self._example(line, row, choices, expected)
            except InputError as error:
                self.refuse(error)
            else:
                yield example

    def _example(
        self, line: int, row: dict[str, Any], choices: list[str], expected: int
    ) -> Example:
        text = self.cell(line, row, self.columns.text)
        if len(choices) != expected:
            raise InputError(
                f"{self.path}:{line}: {len(choices)} choices, the rows before have {expected}: "
                "expected as many in every row"
            )
        label = self.label(line, row)
        if label is not None and label not in map(str, range(expected)):
            raise InputError(
                f"{self.path}:{line}: label {label!r}: expected the index of the right choice, "
                f"0 to {expected - 1}"
            )
        return Example(text or "", join_choices(choices), label)

    def _choices(self, line: int, row: dict[str, Any]) -> list[str]:
        start = self.cell(line, row, self.columns.pair)
        choices = row.get("choices")
        if not isinstance(choices, list):
            names = [name for name in row if name and re.fullmatch(r"ending\d+", name)]
            choices = [self.cell(line, row, f"ending{i}") for i in range(len(names))]
        if len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
            raise InputError(
                f"{self.path}:{line}: choices {choices!r:.80}: expected two texts or more, in columns "
                "ending0, ending1 and so on, or in JSONL as a list `choices`"
            )
        choices = [self.text_of(line, "choices", choice) for choice in choices]
        return choices if start is None else [f"{start} {choice}" for choice in choices]


@dataclasses.dataclass(frozen=True)
class ChoicesFormat(DelimitedFormat):
    """`ChoicesFile`s, named as delimited files are."""

    always_paired: ClassVar[bool] = True

    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        return ChoicesFile(path, columns, skip=skip)


def join_choices(choices: Sequence[str]) -> str:
    """The choices as an example's pair: separated by tabs, any other white space is one space."""
    return SEPARATOR.join(" ".join(choice.split()) for choice in choices)


def split_choices(pair: str | None) -> list[str]:
    """The choices in an example's pair."""
    return (pair or "").split(SEPARATOR)
