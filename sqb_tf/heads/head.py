"""What every head has: its description, how texts become requests, and how two models agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads.long_texts import LONG_TEXTS, TRUNCATE, WINDOWS, check_policy, cut
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
        activation: `softmax` or `sigmoid`: the Keras model outputs logits, the package probabilities.
        centered: what all its values have in common carries no information: only differences between a
            regression's scores tell texts apart.
    """

    name: str
    per_token: bool = False
    keras_name: str | None = None
    activation: str | None = None
    centered: bool = False

    def from_keras(self, outputs: Any) -> np.ndarray:
        """Its values, from what the Keras model returns."""
        if isinstance(outputs, Mapping):
            outputs = outputs[self.keras_name or self.name]
        values = np.asarray(outputs)
        return values if self.activation is None else _ACTIVATIONS[self.activation](values)

    def mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Over the inputs of one text; of probabilities the mean of their logits."""
        if len(values) == 1:
            return values[0]
        if self.activation is None:
            return np.mean(values, axis=0)
        # Not 0 or 1, which packages with 8-bit outputs give: one of them would decide alone.
        probabilities = np.clip(values, 1e-4, 1 - 1e-4)
        logits = np.log(probabilities)
        if self.activation == "sigmoid":
            logits -= np.log1p(-probabilities)
        return _ACTIVATIONS[self.activation](logits.mean(axis=0))


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """The inputs of one run of the model, int32 `[1, tokens]` by name; a row may need several.

    `truncated` counts the tokens of its text or pair that are in no input; of a text in several windows the
    first one has it.
    """

    inputs: dict[str, np.ndarray]
    truncated: int = dataclasses.field(default=0, kw_only=True)

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
        decoding_settings: the settings that decide how texts are cut, and what is made of the outputs.
        fixed_labels: the labels of every model with this head; None: they come from the data.
        always_paired: every model with this head takes pairs.
        pooled_only: the head reads the pooled output alone.
        outputs: of the package, in its order.
        verification_batch: texts per batch when Keras computes what a package is compared with.
        hf_class: the class in `transformers` without the name of its architecture.
        hf_layers: our layer -> theirs, where the encoder does not have it.
        hf_problem_type: `problem_type` in a config of `transformers`; None: it has none.
        opens_in_mediapipe: a MediaPipe task opens its packages of single texts, and tokenizes for them.
        takes_single_texts: the two texts of a pair are inputs of their own, so that its bundles take single
            texts.
        answers_questions: its pairs are a question and a context, its results answers.
        gives_vectors: its results are vectors of texts, to be compared.
        table_columns: what `sqb predict` adds to each row of a table, see `table_cells`; none: nothing fits.

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
    opens_in_mediapipe: ClassVar[bool] = False
    takes_single_texts: ClassVar[bool] = False
    answers_questions: ClassVar[bool] = False
    gives_vectors: ClassVar[bool] = False
    table_columns: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        known = (*self.keras_settings, *self.decoding_settings)
        others = [name for name in self.settings if name not in known]
        if others:
            raise InputError(f"{', '.join(others)}: a {self.name} has no such setting")
        check_policy(self.long_texts)
        if self.paired and not self.takes_single_texts and self.long_texts != TRUNCATE:
            raise InputError(
                f"{LONG_TEXTS} {self.long_texts}: goes with single texts, not with pairs"
            )

    @property
    def long_texts(self) -> str:
        """What is done with a text that is longer than an input, one of `long_texts.POLICIES`."""
        return self.settings.get(LONG_TEXTS, TRUNCATE)

    @property
    def cuts_windows(self) -> bool:
        """Whether a text longer than an input becomes several, so that none of it is lost."""
        return self.long_texts == WINDOWS

    def mediapipe_caveat(self, lowercase: bool) -> str | None:
        """Why MediaPipe gives other results than the package's own tokenizer; None where it does not."""
        paired = self.paired and not self.takes_single_texts
        if lowercase or paired or not self.opens_in_mediapipe:
            return None
        return (
            "the model is cased, but MediaPipe lowercases ASCII letters whatever a package says, and gives "
            "other results: train an uncased model for it, or run the package in LiteRT on cased tokens"
        )

    @property
    def lowest_score(self) -> float | None:
        """The score below which no label is given, where all labels share it; None: there is none."""
        return None

    def update_settings(self, settings: Mapping[str, Any]) -> Head:
        """The same head with other settings; `InputError` for ones that it does not have."""
        return dataclasses.replace(self, settings={**self.settings, **settings})

    def for_plain_text(self) -> Head:
        """The head that takes texts as people write them, where this one's have a form of their own."""
        return self

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        """Whether a `transformers` folder with the head's layers and class is this one's by its config."""
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
        return [self._requests(text, pair, encoder) for text, pair in rows]

    def _requests(self, text: str, pair: str | None, encoder: TextEncoder) -> list[Request]:
        if pair is not None or self.long_texts == TRUNCATE:
            inputs, truncated = encoder.counted_inputs(text, pair)
            return [Request(inputs, truncated=truncated)]
        parts, truncated = cut(encoder, text, self.long_texts)
        first, *others = map(encoder.join, parts)
        return [Request(first, truncated=truncated), *map(Request, others)]

    def keras_inputs(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The Keras model's inputs for a batch of the package's, `[n, tokens]` each."""
        return inputs

    def named_outputs(self, outputs: Any) -> dict[str, np.ndarray]:
        """What the Keras model returns, by the package's names and in its order."""
        return {output.name: output.from_keras(outputs) for output in self.outputs}

    def mean_output(self, outputs: Sequence[Outputs]) -> np.ndarray:
        """The only output, as its mean over the inputs of one text."""
        (output,) = self.outputs
        return output.mean([values[output.name] for values in outputs])

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Any:
        """The result for a row, from the outputs of its requests."""
        return {name: values.argmax(-1) for name, values in outputs[0].items()}

    def table_cells(self, result: Any) -> tuple[str, ...]:
        """A result in the `table_columns`, each on one line."""
        return ()

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


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability of each logit."""
    # By tanh, which overflows nowhere.
    return (np.tanh(logits / 2) + 1) / 2


_ACTIVATIONS = {"softmax": softmax, "sigmoid": sigmoid}
