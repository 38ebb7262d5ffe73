"""Predictions of a bundle (Keras) in the form that `Runner` gives those of a package."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.files import staged_file
from sqb_tf.tasks.layouts import TASK_KINDS
from sqb_tf.tasks.metrics import scores
from sqb_tf.tasks.task import Task, targets
from tflite.runner import Classification, Runner, Tagging, check_pairing


class BundlePredictor:
    """A bundle as a stream of results; the same face as `Runner.stream`."""

    def __init__(self, directory: str | Path) -> None:
        self.model = bundle.load(directory, TASK_KINDS)
        self.labels = self.model.labels
        self.kind = self.model.info.task.kind
        self.paired = self.model.info.task.paired

    def stream(
        self, examples: Iterable[tuple[str, str | None]], batch_size: int = 64
    ) -> Iterator[tuple[tuple[str, str | None], Classification | Tagging]]:
        """Each example with its result, in order, at constant memory."""
        examples = check_pairing(examples, self.paired)
        while chunk := list(itertools.islice(examples, batch_size)):
            texts, pairs = [t for t, _ in chunk], [p for _, p in chunk]
            inputs = self.model.preprocessor(texts, pairs if self.paired else None)
            outputs = keras_outputs(self.model, inputs)
            if self.kind == "token_classification":
                places = self.model.preprocessor.word_places(texts).numpy()
                for example, row, where in zip(chunk, outputs, places, strict=True):
                    yield example, Tagging.of(self.labels, example[0], row, where)
                continue
            for example, row in zip(chunk, outputs, strict=True):
                yield example, Classification.of(self.labels, row)


def keras_outputs(model: Any, inputs: Any) -> np.ndarray:
    """The output that a classifier's or regressor's package has, `[n, labels]`."""
    (output,) = named_outputs(model, inputs).values()
    return output


def named_outputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What the package gives for each text of a batch, by the package's names, computed by Keras.

    Args:
        model: of `sqb_tf.load`, any kind.
        inputs: the three inputs `[n, length]`.
    """
    kind = model.info.task.kind
    if kind == "multiple_choice":  # one choice at a time
        inputs = {name: np.asarray(values)[:, np.newaxis] for name, values in inputs.items()}
    if kind == "pretraining":
        inputs = {name: np.asarray(values) for name, values in inputs.items()}
        shape = inputs["input_word_ids"].shape
        inputs["masked_positions"] = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
    found = model(inputs, training=False)
    if kind in ("classification", "token_classification"):
        return {"probabilities": _softmax(found.numpy())}
    if kind == "embedding":
        return {"embedding": found.numpy()}
    if not isinstance(found, dict):
        return {"logits": found.numpy()}
    return {name.removeprefix("masked_lm_"): values.numpy() for name, values in found.items()}


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def evaluate(
    predictor: BundlePredictor | Runner,
    task: Task,
    split: str,
    predictions: str | Path | None = None,
) -> dict[str, Any]:
    """The metrics of `predictor` on a split of `task`, None where the split has no labels.

    `predictions` is a file to write: in the form of a GLUE submission (a header, then the index of every
    example and its label as the task's files have it, or its number), tagged words in CoNLL's.

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
        if task.kind == "token_classification":
            outputs = [list(one.tags) for one in found]
        else:
            outputs = np.array([list(one.scores.values()) for one in found])
        values = scores(task.spec.metrics, outputs, goals)
        result["metric"] = {"name": task.metric_name, "value": values[task.metric_name]}
        result["metrics"] = values
    if predictions is not None:
        with staged_file(predictions) as staged:
            staged.write_text("\n".join(_submission(task, found)) + "\n", encoding="utf-8")
        result["predictions"] = str(predictions)
    return result


def _submission(task: Task, found: list[Any]) -> Iterator[str]:
    """The lines of a GLUE submission file, or of CoNLL's form."""
    if task.kind == "token_classification":
        for one in found:
            yield from (f"{word}\t{tag}" for word, tag in zip(one.words, one.tags, strict=True))
            yield ""
        return
    yield "index\tprediction"
    names = {shown: label for label, shown in (task.spec.label_names or {}).items()}
    for index, one in enumerate(found):
        if task.kind == "regression":
            yield f"{index}\t{next(iter(one.scores.values())):.4f}"
        else:
            yield f"{index}\t{names.get(one.label, one.label)}"
