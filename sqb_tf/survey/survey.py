"""The survey of a data set: one pass over each split, then what its texts are in tokens."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Iterator, Mapping

from sqb_tf.data.conll import OUTSIDE
from sqb_tf.data.example import Example
from sqb_tf.data.parts import FEWEST_TEXTS
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.survey.split_survey import Problem, SplitSurvey, example_text

MAX_LISTED = 10  # labels in an error message


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a task's data holds.

    Attributes:
        task: the data.
        splits: train, dev and, if the task has one that training must not see, test.
        shared: split -> its examples whose text stands in train too, and the first of them.
    """

    task: Task
    splits: dict[str, SplitSurvey]
    shared: dict[str, Problem]

    @property
    def train(self) -> SplitSurvey:
        """What is learned from."""
        return self.splits["train"]

    @property
    def dev(self) -> SplitSurvey:
        """What decides which weights are best."""
        return self.splits["dev"]

    @functools.cached_property
    def labels(self) -> list[str]:
        """Label names in the order of their ids.

        Raises:
            InputError: no examples, too few classes, a label elsewhere that train lacks.
        """
        for which, split in self.splits.items():
            if not split.rows:
                raise InputError(f"{split.name}: no {which} examples in it{self._why_empty(which)}")
        head = self.task.learner
        if head.fixed_labels is not None:
            return list(head.fixed_labels)
        if len(self.train.labels) < head.fewest_labels:
            if not self.train.labels:
                raise InputError(f"{self.train.name}: no example has a label")
            (label,) = self.train.labels
            raise InputError(
                f"{self.train.name}: every example has the label {label!r}: "
                "a classifier needs at least two classes"
            )
        for split in self.splits.values():
            self._check_labels(split)
        if self.task.spec.label_names:  # so that id 1 of SST-2 stays 1
            return list(self.task.spec.label_names.values())
        return sorted(self.train.labels, key=_order)

    def _why_empty(self, which: str) -> str:
        """What may be wrong if a part has no examples."""
        if not (self.task.learner.has_classes and self.train.rows and self.task.is_part(which)):
            return ""
        return (
            f" (a class of fewer than {FEWEST_TEXTS} texts is not held out: give every label more examples, "
            "or name the column of the labels with --label-column; numbers go with --task regression)"
        )

    def _check_labels(self, split: SplitSurvey) -> None:
        unknown = sorted(split.labels.keys() - self.train.labels.keys())
        if unknown:
            more = ", ..." if len(unknown) > MAX_LISTED else ""
            listed = ", ".join(unknown[:MAX_LISTED]) + more
            raise InputError(
                f"{split.name}: labels that {self.train.name} lacks: {listed}{self._why_unknown(split)}"
            )

    def _why_unknown(self, split: SplitSurvey) -> str:
        """What may be wrong if train lacks labels of a split that is a part of the same file."""
        if self.task.limit is not None:
            return f" (train is its first {self.task.limit:,} examples: raise the limit)"
        if split.file != self.train.file:
            return ""
        return (
            " (both are parts of one file, in which these labels are too rare to be in each: give them more "
            "examples, or a dev file of its own)"
        )


def survey(
    task: Task,
    samples: Mapping[str, ReservoirSample[Example]] | None = None,
    tolerant: bool = False,
) -> Survey:
    """Reads both splits once, at constant memory.

    Args:
        task: the data.
        samples: samples of "train" and "dev" to fill in the same pass, if any are needed.
        tolerant: count rows that cannot be read, where the format allows it, in place of an error.

    Raises:
        InputError: a file that cannot be read, a row that cannot, a label that cannot be one of the task's
            head, far too many labels.
    """
    names = ["train", "dev"] if task.test is None else ["train", "dev", "test"]
    splits: dict[str, SplitSurvey] = {}
    shared: dict[str, Problem] = {which: Problem() for which in names[1:]}
    files_read: set[str] = set()
    for which in names:
        splits[which] = counts = SplitSurvey()
        for example in _examples(task, which, counts, tolerant, files_read):
            if samples is not None and which in samples:
                samples[which].offer(example)
            if which in shared and example_text(example) in splits["train"].seen:
                shared[which].add(example_text(example))
        files_read.add(counts.file)
    return Survey(task, splits, shared)


def _order(label: str) -> tuple[bool, float, str]:
    """The order of labels: `OUTSIDE`, then numbers by their value, then others by their name."""
    try:
        value = float(label)
    except ValueError:
        value = math.inf
    return label != OUTSIDE, value if math.isfinite(value) else math.inf, label


def _examples(
    task: Task, which: str, counts: SplitSurvey, tolerant: bool, files_read: Collection[str]
) -> Iterator[Example]:
    """The examples of a split, each of them counted. Rows of `files_read` have been reported."""
    head = task.learner()

    def skip(error: InputError) -> None:
        if counts.file not in files_read:
            counts.unreadable.add(str(error))

    split = task.split(which, skip if tolerant else None)
    counts.file, counts.name = split.name, split.name
    if task.is_part(which):
        counts.name += f" ({which})"
    for example in split:
        try:
            labels = head.read_labels(example, split.name)
        except InputError as error:
            if not tolerant:
                raise
            counts.unreadable.add(str(error))
        else:
            counts.add(example, labels, head.number(example))
            yield example
