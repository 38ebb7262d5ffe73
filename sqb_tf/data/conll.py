"""Tagged words in CoNLL's format as re-iterable streams of examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqb_tf.data.data_format import DataFormat, Skip, find_by_name
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.labels import clean_label
from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError

SUFFIXES = (".conll", ".txt", ".tsv")
# The tag of a word that is in no entity.
OUTSIDE = "O"
# What file names of a split contain, where that is more than the split's own name.
SPLIT_NAMES = {"dev": ("dev", "valid", "testa"), "test": ("test", "testb")}


@dataclasses.dataclass(frozen=True)
class ConllFile:
    """One word per line, its tag in the last column; a blank line ends a sentence (Tjong Kim Sang 2003).

    Columns are separated by tabs where a line has one, else by spaces; there may be any number of them, the
    same in every line. Lines of `-DOCSTART-` are skipped. An example's text is the words separated by single
    spaces, its label their tags.

    Raises (while iterating):
        InputError: naming file and line: unreadable, not UTF-8, a different number of columns, a word with a
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
            # Not at every white space: a no-break space, as in "10 000", is part of a word.
            cells = line.split("\t") if "\t" in line else [c for c in line.split(" ") if c]
            columns = columns or len(cells)
            if len(cells) != columns or columns < 2:
                expected = max(columns, 2)
                raise InputError(
                    f"{self.path}:{number}: {len(cells)} columns, expected {expected}: a word first, its "
                    "tag last"
                )
            word, tag = cells[0].strip(), self._tag(number, cells[-1])
            if not word or not tag or " " in word + tag:
                raise InputError(
                    f"{self.path}:{number}: word {word!r} with tag {tag!r}: expected both, without spaces"
                )
            rows.append((word, tag))
        if rows:
            yield _example(rows)

    def _tag(self, number: int, cell: str) -> str:
        try:
            return clean_label(cell)
        except InputError as error:
            raise InputError(f"{self.path}:{number}: {error}") from None


def _example(rows: list[tuple[str, str]]) -> Example:
    words, tags = zip(*rows, strict=True)
    return Example(" ".join(words), None, " ".join(tags))


@dataclasses.dataclass(frozen=True)
class ConllFormat(DataFormat):
    """CoNLL's files: `SPLIT.conll`, `.txt` or `.tsv`, or the one file that has the split in its name."""

    def find(self, folder: Path, name: str, split: str) -> Path:
        return find_by_name(folder, name, SUFFIXES, SPLIT_NAMES.get(name, (name,)))

    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        return ConllFile(path)
