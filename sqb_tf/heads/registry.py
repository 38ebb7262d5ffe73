"""The kinds of tasks by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqb_tf.heads.choices import ChoiceKind
from sqb_tf.heads.classification import ClassificationKind, RegressionKind
from sqb_tf.heads.head_type import HeadKind, TaskKind
from sqb_tf.heads.spans import SpanKind
from sqb_tf.heads.tagging import TaggingKind

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
) -> HeadKind:
    """The kind of a name of `layouts.KINDS`: a `TaskKind` for those of `layouts.TASK_KINDS`."""
    return CLASSES.get(name, HeadKind)(labels, paired, settings)
