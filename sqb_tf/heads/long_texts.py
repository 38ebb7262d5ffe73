"""What a model sees of a text that is longer than its input: the beginning, both ends, or all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.text.encoder import TextEncoder

# The setting, and its values.
LONG_TEXTS = "long_texts"
TRUNCATE, HEAD_TAIL, WINDOWS = "truncate", "head-tail", "windows"
POLICIES = (TRUNCATE, HEAD_TAIL, WINDOWS)
# Of both ends, the beginning's share: 128 of 510 tokens in Sun et al. 2019 (arXiv 1905.05583), section 5.3.1.
HEAD_SHARE = 0.25
# Windows overlap by a quarter: words at the edge of one have context in the other.
STRIDE_SHARE = 0.75

# First and end token of the stretches of a text that one input holds.
Piece = list[tuple[int, int]]


def check_policy(policy: object) -> None:
    """`InputError` unless it is one of `POLICIES`."""
    if policy not in POLICIES:
        raise InputError(f"{LONG_TEXTS} {policy!r}: expected one of {', '.join(POLICIES)}")


def pieces(begins_word: np.ndarray, room: int, policy: str) -> list[Piece]:
    """What each input holds of a text.

    Both ends and windows begin and end where a word does, unless a word is longer than its stretch.

    Args:
        begins_word: whether each token begins a word, bool `[tokens]`.
        room: tokens of an input, without special ones.
        policy: one of `POLICIES`.
    """
    count = len(begins_word)
    if count <= room or policy == TRUNCATE:
        return [[(0, min(count, room))]]
    if policy == WINDOWS:
        stride = max(int(STRIDE_SHARE * room), 1)
        return [[span] for span in window_bounds(begins_word, room, stride)]
    starts = np.flatnonzero(begins_word)
    most = max(int(HEAD_SHARE * room), 1)
    before = starts[(starts > 0) & (starts <= most)]
    head = int(before[-1]) if len(before) else most
    after = starts[starts >= count - (room - head)]
    tail = int(after[0]) if len(after) else count - (room - head)
    return [[(0, head), (tail, count)]]


def cut(encoder: TextEncoder, text: str, policy: str) -> tuple[list[list[int]], int]:
    """The ids of each input without special tokens, and how many tokens of the text are in none."""
    ids = encoder.ids(text)
    room = encoder.seq_length - 2
    if len(ids) <= room:
        return [ids], 0
    cuts = pieces(encoder.begins_word[ids], room, policy)
    seen: np.ndarray = np.zeros(len(ids), bool)
    for begin, end in (stretch for piece in cuts for stretch in piece):
        seen[begin:end] = True
    parts = [[i for begin, end in piece for i in ids[begin:end]] for piece in cuts]
    return parts, int(len(ids) - seen.sum())


@dataclasses.dataclass(frozen=True)
class TrainingPieces:
    """Single texts as a policy cuts them: each input's text is an example with the label of the whole.

    Re-iterable. Pieces are whole words, so that the tokens of their texts are those that `cut` gives, but for
    a word that is longer than its stretch.
    """

    examples: Iterable[Example]
    encoder: TextEncoder
    policy: str

    def __iter__(self) -> Iterator[Example]:
        room = self.encoder.seq_length - 2
        for example in self.examples:
            ids, offsets = self.encoder.with_offsets(example.text)
            if len(ids) <= room:
                yield example
                continue
            for piece in pieces(self.encoder.begins_word[ids], room, self.policy):
                text = " ".join(_stretch(example.text, offsets, *span) for span in piece)
                yield dataclasses.replace(example, text=text)


def truncated_tokens(result: Any) -> int:
    """How many tokens of a row the model has not seen, by its result."""
    # Tags and answers have none: their windows hold all but what a word has more than an input.
    return getattr(result, "truncated", 0)


def _stretch(text: str, offsets: np.ndarray, begin: int, end: int) -> str:
    return text[offsets[begin, 0] : offsets[end - 1, 1]] if end > begin else ""


def window_bounds(begins: np.ndarray, room: int, stride: int) -> list[tuple[int, int]]:
    """First and end token of each window of a text; together they hold every word's first token.

    Args:
        begins: which of the text's tokens begin a word, bool `[tokens]`.
        room: tokens of a window at most; of a longer word it holds the first ones.
        stride: tokens between the starts of two windows at most, where a word is not longer.
    """
    words: np.ndarray = np.append(np.flatnonzero(begins), len(begins))
    bounds, begin = [], 0
    while True:
        end = _last_word(words, begin, begin + room)
        bounds.append((begin, min(end, begin + room)))
        if end == len(begins):
            return bounds
        begin = min(_last_word(words, begin, begin + stride), end)


def _last_word(words: np.ndarray, begin: int, limit: int) -> int:
    """The last start of a word in `(begin, limit]`, or the next one where there is none."""
    index = int(np.searchsorted(words, limit, side="right")) - 1
    if words[index] <= begin:
        index = min(int(np.searchsorted(words, begin, side="right")), len(words) - 1)
    return int(words[index])
