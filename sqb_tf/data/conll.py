"""Tagged words in CoNLL's form as re-iterable streams of examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from sqb_tf.data.delimited import Example, find_by_name, numbered_lines
from sqb_tf.errors import InputError

SUFFIXES = (".conll", ".txt", ".tsv")
# What a file of a split has in its name, besides the split's own.
SPLIT_NAMES = {"dev": ("dev", "valid", "testa"), "test": ("test", "testb")}


@dataclasses.dataclass(frozen=True)
class ConllFile:
    """A word a line, its tag in the last column; a blank line ends a sentence (Tjong Kim Sang 2003).

    Columns are parted by tabs where a line has one, else by spaces; there may be any number of them, the same
    in every line. Lines of `-DOCSTART-` are passed over. An example's text is the words parted by single
    spaces, its label their tags.

    Raises (while iterating):
        InputError: naming file and line: unreadable, not UTF-8, another number of columns, a word with a
            space in it.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")

    def __iter__(self) -> Iterator[Example]:
        rows: list[tuple[str, str]] = []
        columns = None
        for number, line in numbered_lines(self.path):
            if not line.strip() or line.startswith("-DOCSTART-"):
                if rows:
                    yield _example(rows)
                rows = []
                continue
            line = line.rstrip("\r\n")
            cells = line.split("\t") if "\t" in line else line.split()
            columns = columns or len(cells)
            if len(cells) != columns or columns < 2:
                expected = max(columns, 2)
                raise InputError(
                    f"{self.path}:{number}: {len(cells)} columns, expected {expected}: a word first, its "
                    "tag last"
                )
            word, tag = cells[0].strip(), cells[-1].strip()
            if not word or not tag or " " in word + tag:
                raise InputError(
                    f"{self.path}:{number}: word {word!r} with tag {tag!r}: expected both, without spaces"
                )
            rows.append((word, tag))
        if rows:
            yield _example(rows)


def _example(rows: list[tuple[str, str]]) -> Example:
    words, tags = zip(*rows, strict=True)
    return Example(" ".join(words), None, " ".join(tags))


def find_tagged(folder: Path, split: str) -> Path:
    """`folder/split.conll`, `.txt` or `.tsv`, or the one file there that has the split in its name."""
    return find_by_name(folder, split, SUFFIXES, SPLIT_NAMES.get(split, (split,)))
