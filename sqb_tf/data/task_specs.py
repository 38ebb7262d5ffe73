"""What `--task` names: the published layouts of files, and the user's own."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqb_tf.data.delimited import Columns

# What a model may be for: each has a head in sqb_tf/heads.py.
KINDS = (
    "classification",
    "regression",
    "token_classification",
    "span",
    "multiple_choice",
    "masked_lm",
    "pretraining",
    "embedding",
    "encoder",
)


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """The kind of target, and the layout of the files.

    Attributes:
        kind: one of `TASK_KINDS`.
        form: how its files are written: `delimited`, `choices` (delimited too), `conll` or `squad`.
        columns: the columns; None: the user's.
        label_names: label in the file -> name shown, in the order of their ids; None: as they are.
        metrics: names of `sqb_tf.heads.metrics.METRICS`; the first one decides which checkpoint is best.
        header: the columns of files that have no header line, the test file's apart.
        files: split -> file, where they differ.
        tests_unlabelled: whether the test file has no labels, but a header and an index (GLUE).
        skips_broken_rows: whether rows that lack a cell are published and passed over by everybody.
        settings: what the kind is told besides, see its class in `sqb_tf.heads.registry`.
    """

    kind: str
    form: str = "delimited"
    columns: Columns | None = None
    label_names: dict[str, str] | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    header: tuple[str, ...] | None = None
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    tests_unlabelled: bool = False
    skips_broken_rows: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def _glue(
    text: str, pair: str | None, label: str, names: dict[str, str] | None, **more
) -> TaskSpec:
    """A task of GLUE (Wang et al. 2019, table 1, and the files that it publishes)."""
    kind = "regression" if names is None else "classification"
    columns = Columns(text, pair, label)
    return TaskSpec(kind, columns=columns, label_names=names, tests_unlabelled=True, **more)


def _squad(version: str, settings: dict[str, Any]) -> TaskSpec:
    """SQuAD (Rajpurkar et al. 2016, 2018), as its evaluation scripts judge it."""
    files = {split: f"{split}-{version}" for split in ("train", "dev", "test")}
    columns, metrics = Columns("question", "context", "answers"), ("f1", "exact_match")
    return TaskSpec("span", "squad", columns, metrics=metrics, files=files, settings=settings)


_ENTAILMENT = {"entailment": "entailment", "not_entailment": "not_entailment"}

TASKS = {
    "classification": TaskSpec("classification"),
    "regression": TaskSpec("regression", metrics=("pearson", "spearman")),
    "multiple_choice": TaskSpec("multiple_choice", "choices"),
    "conll": TaskSpec("token_classification", "conll", metrics=("entity_f1", "tag_accuracy")),
    "squad": _squad("v1.1", {}),
    "squad2": _squad("v2.0", {"null_threshold": 0.0}),
    "swag": TaskSpec(
        "multiple_choice",
        "choices",
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
        header=("source", "label", "mark", "sentence"),
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
        skips_broken_rows=True,
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
# The kinds that can be fine-tuned, converted and verified.
TASK_KINDS = ("classification", "regression", "token_classification", "span", "multiple_choice")
# Those that always take two texts: question and context; text and choices (parted by tabs).
PAIRED_KINDS = ("span", "multiple_choice")


def spec_of(task: str, kind: str) -> TaskSpec:
    """The layout of a bundle's task; of one that is none of `TASKS`, as an imported one, its kind's first."""
    return TASKS.get(task) or next(spec for spec in TASKS.values() if spec.kind == kind)
