"""The metrics of a backend on labelled data, the files of its predictions, and a report of its errors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.data.example import Example
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.head import Head
from sqb_tf.heads.long_texts import truncated_tokens
from sqb_tf.heads.task_head import TaskHead

from .assessment import Assessment
from .comparison import Comparison
from .out_of_scope import OutOfScope
from .report import PAGE, Report

# Examples whose metric inputs are joined at once.
CHUNK = 1024


def evaluate(
    backend: Backend,
    task: Task,
    split: str,
    predictions: str | Path | None = None,
    nbest: str | Path | None = None,
    report: str | Path | None = None,
    against: Backend | None = None,
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """The metrics of a model on a split of `task`; none where the split has no labels.

    Memory grows by what the metrics need of an example (a number, a few words, a flag for each label, of
    retrieval two vectors), and by the whole examples if `predictions` or `nbest` are written.

    Args:
        backend: a `Runner` or a `BundleBackend`.
        task: the data.
        split: `train`, `dev`, `test` or another file of the folder.
        predictions: a file to write in the format of the task's server: a GLUE submission, tagged words in
            CoNLL's format, SQuAD's JSON of answers by id.
        nbest: a file to write with the answers to each question and their probabilities, best first, as
            JSON by id.
        report: a folder to write with a page, every wrong decision and the confusion matrix.
        against: another model of the same task, to compare with in the report.
        others: texts of no class, to see how many get no label.

    Returns:
        `metric` (`name`, `value`; None without labels), `metrics` by name, `examples`, `truncated` (those of
        which the model has not seen all tokens), the files written; with texts of no class `others`, see
        `OutOfScope.to_json`;
        with a report also what `Assessment.to_json` and `Comparison.to_json` say.

    Raises:
        InputError: no examples, labels that the model does not have, a file that cannot be written.
    """
    backend = _for_task(backend, task)
    head = _check(backend.head, task, split, predictions, nbest, report)
    if others and not head.one_class:
        raise InputError(f"--others is for classification, not for a {task.head}")
    if report is not None:
        check_writable(Path(report) / PAGE)
    comparison = other_scores = None
    if against is not None:
        if report is None:
            raise InputError("against goes with report, which shows the comparison")
        against = _for_task(against, task)
        other_head = _check_other(against.head, head)
        comparison, other_scores = Comparison(other_head), _Scores(other_head, task)
    scores = None if task.is_unlabelled(split) else _Scores(head, task)
    assessment = Assessment(head) if report is not None else None
    scope = OutOfScope()
    kept: list[tuple[Example, Any]] = []
    count = truncated = 0
    for example, result, other in _results(task.split(split), backend, against):
        count += 1
        truncated += truncated_tokens(result) > 0
        if scores is not None:
            scores.add(example, result)
        if others:
            scope.add(result)
        if assessment is not None:
            judgements = list(head.judge(example, result))
            assessment.add(example, judgements)
            if comparison is not None and other_scores is not None:
                other_scores.add(example, other)
                comparison.add(example, judgements, list(head.judge(example, other)))
        if predictions is not None or nbest is not None:
            kept.append((example, result))
    if not count:
        raise InputError(f"{task.split(split).name}: no examples in it")
    values = {} if scores is None else scores.values()
    metric = {"name": task.metric_name, "value": values[task.metric_name]} if values else None
    summary: dict[str, Any] = {"metric": metric, "metrics": values, "examples": count}
    summary["truncated"] = truncated
    summary |= _write_answers(head, task, kept, predictions, nbest)
    if others:
        results = backend.stream((text, None) for text in others)
        summary["others"] = scope.to_json(result for _, result in results)
    if report is not None and assessment is not None:
        summary |= assessment.to_json()
        if comparison is not None and other_scores is not None:
            summary["comparison"] = comparison.to_json()
            summary["comparison"]["other"]["metrics"] = other_scores.values()
        summary["report"] = str(report)
        Report(task.split(split).name, summary, assessment, comparison).write(Path(report))
    return summary


def _for_task(backend: Backend, task: Task) -> Backend:
    """The backend, whose results are those that the task is scored by.

    An embedder gives vectors of single texts; a task of pairs compares two of them.
    """
    head = backend.head
    if isinstance(head, TaskHead) or head.name != task.head:
        return backend
    return backend.with_head(task.learner((), task.paired, head.settings))


def _check(
    head: Head,
    task: Task,
    split: str,
    predictions: str | Path | None,
    nbest: str | Path | None,
    report: str | Path | None,
) -> TaskHead:
    if task.head != head.name or not isinstance(head, TaskHead):
        raise InputError(f"--task {task.name} is a {task.head}, the model's a {head.name}")
    if nbest is not None and not head.answers_questions:
        raise InputError(f"--nbest is for question answering, not for a {task.head}")
    if report is not None and not head.judges_examples:
        raise InputError(
            f"--report is for decisions on single examples: {task.name} is scored over all of them together, "
            "by this model"
        )
    if task.is_unlabelled(split):
        if report is not None:
            raise InputError(f"the split {split} of {task.name} has no labels: --report needs them")
        if predictions is None:
            raise InputError(
                f"the split {split} of {task.name} has no labels: name a file with --predictions"
            )
    return head


def _check_other(other: Head, head: TaskHead) -> TaskHead:
    """The head of the model to compare with."""
    if not isinstance(other, TaskHead) or (other.name, set(other.labels)) != (
        head.name,
        set(head.labels),
    ):
        raise InputError(
            f"against: a {other.name} of {len(other.labels)} labels: expected a {head.name} "
            f"with the {len(head.labels)} labels of the model that is evaluated"
        )
    return other


def _results(
    examples: Iterable[Example], backend: Backend, against: Backend | None
) -> Iterator[tuple[Example, Any, Any]]:
    """Each example with its result, and that of the other model."""
    rows, texts, other_texts = itertools.tee(examples, 3)
    results = backend.stream(e.texts for e in texts)
    if against is None:
        others: Iterable[Any] = itertools.repeat((None, None))
        del other_texts  # else it would keep every example
    else:
        others = against.stream(e.texts for e in other_texts)
    for example, (_, result), (_, other) in zip(rows, results, others):
        yield example, result, other


def _write_answers(
    head: TaskHead,
    task: Task,
    answered: Sequence[tuple[Example, Any]],
    predictions: str | Path | None,
    nbest: str | Path | None,
) -> dict[str, str]:
    """Writes the files of the predictions that are asked for; their names."""
    written = {}
    if predictions is not None:
        names = {shown: label for label, shown in (task.spec.label_names or {}).items()}
        lines = head.format_submission([e for e, _ in answered], [r for _, r in answered], names)
        written["predictions"] = _write(predictions, "\n".join(lines))
    if nbest is not None:
        answers = {example.id: result.listed() for example, result in answered}
        written["nbest"] = _write(nbest, json.dumps(answers, ensure_ascii=False, indent=1))
    return written


class _Scores:
    """The metrics of a stream of results."""

    def __init__(self, head: TaskHead, task: Task) -> None:
        self._head, self._names = head, task.spec.metrics
        self._results: list[Any] = []
        self._inputs: list[Any] = []
        self._references: list[Any] = []

    def add(self, example: Example, result: Any) -> None:
        """One more; `InputError` for a label that the model does not have."""
        self._references.append(self._head.references([example]))
        self._results.append(result)
        if len(self._results) == CHUNK:
            self._compact()

    def _compact(self) -> None:
        if self._results:
            self._inputs.append(self._head.metric_inputs(self._results))
            self._references = [_join(self._references)]
            self._results = []

    def values(self) -> dict[str, float]:
        """Metric -> value."""
        self._compact()
        return self._head.scores(self._names, _join(self._inputs), _join(self._references))


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return list(itertools.chain.from_iterable(parts))


def _write(path: str | Path, text: str) -> str:
    """Writes a file whole or not at all; its name."""
    with staged_file(path) as staged:
        staged.write_text(text + "\n", encoding="utf-8")
    return str(path)
