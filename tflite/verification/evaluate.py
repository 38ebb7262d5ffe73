"""The metrics of a backend on labelled data, and the files of its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.task_head import TaskHead


def evaluate(
    backend: Backend,
    task: Task,
    split: str,
    predictions: str | Path | None = None,
    nbest: str | Path | None = None,
) -> dict[str, Any]:
    """The metrics of a model on a split of `task`; none where the split has no labels.

    Args:
        backend: a `Runner` or a `BundleBackend`.
        task: the data.
        split: `train`, `dev`, `test` or another file of the folder.
        predictions: a file to write in the format of the task's server: a GLUE submission, tagged words in
            CoNLL's format, SQuAD's JSON of answers by id.
        nbest: a file to write with the answers to each question and their probabilities, best first, as
            JSON by id.

    Returns:
        `metric` (`name`, `value`; None without labels), `metrics` by name, `examples`, and the files written.

    Raises:
        InputError: no examples, labels that the model does not have, a file that cannot be written.
    """
    head = backend.head
    if task.head != head.name or not isinstance(head, TaskHead):
        raise InputError(f"--task {task.name} is a {task.head}, the model's a {head.name}")
    if nbest is not None and not head.answers_questions:
        raise InputError(f"--nbest is for question answering, not for a {task.head}")
    if task.is_unlabelled(split) and predictions is None:
        raise InputError(
            f"the split {split} of {task.name} has no labels: name a file with --predictions"
        )
    examples = list(task.split(split))
    if not examples:
        raise InputError(f"{task.split(split).name}: no examples in it")
    results = [result for _, result in backend.stream(e.texts for e in examples)]
    report: dict[str, Any] = {"metric": None, "metrics": {}, "examples": len(examples)}
    if not task.is_unlabelled(split):
        values = head.scores(task.spec.metrics, results, head.references(examples))
        report["metric"] = {"name": task.metric_name, "value": values[task.metric_name]}
        report["metrics"] = values
    if predictions is not None:
        names = {shown: label for label, shown in (task.spec.label_names or {}).items()}
        lines = head.format_submission(examples, results, names)
        report["predictions"] = _write(predictions, "\n".join(lines))
    if nbest is not None:
        answers = {e.id: result.listed() for e, result in zip(examples, results, strict=True)}
        report["nbest"] = _write(nbest, json.dumps(answers, ensure_ascii=False, indent=1))
    return report


def _write(path: str | Path, text: str) -> str:
    """Writes a file whole or not at all; its name."""
    with staged_file(path) as staged:
        staged.write_text(text + "\n", encoding="utf-8")
    return str(path)
