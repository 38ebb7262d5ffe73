"""The kinds of tasks by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqb_tf.tasks.choices import ChoiceKind
from sqb_tf.tasks.classification import ClassificationKind, RegressionKind
from sqb_tf.tasks.kind import TaskKind
from sqb_tf.tasks.spans import SpanKind
from sqb_tf.tasks.tagging import TaggingKind

CLASSES: dict[str, type[TaskKind]] = {
    "classification": ClassificationKind,
    "regression": RegressionKind,
    "token_classification": TaggingKind,
    "span": SpanKind,
    "multiple_choice": ChoiceKind,
}


def kind_of(
    name: str,
    labels: Sequence[str] = (),
    paired: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> TaskKind:
    """The kind of a name of `layouts.KINDS`; those without a task of their own are plain `TaskKind`s."""
    return CLASSES.get(name, TaskKind)(labels, paired, settings)
