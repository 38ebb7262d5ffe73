"""Inputs of real text: each text at its own length, or joined and cut to a length. Never random ids.

Random ids would touch rows all over the embedding table, as no sentence does, and miss the caches.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from sqb_tf.data.delimited import DelimitedFile
from sqb_tf.data.lines import numbered_lines
from sqb_tf.data.task import DEMO, Task
from sqb_tf.errors import InputError
from sqb_tf.text.encoder import MIN_SEQ_LENGTH

from ..runtime.runner import Runner


@dataclasses.dataclass(frozen=True)
class Text:
    """(text, pair or None) tuples, and the file or split they come from.

    Raises:
        InputError: no texts.
    """

    examples: list[tuple[str, str | None]]
    source: str

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError(f"{self.source}: no texts in it: expected at least one")

    @classmethod
    def demo(cls) -> Text:
        """The dev sentences of the shipped demo."""
        path = DEMO / "dev.tsv"
        return cls([(e.text, e.pair) for e in DelimitedFile(path)], str(path))

    @classmethod
    def from_task(cls, task: Task) -> Text:
        """The dev split of a task."""
        split = task.split("dev")
        return cls([(e.text, e.pair) for e in split], split.name)

    @classmethod
    def from_file(cls, path: str | Path, limit: int | None = None) -> Text:
        """The first `limit` non-blank lines of a file; a tab separates the texts of a pair."""
        lines = (line.rstrip("\r\n") for _, line in numbered_lines(path))
        parts = (line.partition("\t") for line in lines if line.strip())
        examples = ((text, pair if tab else None) for text, tab, pair in parts)
        return cls(list(itertools.islice(examples, limit)), str(path))


def encode_texts(runner: Runner, text: Text) -> list[dict[str, np.ndarray]]:
    """Inputs `[1, tokens]` of every text at its own length, by the package's encoder."""
    return runner.inputs(text.examples)


def encode_length(runner: Runner, text: Text, length: int) -> dict[str, np.ndarray]:
    """Inputs `[1, length]` without padding: the texts joined, then cut.

    Too few texts are repeated. A package of pairs gets two such runs of text, even if `text` has no pairs.

    Raises:
        InputError: a length too short to hold text, or texts without a token.
    """
    if length < MIN_SEQ_LENGTH:
        raise InputError(f"length {length}: expected at least {MIN_SEQ_LENGTH} tokens")
    # Every text has a token or more, so as many texts as tokens are enough.
    examples = list(itertools.islice(itertools.cycle(text.examples), length))
    first = " ".join(text for text, _ in examples)
    second = " ".join(pair or text for text, pair in examples) if runner.paired else None
    inputs = runner.encoder.with_seq_length(length).inputs(first, second)
    if inputs["input_word_ids"].shape[1] < length:
        raise InputError(f"{text.source}: too little text for {length} tokens: expected words")
    return inputs
