"""Predictions of a bundle (Keras) in the form that `Runner` gives those of a package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.data.task import Task
from sqb_tf.data.task_specs import TASK_KINDS
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import Outputs, Passage, Row
from sqb_tf.heads.registry import kind_of
from sqb_tf.training.pipeline import prediction_batches

from ..runtime.runner import Runner


class BundlePredictor:
    """A bundle as a stream of results; the same face as `Runner.stream`."""

    def __init__(self, directory: str | Path) -> None:
        self.model = bundle.load(directory, TASK_KINDS)
        task = self.model.info.task
        self.kind, self.paired = task.kind, task.paired
        self.task_kind = kind_of(task.kind, self.model.labels, task.paired, task.settings)

    def stream(self, rows: Iterable[Row], batch_size: int = 64) -> Iterator[tuple[Row, Any]]:
        """Each example with its result, in order, at constant memory."""

        def run(passages: Sequence[Passage]) -> Iterator[Outputs]:
            batches = prediction_batches(passages, self.model.preprocessor, self.paired, batch_size)
            for inputs in batches:
                found = named_outputs(self.model, inputs)
                for row in zip(*found.values(), strict=True):
                    yield dict(zip(found, row, strict=True))

        return self.task_kind.results(rows, self.model.preprocessor.encoder, run, batch_size)


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
    inputs = kind_of(kind).keras_inputs(inputs)
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
    nbest: str | Path | None = None,
) -> dict[str, Any]:
    """The metrics of `predictor` on a split of `task`, None where the split has no labels.

    `predictions` is a file to write, in the form of the task's server: a GLUE submission, tagged words in
    CoNLL's form, SQuAD's JSON of answers by id. So is `nbest`, of question answering: the answers to each
    question with their probabilities, best first.

    Raises:
        InputError: no examples, labels that the model does not have, a file that cannot be written.
    """
    if task.head != predictor.kind:
        raise InputError(f"--task {task.name} is a {task.head}, the model's a {predictor.kind}")
    if nbest is not None and task.head != "span":
        raise InputError(f"--nbest is for question answering, not for a {task.head}")
    if task.is_unlabelled(split) and predictions is None:
        raise InputError(
            f"the split {split} of {task.name} has no labels: name a file with --predictions"
        )
    examples = list(task.split(split))
    if not examples:
        raise InputError(f"{task.split(split).name}: no examples in it")
    kind = predictor.task_kind
    found = [r for _, r in predictor.stream((e.text, e.pair) for e in examples)]
    result: dict[str, Any] = {"metric": None, "metrics": {}, "examples": len(examples)}
    if not task.is_unlabelled(split):
        values = kind.scores(task.spec.metrics, found, kind.goals(examples))
        result["metric"] = {"name": task.metric_name, "value": values[task.metric_name]}
        result["metrics"] = values
    if predictions is not None:
        names = {shown: label for label, shown in (task.spec.label_names or {}).items()}
        with staged_file(predictions) as staged:
            lines = kind.submission(examples, found, names)
            staged.write_text("\n".join(lines) + "\n", encoding="utf-8")
        result["predictions"] = str(predictions)
    if nbest is not None:
        answers = {e.id: one.listed() for e, one in zip(examples, found, strict=True)}
        with staged_file(nbest) as staged:
            text = json.dumps(answers, ensure_ascii=False, indent=1)
            staged.write_text(text + "\n", encoding="utf-8")
        result["nbest"] = str(nbest)
    return result
