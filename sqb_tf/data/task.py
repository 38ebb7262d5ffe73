"""A task: the splits of a data set, and the metric that evaluates a model on them."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sqb_tf.data.data_format import Skip
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task_specs import TASKS
from sqb_tf.errors import InputError, unknown_name

DEMO = Path(__file__).resolve().parent.parent / "demo"
# Share of a single training file that is held out as dev when no dev file is named.
HELD_OUT_PERCENT = 10


@dataclasses.dataclass(frozen=True)
class Split:
    """A re-iterable stream of examples, with the file's name for messages."""

    source: Iterable[Example]
    name: str
    limit: int | None = None

    def __iter__(self) -> Iterator[Example]:
        return itertools.islice(iter(self.source), self.limit)


@dataclasses.dataclass(frozen=True)
class _HashedPart:
    """The examples of one file whose key hashes into `[low, high)` percent: a stable held-out part."""

    file: Iterable[Example]
    low: int
    high: int
    key: Callable[[Example], str]

    def __iter__(self) -> Iterator[Example]:
        for example in self.file:
            if self.low <= zlib.crc32(self.key(example).encode()) % 100 < self.high:
                yield example


@dataclasses.dataclass(frozen=True)
class _Renamed:
    """Examples with the label of the file replaced by its name."""

    source: Iterable[Example]
    names: dict[str, str]
    where: str

    def __iter__(self) -> Iterator[Example]:
        for example in self.source:
            if example.label not in self.names:
                raise InputError(
                    f"{self.where}: label {example.label!r}: expected one of {', '.join(self.names)}"
                )
            yield dataclasses.replace(example, label=self.names[example.label])


class Task:
    """The splits of `--data` under `--task`.

    Args:
        name: a key of `TASKS`.
        data: a folder with `train` and `dev` files, or one file (of SQuAD `.json`, else `.tsv`, `.csv` or
            `.jsonl`), a tenth of which (chosen by a hash of the text, in SQuAD of the paragraph) is held
            out as dev.
        columns: the columns, where the task does not fix them.
        limit: the most examples of each split.

    Raises:
        InputError: an unknown name, a limit below 1.
    """

    def __init__(
        self,
        name: str,
        data: str | Path,
        columns: Columns | None = None,
        limit: int | None = None,
    ) -> None:
        if name not in TASKS:
            raise unknown_name("task", name, TASKS)
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit}: expected at least 1")
        self.name, self.data, self.limit = name, Path(data), limit
        self.spec = TASKS[name]
        self.columns = self.spec.columns or columns or Columns()

    @property
    def head(self) -> str:
        """Name of the head that learns it."""
        return self.spec.head

    @property
    def metric_name(self) -> str:
        """The metric that decides which checkpoint is best; higher is better."""
        return self.spec.metrics[0]

    @property
    def paired(self) -> bool:
        """Whether an example has two texts."""
        return self.spec.format.always_paired or self.columns.pair is not None

    def split(self, which: str, skip: Skip | None = None) -> Split:
        """The examples of `train`, `dev`, `test` or another file of the folder, such as `dev_mismatched`.

        Those of a test file without labels have None for a label. `InputError` if it cannot be read; `skip`
        takes those of single rows, see `DataFormat.open`.
        """
        file_format = self.spec.format
        columns = self.columns
        if self.is_unlabelled(which):
            columns = dataclasses.replace(columns, label=None)
        if self.is_one_file:
            parts = {"train": (HELD_OUT_PERCENT, 100), "dev": (0, HELD_OUT_PERCENT)}
            if which not in parts:
                raise InputError(f"{self.data}: split {which!r} of one file: expected train or dev")
            path = self.data
            file = file_format.open(path, columns, skip)
            source: Iterable[Example] = _HashedPart(file, *parts[which], key=file_format.split_key)
        else:
            path = file_format.find(self.data, self.spec.files.get(which, which), which)
            source = file_format.open(path, columns, skip)
        if self.spec.label_names and not self.is_unlabelled(which):
            source = _Renamed(source, self.spec.label_names, str(path))
        return Split(source, str(path), self.limit)

    @property
    def is_one_file(self) -> bool:
        """Whether train and dev are parts of one file."""
        named_as_file = self.data.suffix != "" and not self.data.is_dir()
        return named_as_file and self.spec.format.splits_one_file

    def is_unlabelled(self, which: str) -> bool:
        """Whether the split is published without labels."""
        return self.spec.tests_unlabelled and which.startswith("test")
