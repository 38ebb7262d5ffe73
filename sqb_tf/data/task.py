"""A task: what is learned from which examples, judged by which metric."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqb_tf.data.conll import ConllFile, find_tagged
from sqb_tf.data.delimited import (
    Columns,
    DelimitedFile,
    Example,
    find_by_name,
    find_split,
)
from sqb_tf.data.squad import SquadFile
from sqb_tf.data.task_specs import PAIRED_KINDS, TASKS
from sqb_tf.errors import InputError
from sqb_tf.heads.choices import ChoicesFile
from sqb_tf.heads.registry import kind_of
from sqb_tf.heads.tagging import OUTSIDE

DEMO = Path(__file__).resolve().parent.parent / "demo"
# Share of a single training file that is held out as dev when no dev file is named.
HELD_OUT_PERCENT = 10


@dataclasses.dataclass(frozen=True)
class Split:
    """A re-iterable stream of examples with their targets' file names for messages."""

    source: Iterable[Example]
    name: str
    limit: int | None = None

    def __iter__(self) -> Iterator[Example]:
        return itertools.islice(iter(self.source), self.limit)


@dataclasses.dataclass(frozen=True)
class _HashedPart:
    """The examples of one file whose text hashes into `[low, high)` percent: a stable held-out part.

    With `by_pair` it is the pair that is hashed: no paragraph has questions in both parts.
    """

    file: Iterable[Example]
    low: int
    high: int
    by_pair: bool = False

    def __iter__(self) -> Iterator[Example]:
        for example in self.file:
            key = example.pair if self.by_pair else example.text
            if self.low <= zlib.crc32(key.encode()) % 100 < self.high:
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
            `.jsonl`), of which a tenth (chosen by a hash of the text, in SQuAD of the paragraph) is held
            out as dev.
        columns: the columns, where the task's layout does not fix them.
        limit: at most so many examples of each split.
    """

    def __init__(
        self,
        name: str,
        data: str | Path,
        columns: Columns | None = None,
        limit: int | None = None,
    ) -> None:
        if name not in TASKS:
            raise InputError(f"unknown task {name!r}: expected one of {', '.join(TASKS)}")
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit}: expected at least 1")
        self.name, self.data, self.limit = name, Path(data), limit
        self.spec = TASKS[name]
        self.columns = self.spec.columns or columns or Columns()

    @property
    def kind(self) -> str:
        """One of `layouts.TASK_KINDS`."""
        return self.spec.kind

    @property
    def metric_name(self) -> str:
        """The metric that decides which checkpoint is best; higher is better."""
        return self.spec.metrics[0]

    @property
    def paired(self) -> bool:
        """Whether an example is of two texts."""
        return self.kind in PAIRED_KINDS or self.columns.pair is not None

    def split(self, which: str) -> Split:
        """The examples of `train`, `dev`, `test` or another file of the folder, such as `dev_mismatched`.

        Those of a test file without labels have None for a label. `InputError` if it cannot be read.
        """
        single = self.data.suffix != "" and not self.data.is_dir() and self.spec.form != "conll"
        parts = {"train": (HELD_OUT_PERCENT, 100), "dev": (0, HELD_OUT_PERCENT)}
        if single and which not in parts:
            raise InputError(f"{self.data}: split {which!r} of one file: expected train or dev")
        path = self.data if single else self._find(which)
        source = self._open(path, which)
        if single:
            source = _HashedPart(source, *parts[which], by_pair=self.spec.form == "squad")
        if self.spec.label_names and not self.is_unlabelled(which):
            source = _Renamed(source, self.spec.label_names, str(path))
        return Split(source, str(path), self.limit)

    def _find(self, which: str) -> Path:
        """The file of a split in the folder."""
        name = self.spec.files.get(which, which)
        if self.spec.form == "conll":
            return find_tagged(self.data, name)
        if self.spec.form == "squad":
            return find_by_name(self.data, name, (".json",), (which,))
        return find_split(self.data, name)

    def _open(self, path: Path, which: str) -> Iterable[Example]:
        """The examples of a file, as its form has them."""
        if self.spec.form == "conll":
            return ConllFile(path)
        if self.spec.form == "squad":
            return SquadFile(path, with_impossible="null_threshold" in self.spec.settings)
        columns, header = self.columns, self.spec.header
        if self.is_unlabelled(which):
            columns, header = dataclasses.replace(columns, label=None), None
        file = ChoicesFile if self.spec.form == "choices" else DelimitedFile
        return file(path, columns, header, self.spec.skips_broken_rows)

    def is_unlabelled(self, which: str) -> bool:
        """Whether the split is published without labels."""
        return self.spec.tests_unlabelled and which.startswith("test")

    def survey(self) -> tuple[list[str], int]:
        """Reads both splits once: label names, sorted, and the number of training examples.

        Raises:
            InputError: no examples, one class only, a label in dev that train lacks, one that cannot be a
                label of the kind.
        """
        train, dev = self.split("train"), self.split("dev")
        kind = kind_of(self.kind)
        counts = {"train": 0, "dev": 0}
        seen: dict[str, set[str]] = {"train": set(), "dev": set()}
        for which, split in (("train", train), ("dev", dev)):
            for example in split:
                counts[which] += 1
                seen[which].update(kind.labels_of(example, split.name))
            if not counts[which]:
                raise InputError(f"{split.name}: no {which} examples in it")
        if kind.fixed_labels is not None:
            return list(kind.fixed_labels), counts["train"]
        if len(seen["train"]) < 2:
            raise InputError(
                f"{train.name}: every example has the label {seen['train'].pop()!r}: "
                "a classifier needs at least two classes"
            )
        unknown = sorted(seen["dev"] - seen["train"])
        if unknown:
            raise InputError(f"{dev.name}: labels that {train.name} lacks: {', '.join(unknown)}")
        return self._ordered(seen["train"]), counts["train"]

    def _ordered(self, labels: set[str]) -> list[str]:
        """The task's own order where it has one (so that id 1 of SST-2 stays 1), else alphabetical."""
        if self.spec.label_names:
            return list(self.spec.label_names.values())
        return sorted(labels, key=lambda label: (label != OUTSIDE, label))
