"""What a file format is to a task: where the file of a split is, and how it is read."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from sqb_tf.data.example import Columns, Example
from sqb_tf.errors import InputError

# Takes the error of a row that cannot be read, which is then skipped.
Skip = Callable[[InputError], None]


@dataclasses.dataclass(frozen=True)
class DataFormat(abc.ABC):
    """A file format of examples; each is defined in the module of its reader.

    Attributes:
        always_paired: every example has two texts, whatever the columns.
    """

    always_paired: ClassVar[bool] = False

    @abc.abstractmethod
    def find(self, folder: Path, name: str, split: str) -> Path:
        """The file of a split in a folder, where the task calls it `name`; `InputError` if there is none."""

    @abc.abstractmethod
    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        """The examples of a file, re-iterable.

        Args:
            path: the file.
            columns: the columns; examples have no labels where `columns.label` is None.
            skip: called for each row that cannot be read, if rows of the format can be skipped; None: the
                first one raises its error.
        """

    def split_key(self, example: Example) -> str:
        """The text whose hash decides whether an example of a single file is held out."""
        return example.text


def find_file(folder: Path, name: str, suffixes: Sequence[str]) -> Path | None:
    """`folder/name` with the first of `suffixes` that exists, in capitals too; None if there is none."""
    files = [p for p in sorted(folder.iterdir()) if p.stem == name and p.is_file()]
    ranked = [p for suffix in suffixes for p in files if p.suffix.lower() == suffix]
    return ranked[0] if ranked else None


def find_by_name(folder: Path, name: str, suffixes: Sequence[str], parts: Sequence[str]) -> Path:
    """`folder/name` with one of `suffixes`, or the one file there that has one of `parts` in its name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with train and dev files")
    path = find_file(folder, name, suffixes)
    if path is not None:
        return path
    matches = sorted(
        path for path in folder.iterdir() if any(p in path.name.lower() for p in parts)
    )
    if len(matches) != 1:
        listed = ", ".join(path.name for path in matches) or "none"
        raise InputError(
            f"{folder}: expected {name}{suffixes[0]}, or one file with {' or '.join(parts)} in its name; "
            f"found: {listed}"
        )
    return matches[0]
