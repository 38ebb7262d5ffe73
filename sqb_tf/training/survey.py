"""The survey of a data set before training: its labels, and how many examples there are."""

from __future__ import annotations

from collections.abc import Mapping

from sqb_tf.data.conll import OUTSIDE
from sqb_tf.data.example import Example
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.training.reservoir import ReservoirSample

MAX_LISTED = 10  # labels in an error message


def survey(
    task: Task, samples: Mapping[str, ReservoirSample[Example]] | None = None
) -> tuple[list[str], int]:
    """Reads both splits once: label names in the order of their ids, and the number of training examples.

    Args:
        task: the data.
        samples: samples of "train" and "dev" to fill in the same pass, if any are needed.

    Raises:
        InputError: no examples, one class only, a label in dev that train lacks, one that cannot be a label
            of the task's head.
    """
    train, dev = task.split("train"), task.split("dev")
    head = registry.get_task_head(task.head)()
    counts = {"train": 0, "dev": 0}
    labels: dict[str, set[str]] = {"train": set(), "dev": set()}
    for which, split in (("train", train), ("dev", dev)):
        for example in split:
            counts[which] += 1
            if samples is not None:
                samples[which].offer(example)
            labels[which].update(head.read_labels(example, split.name))
        if not counts[which]:
            raise InputError(f"{split.name}: no {which} examples in it")
    if head.fixed_labels is not None:
        return list(head.fixed_labels), counts["train"]
    if len(labels["train"]) < 2:
        raise InputError(
            f"{train.name}: every example has the label {labels['train'].pop()!r}: "
            "a classifier needs at least two classes"
        )
    unknown = sorted(labels["dev"] - labels["train"])
    if unknown:
        hint = ""
        if dev.name == train.name:  # one file, of which a part is held out
            hint = (
                " (held out as dev: give every label more examples, or name the column of the labels "
                "with --label-column; numbers go with --task regression)"
            )
        more = ", ..." if len(unknown) > MAX_LISTED else ""
        listed = ", ".join(unknown[:MAX_LISTED]) + more
        raise InputError(f"{dev.name}: labels that {train.name} lacks: {listed}{hint}")
    return _ordered(task, labels["train"]), counts["train"]


def _ordered(task: Task, labels: set[str]) -> list[str]:
    """The task's own order where it has one (so that id 1 of SST-2 stays 1), else alphabetical."""
    if task.spec.label_names:
        return list(task.spec.label_names.values())
    return sorted(labels, key=lambda label: (label != OUTSIDE, label))
