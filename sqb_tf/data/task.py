"""A task: the splits of a data set, and the metric that evaluates a model on them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqb_tf.data.data_format import Skip
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.parts import TRAIN, Part, Parts
from sqb_tf.data.task_specs import TASKS
from sqb_tf.errors import InputError, unknown_name
from sqb_tf.heads import registry
from sqb_tf.heads.task_head import TaskHead

TEST = "test"
DEMO = Path(__file__).resolve().parent.parent / "demo"
# Share of a single training file that is held out as dev when no dev file is named.
HELD_OUT_PERCENT = 10
MOST_TEST_PERCENT = 50


@dataclasses.dataclass(frozen=True)
class Split:
    """A re-iterable stream of examples, with the file's name for messages."""

    source: Iterable[Example]
    name: str
    limit: int | None = None

    def __iter__(self) -> Iterator[Example]:
        return itertools.islice(iter(self.source), self.limit)


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
            out as dev; see `Parts`.
        columns: the columns, where the task does not fix them.
        limit: the most examples of each split.
        test: what `split("test")` is: a file, or the percent of the training data that is held out as well;
            None: the folder's own.

    Raises:
        InputError: an unknown name, a limit below 1, a share that is not 1 to 50.
    """

    def __init__(
        self,
        name: str,
        data: str | Path,
        columns: Columns | None = None,
        limit: int | None = None,
        test: str | Path | int | None = None,
    ) -> None:
        if name not in TASKS:
            raise unknown_name("task", name, TASKS)
        if isinstance(test, int) and not 1 <= test <= MOST_TEST_PERCENT:
            raise InputError(f"test {test}%: expected a share of 1% to {MOST_TEST_PERCENT}%")
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit}: expected at least 1")
        self.name, self.data, self.limit, self.test = name, Path(data), limit, test
        self.spec = TASKS[name]
        self.columns = self._check_columns(self.spec.columns or columns or Columns())

    def _check_columns(self, columns: Columns) -> Columns:
        """The columns without those that the task has no use for."""
        if (
            self.learner.always_paired
            and columns.pair is None
            and not self.spec.format.always_paired
        ):
            raise InputError(
                f"task {self.name} is for pairs of texts: name the column of the second one (--pair-column)"
            )
        if self.learner.labelled:
            return columns
        if columns.label not in (None, Columns.label):
            raise InputError(
                f"task {self.name} has no labels: every pair is one that belongs together: leave "
                f"--label-column {columns.label} out; scored pairs go with --task similarity"
            )
        return dataclasses.replace(columns, label=None)

    @property
    def learner(self) -> type[TaskHead]:
        """What learns it."""
        return registry.get_task_head(self.spec.head)

    @property
    def head(self) -> str:
        """Name of the head that its bundles have."""
        return self.learner.name

    @property
    def metric_name(self) -> str:
        """The metric that decides which checkpoint is best; higher is better."""
        return self.spec.metrics[0]

    @property
    def paired(self) -> bool:
        """Whether an example has two texts."""
        return self.spec.format.always_paired or self.columns.pair is not None

    @property
    def takes_pairs(self) -> bool:
        """Whether its models take two texts at once."""
        return self.paired and not self.learner.takes_single_texts

    def split(self, which: str, skip: Skip | None = None) -> Split:
        """The examples of `train`, `dev`, `test` or another file of the folder, such as `dev_mismatched`.

        Those of a test file without labels have None for a label. `InputError` if it cannot be read; `skip`
        takes those of single rows, see `DataFormat.open`.
        """
        path, part = self._place(which)
        columns = self.columns
        if self.is_unlabelled(which):
            columns = dataclasses.replace(columns, label=None)
        source = self.spec.format.open(path, columns, skip)
        if part is not None:
            source = Part(self._parts, source, part)
        if self.spec.label_names and not self.is_unlabelled(which):
            source = _Renamed(source, self.spec.label_names, str(path))
        return Split(source, str(path), self.limit)

    def _place(self, which: str) -> tuple[Path, str | None]:
        """The file of a split, and the part of it that it is; None for the whole."""
        if which == TEST and self.test is not None and not isinstance(self.test, int):
            return Path(self.test), None
        parts = [TRAIN, *self._held_out]
        if self.is_one_file:
            if which not in parts:
                expected = " or ".join(parts)
                raise InputError(f"{self.data}: split {which!r} of one file: expected {expected}")
            return self.data, which
        of_train = which in parts and len(parts) > 1
        name = TRAIN if of_train else which
        path = self.spec.format.find(self.data, self.spec.files.get(name, name), name)
        return path, which if of_train else None

    def is_part(self, which: str) -> bool:
        """Whether the split is a part of a file that has others too."""
        return self._place(which)[1] is not None

    @functools.cached_property
    def _held_out(self) -> dict[str, int]:
        """The parts of the training file that are held out, in percent."""
        held_out = {"dev": HELD_OUT_PERCENT} if self.is_one_file else {}
        if isinstance(self.test, int):
            held_out[TEST] = self.test
        return held_out

    @functools.cached_property
    def _parts(self) -> Parts:
        """The parts of the training file. Rows that cannot be read are in none: a split's own pass tells."""
        path, _ = self._place(TRAIN)
        file = self.spec.format.open(path, self.columns, skip=lambda error: None)
        read = self.learner().read_labels if self.learner.fixed_labels is None else None
        classes = None if read is None else lambda example: read(example, str(path))
        return Parts(file, self._held_out, self.spec.format.split_key, classes)

    @property
    def is_one_file(self) -> bool:
        """Whether train and dev are parts of one file."""
        return self.data.suffix != "" and not self.data.is_dir()

    def is_unlabelled(self, which: str) -> bool:
        """Whether the split is published without labels."""
        published = which.startswith(TEST) and (which != TEST or self.test is None)
        return self.spec.tests_unlabelled and published
