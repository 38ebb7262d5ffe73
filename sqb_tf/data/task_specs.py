"""What `--task` names: published data sets, and the user's own files."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqb_tf.data.choices import ChoicesFormat
from sqb_tf.data.conll import ConllFormat
from sqb_tf.data.data_format import DataFormat
from sqb_tf.data.delimited import DelimitedFormat
from sqb_tf.data.example import Columns
from sqb_tf.data.multi_label import MultiLabelFormat
from sqb_tf.data.squad import SquadFormat


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """The head of a task, and its files.

    Attributes:
        head: name of the head or learner that learns it, see `sqb_tf.heads.registry`.
        format: how its files are written.
        columns: the columns; None: the user's.
        label_names: label in the file -> name shown, in the order of their ids; None: as they are.
        metrics: names in the head's `metrics`; the first one decides which checkpoint is best.
        files: split -> file name, where they differ.
        tests_unlabelled: the test file has no labels, but a header and an index (GLUE).
        settings: the head's settings for this task.
    """

    head: str
    format: DataFormat = dataclasses.field(default_factory=DelimitedFormat)
    columns: Columns | None = None
    label_names: dict[str, str] | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    tests_unlabelled: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def _glue(
    text: str, pair: str | None, label: str, names: dict[str, str] | None, **more
) -> TaskSpec:
    """A task of GLUE (Wang et al. 2019, table 1, and the files that it publishes)."""
    head = "regression" if names is None else "classification"
    columns = Columns(text, pair, label)
    return TaskSpec(head, columns=columns, label_names=names, tests_unlabelled=True, **more)


def _squad(version: str, settings: dict[str, Any], with_impossible: bool = False) -> TaskSpec:
    """SQuAD (Rajpurkar et al. 2016, 2018), as its evaluation scripts score it."""
    return TaskSpec(
        "span",
        SquadFormat(with_impossible),
        Columns("question", "context", "answers"),
        metrics=("f1", "exact_match"),
        files={split: f"{split}-{version}" for split in ("train", "dev", "test")},
        settings=settings,
    )


_ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}

TASKS = {
    "classification": TaskSpec("classification", metrics=("accuracy", "macro_f1")),
    "multi_label": TaskSpec(
        "multi_label", MultiLabelFormat(), metrics=("micro_f1", "macro_f1", "subset_accuracy")
    ),
    "regression": TaskSpec("regression", metrics=("pearson", "spearman")),
    "multiple_choice": TaskSpec("multiple_choice", ChoicesFormat()),
    "similarity": TaskSpec("similarity", metrics=("spearman", "pearson")),
    "retrieval": TaskSpec("retrieval", metrics=("mean_reciprocal_rank", "accuracy_at_1")),
    "conll": TaskSpec("token_classification", ConllFormat(), metrics=("entity_f1", "tag_accuracy")),
    "squad": _squad("v1.1", {}),
    "squad2": _squad("v2.0", {"null_threshold": 0.0}, with_impossible=True),
    "swag": TaskSpec(
        "multiple_choice",
        ChoicesFormat(),
        Columns("sent1", "sent2", "label"),
        files={"dev": "val"},
        tests_unlabelled=True,
    ),
    "cola": _glue(
        "sentence",
        None,
        "label",
        {"0": "unacceptable", "1": "acceptable"},
        metrics=("matthews", "accuracy"),
        format=DelimitedFormat(header=("source", "label", "mark", "sentence")),
    ),
    "sst2": _glue("sentence", None, "label", {"0": "negative", "1": "positive"}),
    "mrpc": _glue(
        "#1 String",
        "#2 String",
        "Quality",
        {"0": "not_equivalent", "1": "equivalent"},
        metrics=("f1", "accuracy"),
    ),
    "qqp": _glue(
        "question1",
        "question2",
        "is_duplicate",
        {"0": "not_duplicate", "1": "duplicate"},
        metrics=("f1", "accuracy"),
        format=DelimitedFormat(skip_broken=True),
    ),
    "stsb": _glue("sentence1", "sentence2", "score", None, metrics=("pearson", "spearman")),
    "mnli": _glue(
        "sentence1",
        "sentence2",
        "gold_label",
        {name: name for name in ("entailment", "neutral", "contradiction")},
        files={"dev": "dev_matched", "test": "test_matched"},
    ),
    "qnli": _glue("question", "sentence", "label", _ENTAILMENT),
    "rte": _glue("sentence1", "sentence2", "label", _ENTAILMENT),
    "wnli": _glue("sentence1", "sentence2", "label", {"0": "not_entailment", "1": "entailment"}),
}
