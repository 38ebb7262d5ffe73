"""The right one of several choices."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.choices import SEPARATOR, split_choices
from sqb_tf.data.example import Example, TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Output, Outputs, Request, softmax
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.metrics import accuracy
from sqb_tf.heads.task_head import IndexedHead
from sqb_tf.text.encoder import TextEncoder


@dataclasses.dataclass(frozen=True)
class Choice:
    """The result for a text with several choices: the index of the best one, and each one's probability.

    `truncated` counts the tokens of text and choices that the model has not seen.
    """

    choice: int
    scores: tuple[float, ...]
    truncated: int = 0

    def line(self, text: str, pair: str | None) -> str:
        """For people: index, its score, text and choice."""
        chosen = split_choices(pair)[self.choice]
        return f"{self.choice}\t{self.scores[self.choice]:.4f}\t{text}\t{chosen}"


class MultipleChoiceHead(IndexedHead):
    """One of several choices: an example's pair is the choices, its label the index of the right one."""

    name = "multiple_choice"
    keras_class = "sqb_tf.model.heads.SqueezeBertMultipleChoice"
    fixed_labels = ()
    always_paired = True
    pooled_only = True
    outputs = (Output("logits"),)
    hf_class = "ForMultipleChoice"
    hf_layers: ClassVar = {"choice_head": "classifier"}
    metrics: ClassVar = {"accuracy": accuracy}
    judges_probabilities = True

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        indices = map(str, range(len(split_choices(example.pair))))
        if example.label_text not in indices:
            raise InputError(f"{source}: label {example.label!r}: expected the index of a choice")
        return ()

    def target(self, example: Example) -> int:
        return int(example.label_text)

    def ragged(self, preprocessor: Any, texts: Any, pairs: Any) -> tuple[Any, Any]:
        """As for every head, but for each choice: `[n, choices, None]`."""
        return preprocessor.choices(texts, pairs, SEPARATOR)

    def keras_inputs(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Each request is one choice: `[n, 1, tokens]`."""
        return {name: np.asarray(values)[:, np.newaxis] for name, values in inputs.items()}

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        return [
            [self._requests(text, choice, encoder)[0] for choice in split_choices(pair)]
            for text, pair in rows
        ]

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Choice:
        logits = np.array([output["logits"][0] for output in outputs], float)
        truncated = sum(request.truncated for request in requests)
        return Choice(int(logits.argmax()), tuple(softmax(logits).tolist()), truncated)

    def decisions(self, result: Choice) -> list[int]:
        return [result.choice]

    def judge(self, example: Example, result: Choice) -> Iterable[Judgement]:
        """The choices themselves, not their indices."""
        choices = split_choices(example.pair)
        gold, predicted = choices[int(example.label_text)], choices[result.choice]
        right = str(result.choice) == example.label_text
        yield Judgement(gold, predicted, right, result.scores[result.choice])

    def metric_inputs(self, results: Sequence[Choice]) -> np.ndarray:
        """The indices of the choices, `[n]`."""
        return np.array([result.choice for result in results])

    def format_prediction(self, result: Choice, names: Mapping[str, str]) -> str:
        return str(result.choice)


HEAD = MultipleChoiceHead
