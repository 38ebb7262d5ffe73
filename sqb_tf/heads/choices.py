"""The right one of several texts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sqb_tf.data.delimited import DelimitedFile, Example
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import (
    IndexedKind,
    Outputs,
    Passage,
    Row,
)

# Parts the choices in an example's pair.
PARTING = "\t"


@dataclasses.dataclass(frozen=True)
class ChoicesFile(DelimitedFile):
    """A delimited file with several choices for each text, and the place of the right one as its label.

    The choices are the columns `ending0`, `ending1` and so on (SWAG's, Zellers et al. 2018) or, in JSONL, a
    list `choices`. With a pair column, its text begins each of them. An example's pair is the choices, parted
    by tabs; other white space in them is one space.

    Raises (while iterating):
        InputError: as `DelimitedFile`, naming the line: fewer than two choices, another number of them than
            in the first row, a label that is not the place of one.
    """

    def __iter__(self) -> Iterator[Example]:
        expected = None
        for line, row in self.rows():
            text = self.cell(line, row, self.columns.text)
            choices = self._choices(line, row)
            expected = expected or len(choices)
            if len(choices) != expected:
                raise InputError(
                    f"{self.path}:{line}: {len(choices)} choices, the rows before have {expected}: "
                    "expected as many in every row"
                )
            label = self.cell(line, row, self.columns.label)
            if label is not None and label not in map(str, range(expected)):
                raise InputError(
                    f"{self.path}:{line}: label {label!r}: expected the place of the right choice, "
                    f"0 to {expected - 1}"
                )
            yield Example(text, PARTING.join(choices), label)

    def _choices(self, line: int, row: dict[str, Any]) -> list[str]:
        start = self.cell(line, row, self.columns.pair)
        found = row.get("choices")
        if not isinstance(found, list):
            names = [name for name in row if name and re.fullmatch(r"ending\d+", name)]
            found = [self.cell(line, row, f"ending{i}") for i in range(len(names))]
        if len(found) < 2 or not all(isinstance(c, str) and c.strip() for c in found):
            raise InputError(
                f"{self.path}:{line}: choices {found!r:.80}: expected two texts or more, in columns ending0, "
                "ending1 and so on, or in JSONL as a list `choices`"
            )
        return [one_line(c if start is None else f"{start} {c}") for c in found]


def one_line(choice: str) -> str:
    """A choice with single spaces for white space: the tokens are the same, and tabs part choices."""
    return " ".join(choice.split())


@dataclasses.dataclass(frozen=True)
class Choice:
    """The result for a text with several choices: the place of the best one, and every one's probability."""

    choice: int
    scores: tuple[float, ...]

    def line(self, text: str, pair: str | None) -> str:
        """For people: place, its score, text and choice."""
        chosen = pair.split(PARTING)[self.choice]
        return f"{self.choice}\t{self.scores[self.choice]:.4f}\t{text}\t{chosen}"


class ChoiceKind(IndexedKind):
    """One of several choices: an example's pair is them, its label the place of the right one."""

    fixed_labels = ()

    def labels_of(self, example: Example, source: str) -> Iterable[str]:
        places = map(str, range(len(example.pair.split(PARTING))))
        if example.label not in places:
            raise InputError(f"{source}: label {example.label!r}: expected the place of a choice")
        return ()

    def target(self, example: Example) -> int:
        return int(example.label)

    def ragged(self, preprocessor: Any, texts: Any, pairs: Any) -> tuple[Any, Any]:
        """As of every kind, of each choice: `[n, choices, None]`."""
        return preprocessor.choices(texts, pairs, PARTING)

    def keras_inputs(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: np.asarray(values)[:, np.newaxis] for name, values in inputs.items()}

    def _passages(self, preprocessor: Any, rows: Sequence[Row]) -> list[list[Passage]]:
        return [[Passage(text, choice) for choice in pair.split(PARTING)] for text, pair in rows]

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
