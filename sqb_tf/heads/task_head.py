"""What the heads have that learn from labelled examples."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example, TextPair
from sqb_tf.data.labels import shortened, unnamed_hint
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Head, Outputs
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.long_texts import LONG_TEXTS, TRUNCATE, TrainingPieces
from sqb_tf.text.encoder import TextEncoder

if TYPE_CHECKING:
    from sqb_tf.training.options import FinetuneOptions


class TaskHead(Head, abc.ABC):
    """A head that learns from labelled examples and is scored on them.

    Attributes:
        metrics: name -> function of `metric_inputs` and `references`; higher is better, the first one is
            the head's own.
        has_classes: the labels of an example are classes.
        one_class: every example has exactly one of them, so that training may weigh them, calibrate their
            probabilities, and abstain.
        fewest_labels: that a model can learn to tell apart.
        target_shape: of a training target in tf.data.
        fitted_settings: the decoding settings that `fitted` finds on dev.
        judges_classes: what is judged are classes or types, so that each has a precision and a recall.
        judges_probabilities: judgements have the probability of what is predicted.
        target_dtype: of a training target in tf.data.
        distillation_loss: `cross_entropy` or `squared_error`, by which it learns from a teacher; None: it
            cannot.
        labelled: its examples have labels.
    """

    fixed_labels: ClassVar[tuple[str, ...] | None] = None
    metrics: ClassVar[Mapping[str, Callable[[Any, Any], float]]]
    has_classes: ClassVar[bool] = False
    one_class: ClassVar[bool] = False
    fewest_labels: ClassVar[int] = 2
    target_shape: ClassVar[tuple[int, ...]] = ()
    fitted_settings: ClassVar[tuple[str, ...]] = ()
    judges_classes: ClassVar[bool] = False
    judges_probabilities: ClassVar[bool] = False
    target_dtype: ClassVar[str] = "int32"
    distillation_loss: ClassVar[str | None] = None
    labelled: ClassVar[bool] = True

    @property
    def judges_examples(self) -> bool:
        """Whether an example is right or wrong by itself, not among all others."""
        return True

    @functools.cached_property
    def label_ids(self) -> dict[str, int]:
        """The position of each label in the outputs."""
        return {label: i for i, label in enumerate(self.labels)}

    # --- From the data to training batches ---

    @classmethod
    def training_settings(
        cls, settings: Mapping[str, Any], options: FinetuneOptions
    ) -> dict[str, Any]:
        """The settings to fine-tune with: the task's and the options'; `InputError` for bad ones."""
        if options.doc_stride is not None:
            raise InputError("doc_stride is for question answering only")
        if options.long_texts is None:
            return dict(settings)
        if LONG_TEXTS not in cls.decoding_settings:
            raise InputError(f"{LONG_TEXTS}: a {cls.name} has no such choice: leave it out")
        return {**settings, LONG_TEXTS: options.long_texts}

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        """The labels in an example of the file `source`; `InputError` if its label cannot be one."""
        return (str(example.label),)

    def number(self, example: Example) -> float | None:
        """The label as a number; None: labels are no numbers."""
        return None

    @classmethod
    def settings_for(cls, numbers: tuple[float, float] | None) -> dict[str, Any]:
        """The settings that follow from the lowest and the highest number of the training examples."""
        return {}

    def references(self, examples: Sequence[Example]) -> Any:
        """The gold labels, as the metrics take them.

        Raises:
            InputError: no examples, a label that the model does not have, one that cannot be a label.
        """
        if not examples:
            raise InputError("no examples in the data")
        labels = {label for e in examples for label in self.read_labels(e, "the data")}
        unknown = sorted(labels - set(self.labels)) if self.fixed_labels is None else []
        if unknown:
            raise InputError(
                f"labels that the model does not have: {shortened(unknown)}; it has "
                f"{shortened(self.labels, 20)}{unnamed_hint(self.labels)}"
            )
        return self._references(examples)

    def _references(self, examples: Sequence[Example]) -> Any:
        return np.array([self.target(e) for e in examples])

    def training_units(
        self, examples: Iterable[Example], encoder: TextEncoder
    ) -> Iterable[Example]:
        """What is trained on: re-iterable, the examples themselves or the pieces they are cut into."""
        if self.long_texts == TRUNCATE:
            return examples
        return TrainingPieces(examples, encoder, self.long_texts)

    def count_units(self, units: Iterable[Example], num_examples: int) -> int:
        """The number of training units of a number of examples."""
        return sum(1 for _ in units) if self.cuts_windows else num_examples

    @abc.abstractmethod
    def target(self, example: Example) -> Any:
        """The target of a training unit."""

    def ragged(self, preprocessor: Any, texts: Any, pairs: Any) -> tuple[Any, Any]:
        """Word ids and type ids of string tensors `[n]`, in the graph: ragged `[n, None]`."""
        return preprocessor.ragged(texts, pairs if self.paired else None)

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        """What `model.fit` takes, in the graph: inputs, targets, and weights if not all are 1."""
        return inputs, targets

    def training_model(self, model: Any) -> Any:
        """The Keras model to train, which has the layers of `model`."""
        return model

    def sample(self, examples: Sequence[Example]) -> list[Example]:
        """What a bundle keeps of a sample of its examples: as its model takes them."""
        return list(examples)

    def compile_arguments(self) -> dict[str, Any]:
        """The loss, as arguments of `model.compile`."""
        import keras  # late: `--help` and the runtime do without it

        # Targets with weights: the mean over the weights. Targets without: each counts the same.
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
        return {"loss": loss}

    @abc.abstractmethod
    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Any:
        """The result for a row, from the outputs of its requests."""

    # --- Scores ---

    @abc.abstractmethod
    def judge(self, example: Example, result: Any) -> Iterable[Judgement]:
        """Each decision of a result beside the right one."""

    @abc.abstractmethod
    def decisions(self, result: Any) -> Sequence[Any]:
        """What a result decides: verification counts how many of these stay the same."""

    def same_decisions(self, expected: Any, actual: Any) -> list[bool]:
        pairs = zip(self.decisions(expected), self.decisions(actual), strict=True)
        return [theirs == ours for theirs, ours in pairs]

    def fitted(self, results: Sequence[Any], references: Any, metric: str) -> TaskHead:
        """The same head with the `fitted_settings` by which dev's results have the best metric."""
        return self

    @abc.abstractmethod
    def metric_inputs(self, results: Sequence[Any]) -> Any:
        """Results as the metrics take them."""

    def check_metric(self, name: str) -> None:
        """`InputError` if a metric of the head is none for the model's labels."""

    def scores(self, names: Iterable[str], inputs: Any, references: Any) -> dict[str, float]:
        """The metrics of `names`, from `metric_inputs` and `references`."""
        return {name: self.metrics[name](inputs, references) for name in names}

    def loss(self, results: Sequence[Any], references: Any) -> float | None:
        """The mean loss of results, to see where training overfits; None: they do not tell it."""
        return None

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        """What a model that has learned nothing does, and what it scores; None: there is no such answer."""
        return None

    @abc.abstractmethod
    def format_submission(
        self, examples: Sequence[Example], results: Sequence[Any], names: Mapping[str, str]
    ) -> Iterator[str]:
        """The lines of a file of predictions, as the task's server takes it.

        `names` maps labels to what the task's files call them, where that differs.
        """


class IndexedHead(TaskHead):
    """A head with one prediction for each example, which GLUE's server takes by the example's index."""

    def format_submission(
        self, examples: Sequence[Example], results: Sequence[Any], names: Mapping[str, str]
    ) -> Iterator[str]:
        """A header, then the index of every example and its prediction."""
        yield "index\tprediction"
        for index, result in enumerate(results):
            yield f"{index}\t{self.format_prediction(result, names)}"

    @abc.abstractmethod
    def format_prediction(self, result: Any, names: Mapping[str, str]) -> str:
        """A result as the file states it."""
