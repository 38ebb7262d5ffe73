"""What the texts of a data set are in tokens: how long they are, and whether a vocabulary suits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.survey.split_survey import example_text
from sqb_tf.text.encoder import TextEncoder

# No text is cut while its tokens are counted.
_ANY_LENGTH = 1 << 30
# Most characters whose tokens are counted: some seconds.
MOST_CHARACTERS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Examples in tokens.

    Attributes:
        lengths: of each example's input with its special tokens, int64 `[examples]`; of several inputs (as
            for the choices of one text) the longest.
        per_word: tokens of a word, on average.
        unknown: share of the tokens that are not in the vocabulary.
        windows: whether longer examples become several inputs, so that nothing is cut.
    """

    lengths: np.ndarray
    per_word: float
    unknown: float
    windows: bool

    def longer_than(self, seq_length: int) -> float:
        """The share of the examples that are longer than inputs of `seq_length` tokens."""
        return float(np.mean(self.lengths > seq_length))

    def percentile(self, percent: float) -> int:
        """The length that `percent` of the examples do not exceed."""
        return int(np.percentile(self.lengths, percent, method="inverted_cdf"))


def measure(examples: Iterable[Example], head: TaskHead, encoder: TextEncoder) -> Tokens | None:
    """The examples in tokens, or the first of them that have `MOST_CHARACTERS` together; None for none."""
    encoder = encoder.with_seq_length(_ANY_LENGTH)
    lengths: list[int] = []
    tokens = words = unknown = characters = 0
    for example in examples:
        if characters >= MOST_CHARACTERS:
            break
        characters += len(example_text(example))
        (requests,) = head.encode([example.texts], encoder)
        lengths.append(max(map(len, requests)))
        for request in requests:
            ids = request.inputs["input_word_ids"][0]
            ids = ids[(ids != encoder.cls_id) & (ids != encoder.sep_id)]
            tokens += len(ids)
            words += int(encoder.begins_word[ids].sum())
            unknown += int((ids == encoder.unk_id).sum())
    if not lengths:
        return None
    return Tokens(
        np.array(lengths),
        tokens / max(words, 1),
        unknown / max(tokens, 1),
        head.cuts_windows,
    )
