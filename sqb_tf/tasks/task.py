"""A task: what is learned from which examples, judged by which metric."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.tasks.conll import ConllFile, find_tagged
from sqb_tf.tasks.delimited import Columns, DelimitedFile, Example, find_split
from sqb_tf.tasks.layouts import TASKS

DEMO = Path(__file__).resolve().parent.parent / "demo"
# The tag of a word that is in no entity.
OUTSIDE = "O"
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
    """The examples of one file whose text hashes into `[low, high)` percent: a stable held-out part."""

    file: DelimitedFile
    low: int
    high: int

    def __iter__(self) -> Iterator[Example]:
        for example in self.file:
            if self.low <= zlib.crc32(example.text.encode()) % 100 < self.high:
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
        data: a folder with `train` and `dev` files, or one `.tsv`, `.csv` or `.jsonl` file, of which
            a tenth (chosen by a hash of the text) is held out as dev.
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
        """`classification` or `regression`."""
        return self.spec.kind

    @property
    def metric_name(self) -> str:
        """The metric that decides which checkpoint is best; higher is better."""
        return self.spec.metrics[0]

    def split(self, which: str) -> Split:
        """The examples of `train`, `dev`, `test` or another file of the folder, such as `dev_mismatched`.

        Those of a test file without labels have None for a label. `InputError` if it cannot be read.
        """
        if self.kind == "token_classification":
            path = find_tagged(self.data, which)
            return Split(ConllFile(path), str(path), self.limit)
        if self.data.is_dir() or not self.data.suffix:
            path = find_split(self.data, self.spec.files.get(which, which))
            columns, header = self.columns, self.spec.header
            if self.is_unlabelled(which):
                columns, header = dataclasses.replace(columns, label=None), None
            source: Iterable[Example] = DelimitedFile(
                path, columns, header, self.spec.skips_broken_rows
            )
        else:
            path = self.data
            parts = {"train": (HELD_OUT_PERCENT, 100), "dev": (0, HELD_OUT_PERCENT)}
            if which not in parts:
                raise InputError(f"{path}: split {which!r} of one file: expected train or dev")
            source = _HashedPart(DelimitedFile(path, self.columns), *parts[which])
        if self.spec.label_names and not self.is_unlabelled(which):
            source = _Renamed(source, self.spec.label_names, str(path))
        return Split(source, str(path), self.limit)

    def is_unlabelled(self, which: str) -> bool:
        """Whether the split is published without labels."""
        return self.spec.tests_unlabelled and which.startswith("test")

    def survey(self) -> tuple[list[str], int]:
        """Reads both splits once: label names, sorted, and the number of training examples.

        Raises:
            InputError: no examples, one class only, a label in dev that train lacks, a target of a
                regression that is not a number.
        """
        train, dev = self.split("train"), self.split("dev")
        counts = {"train": 0, "dev": 0}
        seen: dict[str, set[str]] = {"train": set(), "dev": set()}
        for which, split in (("train", train), ("dev", dev)):
            for example in split:
                counts[which] += 1
                if self.kind == "regression":
                    check_number(example, split.name)
                elif self.kind == "token_classification":
                    seen[which].update(example.label.split(" "))
                else:
                    seen[which].add(example.label)
            if not counts[which]:
                raise InputError(f"{split.name}: no {which} examples in it")
        if self.kind == "regression":
            return ["score"], counts["train"]
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


def check_number(example: Example, name: str) -> None:
    """`InputError` unless the target of a regression's example is a finite number."""
    try:
        finite = np.isfinite(float(example.label))
    except ValueError:
        finite = False
    if not finite:
        raise InputError(f"{name}: target {example.label!r} is not a number")


def targets(
    labels: Sequence[str], examples: Sequence[Example], kind: str
) -> np.ndarray | list[list[str]]:
    """Label ids, or the numbers of a regression, `[n]`; of tagged words the tags of each text.

    Raises:
        InputError: no examples, a label that `labels` lacks, a target that is not a number.
    """
    if not examples:
        raise InputError("no examples in the data")
    if kind == "regression":
        for example in examples:
            check_number(example, "the data")
        return np.array([float(e.label) for e in examples])
    tagged = kind == "token_classification"
    if tagged:
        found = {tag for e in examples for tag in e.label.split(" ")}
    else:
        found = {str(e.label) for e in examples}
    unknown = sorted(found - set(labels))
    if unknown:
        raise InputError(
            f"labels that the model does not have: {', '.join(unknown)}; it has {', '.join(labels)}"
        )
    if tagged:
        return [e.label.split(" ") for e in examples]
    ids = {label: i for i, label in enumerate(labels)}
    return np.array([ids[e.label] for e in examples])
