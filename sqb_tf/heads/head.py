"""What every head has: its description, how texts become requests, and how two models agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import TextPair
from sqb_tf.errors import InputError
from sqb_tf.text.encoder import TextEncoder

# The outputs for one request by name, without a batch axis.
Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Output:
    """One output of a package, and what the Keras model calls it.

    Attributes:
        name: in the package.
        per_token: its first axis is the tokens of the input.
        keras_name: key in the Keras model's outputs, where it has several; None: the package's.
        softmax: the Keras model outputs logits, the package probabilities.
        centered: what all its values have in common carries no information: only differences between a
            regression's scores tell texts apart.
    """

    name: str
    per_token: bool = False
    keras_name: str | None = None
    softmax: bool = False
    centered: bool = False

    def from_keras(self, outputs: Any) -> np.ndarray:
        """Its values, from what the Keras model returns."""
        if isinstance(outputs, Mapping):
            outputs = outputs[self.keras_name or self.name]
        return softmax(np.asarray(outputs)) if self.softmax else np.asarray(outputs)


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """The inputs of one run of the model, int32 `[1, tokens]` by name; a row may need several."""

    inputs: dict[str, np.ndarray]

    def __len__(self) -> int:
        return self.inputs["input_word_ids"].shape[1]


@dataclasses.dataclass(frozen=True)
class Head:
    """A head; its class attributes describe it, an instance is bound to one model.

    The base suffices for a head that learns from unlabelled text. Two models agree where the largest value
    of each output is at the same position.

    Args:
        labels: the model's labels, in the order of its outputs.
        paired: whether the model takes pairs of texts.
        settings: the head's own, as `task.json` and packages store them.

    Attributes:
        name: as `task.json` and `sqb.json` store it, and as the head's file is called.
        keras_class: path of the Keras model's class.
        keras_settings: the settings that are arguments of that class, and attributes of its models.
        decoding_settings: the settings that decide what is made of the outputs.
        fixed_labels: the labels of every model with this head; None: they come from the data.
        always_paired: every model with this head takes pairs.
        pooled_only: the head reads the pooled output alone.
        outputs: of the package, in its order.
        verification_batch: texts per batch when Keras computes what a package is compared with.
        hf_class: the class in `transformers` without the name of its architecture.
        hf_layers: our layer -> theirs, where the encoder does not have it.
        hf_problem_type: `problem_type` in a config of `transformers`; None: it has none.
        answers_questions: its pairs are a question and a context, its results answers.
        gives_vectors: its results are vectors of texts, to be compared.

    Raises:
        InputError: settings that the head does not have.
    """

    labels: Sequence[str] = ()
    paired: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    name: ClassVar[str]
    keras_class: ClassVar[str]
    keras_settings: ClassVar[tuple[str, ...]] = ()
    decoding_settings: ClassVar[tuple[str, ...]] = ()
    fixed_labels: ClassVar[tuple[str, ...] | None] = ()
    always_paired: ClassVar[bool] = False
    pooled_only: ClassVar[bool] = False
    outputs: ClassVar[tuple[Output, ...]]
    verification_batch: ClassVar[int] = 32
    hf_class: ClassVar[str]
    hf_layers: ClassVar[Mapping[str, str]] = {}
    hf_problem_type: ClassVar[str | None] = None
    answers_questions: ClassVar[bool] = False
    gives_vectors: ClassVar[bool] = False

    def __post_init__(self) -> None:
        known = (*self.keras_settings, *self.decoding_settings)
        others = [name for name in self.settings if name not in known]
        if others:
            raise InputError(f"{', '.join(others)}: a {self.name} has no such setting")

    def update_settings(self, settings: Mapping[str, Any]) -> Head:
        """The same head with other settings; `InputError` for ones that it does not have."""
        return dataclasses.replace(self, settings={**self.settings, **settings})

    @classmethod
    def fits_folder(cls, num_labels: int) -> bool:
        """Whether a `transformers` folder with the head's layers and class is this one's by its labels."""
        return True

    @classmethod
    def settings_of(cls, model: Any) -> dict[str, Any]:
        """The settings that a Keras model of the head was built with."""
        return {name: getattr(model, name) for name in cls.keras_settings}

    # --- From a text to its result ---

    def parse_line(self, line: str, where: str, context: str | None) -> TextPair:
        """The row in a line of text: one text, or two separated by a tab.

        Args:
            line: without its end.
            where: file and line number, for messages.
            context: for questions without their own.

        Raises:
            InputError: an empty text, one text instead of two.
        """
        text, tab, pair = line.partition("\t")
        if self.paired and not (text.strip() and pair.strip()):
            raise InputError(f"{where}: expected two texts separated by a tab")
        row = (text, pair) if self.paired else (text + tab + pair, None)
        if not row[0].strip():
            raise InputError(f"{where}: the text is empty")
        return row

    def encode(self, rows: Sequence[TextPair], encoder: TextEncoder) -> Sequence[Sequence[Request]]:
        """The requests for each row; `InputError` for a pair where the model takes texts, or the reverse."""
        return self._encode(list(check_pairing(rows, self.paired)), encoder)

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        return [[Request(encoder.inputs(text, pair))] for text, pair in rows]

    def keras_inputs(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The Keras model's inputs for a batch of the package's, `[n, tokens]` each."""
        return inputs

    def named_outputs(self, outputs: Any) -> dict[str, np.ndarray]:
        """What the Keras model returns, by the package's names and in its order."""
        return {output.name: output.from_keras(outputs) for output in self.outputs}

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Any:
        """The result for a row, from the outputs of its requests."""
        return {name: values.argmax(-1) for name, values in outputs[0].items()}

    # --- Verification ---

    def same_decisions(self, expected: Any, actual: Any) -> list[bool]:
        """Which of the decisions in one result the other one shares."""
        return [same for name in expected for same in np.ravel(expected[name] == actual[name])]

    def agreement(self, expected: Sequence[Any], actual: Sequence[Any]) -> float:
        """The share of decisions that are the same, over the results of two models for the same rows."""
        pairs = zip(expected, actual, strict=True)
        return float(np.mean([same for pair in pairs for same in self.same_decisions(*pair)]))


def check_pairing(rows: Iterable[TextPair], paired: bool) -> Iterator[TextPair]:
    """`rows`, with an `InputError` at the first one that is a pair and should not be, or the reverse."""
    for text, pair in rows:
        if (pair is not None) != paired:
            raise InputError(
                "the model takes pairs of texts: expected a second text for each"
                if paired
                else "the model takes single texts: expected no second one"
            )
        yield text, pair


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)
