"""What the kinds of tasks have in common; each is a subclass in a file of its own."""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.metrics import METRICS
from sqb_tf.text.encoder import TextEncoder

# A text, or a pair of them.
Row = tuple[str, str | None]
Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Passage:
    """What the model is run on at once: a text or pair. An example may need several."""

    text: str
    pair: str | None


class HeadKind:
    """How a head takes texts: here a passage for each example.

    Heads without a task of their own (masked LM, encoder, embedding) have no more than this.

    Args:
        labels: the model's labels, in the order of its scores.
        paired: whether it takes pairs of texts.
        settings: the kind's own, as `TaskInfo.settings` and packages keep them.
    """

    def __init__(
        self,
        labels: Sequence[str] = (),
        paired: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.labels, self.paired = list(labels), paired
        self.label_ids = {label: i for i, label in enumerate(self.labels)}
        self.change(settings or {})

    def change(self, settings: Mapping[str, Any]) -> None:
        """Takes `settings` over; `InputError` for what the kind does not have."""
        if settings:
            raise InputError(f"{', '.join(settings)}: for question answering only")

    def keras_inputs(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inputs of the Keras model for passages that the package takes one by one."""
        return inputs

    def passages(self, encoder: TextEncoder, rows: Sequence[Row]) -> list[list[Passage]]:
        """What the model is run on for each example; `InputError` for a pair where it takes texts, or so."""
        return self._passages(encoder, list(check_pairing(rows, self.paired)))

    def _passages(self, encoder: TextEncoder, rows: Sequence[Row]) -> list[list[Passage]]:
        return [[Passage(*row)] for row in rows]


class TaskKind(HeadKind, abc.ABC):
    """How one kind of task treats its examples, its batches and the model's outputs.

    Attributes:
        fixed_labels: the labels that every model of the kind has; None: they are in the data.
        metrics: name -> function of outputs and goals.
        target_dtype: of a training target in tf.data.
        target_shape: of one.
    """

    fixed_labels: tuple[str, ...] | None = None
    metrics: Mapping[str, Callable[[Any, Any], float]] = METRICS
    target_dtype = "int32"
    target_shape: tuple[int, ...] = ()

    @classmethod
    def settings_of(
        cls, settings: Mapping[str, Any], seq_length: int, doc_stride: int | None
    ) -> dict[str, Any]:
        """The settings to fine-tune with: the task's, and what the options say; `InputError` for bad ones."""
        if doc_stride is not None:
            raise InputError("doc_stride is for question answering only")
        return dict(settings)

    # --- From the data to training batches ---

    def labels_of(self, example: Example, source: str) -> Iterable[str]:
        """The labels in an example of the file `source`; `InputError` if its label cannot be one."""
        return (str(example.label),)

    def goals(self, examples: Sequence[Example]) -> Any:
        """What the metrics compare outputs with.

        Raises:
            InputError: no examples, a label that the model does not have, one that cannot be a label.
        """
        if not examples:
            raise InputError("no examples in the data")
        found = {label for e in examples for label in self.labels_of(e, "the data")}
        unknown = sorted(found - set(self.labels)) if self.fixed_labels is None else []
        if unknown:
            raise InputError(
                f"labels that the model does not have: {', '.join(unknown)}; it has "
                f"{', '.join(self.labels)}"
            )
        return self._goals(examples)

    def _goals(self, examples: Sequence[Example]) -> Any:
        return np.array([self.target(e) for e in examples])

    def rows(self, examples: Iterable[Example], encoder: TextEncoder) -> Iterable[Example]:
        """What is trained on: re-iterable, the examples themselves or what they are cut into."""
        return examples

    def count(self, rows: Iterable[Example], num_examples: int) -> int:
        """How many `rows` are made of so many examples."""
        return num_examples

    @abc.abstractmethod
    def target(self, example: Example) -> Any:
        """The target of one of the `rows`."""

    def ragged(self, preprocessor: Any, texts: Any, pairs: Any) -> tuple[Any, Any]:
        """Word ids and type ids of string tensors `[n]`, in the graph: ragged `[n, None]`."""
        return preprocessor.ragged(texts, pairs if self.paired else None)

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        """What `model.fit` takes, in the graph: inputs, targets, and weights if not all are 1."""
        return inputs, targets

    def compiled(self) -> dict[str, Any]:
        """The loss, as arguments of `model.compile`."""
        import keras  # late: tasks are read without it

        # Where targets have weights the mean over those; else all weigh the same.
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
        return {"loss": loss}

    # --- From outputs to results ---

    @abc.abstractmethod
    def result(self, row: Row, passages: Sequence[Passage], outputs: Sequence[Outputs]) -> Any:
        """What the outputs for an example's passages say of it."""

    def results(
        self,
        rows: Iterable[Row],
        encoder: TextEncoder,
        run: Callable[[Sequence[Passage]], Iterator[Outputs]],
        batch_size: int,
    ) -> Iterator[tuple[Row, Any]]:
        """Each example with its result, in order, at constant memory.

        `run` gives the named outputs of each passage, without the axis of the batch.
        """
        rows = iter(rows)
        while chunk := list(itertools.islice(rows, batch_size)):
            passages = self.passages(encoder, chunk)
            outputs = run([passage for some in passages for passage in some])
            for row, some in zip(chunk, passages, strict=True):
                yield row, self.result(row, some, list(itertools.islice(outputs, len(some))))

    @abc.abstractmethod
    def decisions(self, result: Any) -> Sequence[Any]:
        """What a result decides: verification counts how many of these stay the same."""

    def same(self, one: Any, other: Any) -> list[bool]:
        """Which of one result's decisions another model's result has too."""
        decisions = self.decisions(one), self.decisions(other)
        return [mine == theirs for mine, theirs in zip(*decisions, strict=True)]

    @abc.abstractmethod
    def outputs(self, results: Sequence[Any]) -> Any:
        """Results as the metrics take them."""

    def scores(self, names: Iterable[str], results: Sequence[Any], goals: Any) -> dict[str, float]:
        """The metrics of `names`."""
        outputs = self.outputs(results)
        return {name: self.metrics[name](outputs, goals) for name in names}

    @abc.abstractmethod
    def submission(
        self, examples: Sequence[Example], results: Sequence[Any], names: Mapping[str, str]
    ) -> Iterator[str]:
        """The lines of a file of predictions, in the form of the task's server.

        `names` has, for labels that the task's files write otherwise, what they write.
        """


class IndexedKind(TaskKind):
    """A kind with one answer for each example, which GLUE's server takes by the example's index."""

    def submission(
        self, examples: Sequence[Example], results: Sequence[Any], names: Mapping[str, str]
    ) -> Iterator[str]:
        """A header, then the index of every example and its answer."""
        yield "index\tprediction"
        for index, result in enumerate(results):
            yield f"{index}\t{self.answer(result, names)}"

    @abc.abstractmethod
    def answer(self, result: Any, names: Mapping[str, str]) -> str:
        """A result as the file has it."""


def check_pairing(rows: Iterable[Row], paired: bool) -> Iterator[Row]:
    """`rows`, or an `InputError` at the first one that is a pair and should not be, or the reverse."""
    for text, pair in rows:
        if (pair is not None) != paired:
            raise InputError(
                "the model takes pairs of texts" if paired else "the model takes single texts"
            )
        yield text, pair
