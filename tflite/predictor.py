"""Predictions of a bundle (Keras) in the form that `Runner` gives those of a package."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.tasks.task import Task, metric, targets
from tflite.runner import Classification, Runner, check_pairing


class BundlePredictor:
    """A bundle as a stream of `Classification`s; the same face as `Runner.stream`."""

    def __init__(self, directory: str | Path) -> None:
        self.model = bundle.load(directory)
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
            for example, scores in zip(chunk, outputs, strict=True):
                yield example, Classification.of(self.labels, scores)


def keras_outputs(model: Any, inputs: Any) -> np.ndarray:
    """The outputs that the package has: probabilities, or a regression's scores. `[n, labels]`."""
    logits = model(inputs, training=False).numpy()
    if model.info.task.kind == "regression":
        return logits
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def evaluate(predictor: BundlePredictor | Runner, task: Task, split: str) -> dict[str, Any]:
    """The metric of `predictor` on a split of `task`.

    Raises:
        InputError: no examples, labels that the model does not have.
    """
    if task.kind != predictor.kind:
        raise InputError(f"--task {task.name} is a {task.kind}, the model's a {predictor.kind}")
    examples = list(task.split(split))
    goals = targets(predictor.labels, examples, predictor.kind)
    found = predictor.stream((e.text, e.pair) for e in examples)
    outputs = np.array([list(result.scores.values()) for _, result in found])
    value = metric(predictor.kind, outputs, goals)
    return {"metric": {"name": task.metric_name, "value": value}, "examples": len(examples)}
