"""Predictions of a bundle (Keras) in the form that `Runner` gives those of a package."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.files import staged_file
from sqb_tf.tasks.layouts import TASK_KINDS
from sqb_tf.tasks.metrics import scores
from sqb_tf.tasks.task import Task, targets
from tflite.runner import Classification, Runner, check_pairing


class BundlePredictor:
    """A bundle as a stream of `Classification`s; the same face as `Runner.stream`."""

    def __init__(self, directory: str | Path) -> None:
        self.model = bundle.load(directory, TASK_KINDS)
        self.labels = self.model.labels
        self.kind = self.model.info.task.kind
        self.paired = self.model.info.task.paired

    def stream(
        self, examples: Iterable[tuple[str, str | None]], batch_size: int = 64
    ) -> Iterator[tuple[tuple[str, str | None], Classification]]:
        """Each example with its classification, in order, at constant memory."""
        examples = check_pairing(examples, self.paired)
        while chunk := list(itertools.islice(examples, batch_size)):
            texts, pairs = [t for t, _ in chunk], [p for _, p in chunk]
            inputs = self.model.preprocessor(texts, pairs if self.paired else None)
            outputs = keras_outputs(self.model, inputs)
            for example, row in zip(chunk, outputs, strict=True):
                yield example, Classification.of(self.labels, row)


def keras_outputs(model: Any, inputs: Any) -> np.ndarray:
    """The outputs that the package has: probabilities, or a regression's scores. `[n, labels]`."""
    logits = model(inputs, training=False).numpy()
    if model.info.task.kind == "regression":
        return logits
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def evaluate(
    predictor: BundlePredictor | Runner,
    task: Task,
    split: str,
    predictions: str | Path | None = None,
) -> dict[str, Any]:
    """The metrics of `predictor` on a split of `task`, None where the split has no labels.

    `predictions` is a file to write in the form of a GLUE submission: a header, then the index of every
    example and its label as the task's files have it (or its number), parted by a tab.

    Raises:
        InputError: no examples, labels that the model does not have, a file that cannot be written.
    """
    if task.kind != predictor.kind:
        raise InputError(f"--task {task.name} is a {task.kind}, the model's a {predictor.kind}")
    if task.is_unlabelled(split) and predictions is None:
        raise InputError(
            f"the split {split} of {task.name} has no labels: name a file with --predictions"
        )
    examples = list(task.split(split))
    if not examples:
        raise InputError(f"{task.split(split).name}: no examples in it")
    found = [r for _, r in predictor.stream((e.text, e.pair) for e in examples)]
    result: dict[str, Any] = {"metric": None, "metrics": {}, "examples": len(examples)}
    if not task.is_unlabelled(split):
        goals = targets(predictor.labels, examples, predictor.kind)
        outputs = np.array([list(one.scores.values()) for one in found])
        values = scores(task.spec.metrics, outputs, goals)
        result["metric"] = {"name": task.metric_name, "value": values[task.metric_name]}
        result["metrics"] = values
    if predictions is not None:
        with staged_file(predictions) as staged:
            staged.write_text("\n".join(_submission(task, found)) + "\n", encoding="utf-8")
        result["predictions"] = str(predictions)
    return result


def _submission(task: Task, found: list[Classification]) -> Iterator[str]:
    """The lines of a GLUE submission file."""
    yield "index\tprediction"
    names = {shown: label for label, shown in (task.spec.label_names or {}).items()}
    for index, one in enumerate(found):
        if task.kind == "regression":
            yield f"{index}\t{next(iter(one.scores.values())):.4f}"
        else:
            yield f"{index}\t{names.get(one.label, one.label)}"
