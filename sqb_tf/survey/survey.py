"""The survey of a data set: one pass over each split, then what its texts are in tokens."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping

from sqb_tf.data.conll import OUTSIDE
from sqb_tf.data.example import Example
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.survey.split_survey import Problem, SplitSurvey, example_text

MAX_LISTED = 10  # labels in an error message


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a task's data holds.

    Attributes:
        task: the data.
        train, dev: its splits.
        shared: examples of dev whose text stands in train too, and the first of them.
    """

    task: Task
    train: SplitSurvey
    dev: SplitSurvey
    shared: Problem

    @functools.cached_property
    def labels(self) -> list[str]:
        """Label names in the order of their ids.

        Raises:
            InputError: no examples, one class only, a label in dev that train lacks.
        """
        for which, split in (("train", self.train), ("dev", self.dev)):
            if not split.rows:
                raise InputError(f"{split.name}: no {which} examples in it")
        head = registry.get_task_head(self.task.head)
        if head.fixed_labels is not None:
            return list(head.fixed_labels)
        if len(self.train.labels) < 2:
            (label,) = self.train.labels
            raise InputError(
                f"{self.train.name}: every example has the label {label!r}: "
                "a classifier needs at least two classes"
            )
        self._check_dev_labels()
        if self.task.spec.label_names:  # so that id 1 of SST-2 stays 1
            return list(self.task.spec.label_names.values())
        return sorted(self.train.labels, key=lambda label: (label != OUTSIDE, label))

    def _check_dev_labels(self) -> None:
        unknown = sorted(self.dev.labels.keys() - self.train.labels.keys())
        if not unknown:
            return
        hint = ""
        if self.task.is_one_file:
            hint = (
                " (held out as dev: give every label more examples, or name the column of the labels "
                "with --label-column; numbers go with --task regression)"
            )
        more = ", ..." if len(unknown) > MAX_LISTED else ""
        listed = ", ".join(unknown[:MAX_LISTED]) + more
        raise InputError(f"{self.dev.name}: labels that {self.train.name} lacks: {listed}{hint}")


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
    splits: dict[str, SplitSurvey] = {}
    shared = Problem()
    for which in ("train", "dev"):
        splits[which] = counts = SplitSurvey()
        for example in _examples(task, which, counts, tolerant):
            if samples is not None:
                samples[which].offer(example)
            if which == "dev" and example_text(example) in splits["train"].seen:
                shared.add(example_text(example))
    if task.is_one_file:  # which was read twice
        splits["dev"].unreadable = Problem()
    return Survey(task, splits["train"], splits["dev"], shared)


def _examples(task: Task, which: str, counts: SplitSurvey, tolerant: bool) -> Iterator[Example]:
    """The examples of a split, each of them counted."""
    head = registry.get_task_head(task.head)()

    def skip(error: InputError) -> None:
        counts.unreadable.add(str(error))

    split = task.split(which, skip if tolerant else None)
    counts.name = f"{split.name} ({which})" if task.is_one_file else split.name
    for example in split:
        try:
            labels = head.read_labels(example, split.name)
        except InputError as error:
            if not tolerant:
                raise
            skip(error)
        else:
            counts.add(example, labels)
            yield example
