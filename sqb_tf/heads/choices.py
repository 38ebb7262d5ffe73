"""The right one of several texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sqb_tf.data.choices import SEPARATOR, split_choices
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import (
    IndexedKind,
    Outputs,
    Passage,
    Row,
)
from sqb_tf.text.encoder import TextEncoder


@dataclasses.dataclass(frozen=True)
class Choice:
    """The result for a text with several choices: the place of the best one, and every one's probability."""

    choice: int
    scores: tuple[float, ...]

    def line(self, text: str, pair: str | None) -> str:
        """For people: place, its score, text and choice."""
        chosen = split_choices(pair)[self.choice]
        return f"{self.choice}\t{self.scores[self.choice]:.4f}\t{text}\t{chosen}"


class ChoiceKind(IndexedKind):
    """One of several choices: an example's pair is them, its label the place of the right one."""

    fixed_labels = ()

    def labels_of(self, example: Example, source: str) -> Iterable[str]:
        places = map(str, range(len(split_choices(example.pair))))
        if example.label not in places:
            raise InputError(f"{source}: label {example.label!r}: expected the place of a choice")
        return ()

    def target(self, example: Example) -> int:
        return int(example.label)

    def ragged(self, preprocessor: Any, texts: Any, pairs: Any) -> tuple[Any, Any]:
        """As of every kind, of each choice: `[n, choices, None]`."""
        return preprocessor.choices(texts, pairs, SEPARATOR)

    def keras_inputs(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: np.asarray(values)[:, np.newaxis] for name, values in inputs.items()}

    def _passages(self, encoder: TextEncoder, rows: Sequence[Row]) -> list[list[Passage]]:
        return [[Passage(text, choice) for choice in split_choices(pair)] for text, pair in rows]

    def result(self, row: Row, passages: Sequence[Passage], outputs: Sequence[Outputs]) -> Choice:
        logits = np.array([found["logits"][0] for found in outputs], float)
        weights = np.exp(logits - logits.max())
        return Choice(int(logits.argmax()), tuple((weights / weights.sum()).tolist()))

    def decisions(self, result: Choice) -> list[int]:
        return [result.choice]

    def outputs(self, results: Sequence[Choice]) -> np.ndarray:
        # Of some examples there may be more choices than of others.
        most = max(len(one.scores) for one in results)
        return np.array([[*one.scores, *[-1.0] * (most - len(one.scores))] for one in results])

    def answer(self, result: Choice, names: Mapping[str, str]) -> str:
        return str(result.choice)
