"""Contexts in pieces that fit the inputs, and training targets in them.

As BERT does for SQuAD (Devlin et al. 2019, sections 4.2 and 4.3, and its run_squad.py), except that windows
begin and end between words, so that the training pipeline can tokenize them as texts of their own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sqb_tf.data.example import Example, TextPair
from sqb_tf.data.squad import parse_answers
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Request
from sqb_tf.heads.long_texts import window_bounds
from sqb_tf.text.encoder import TextEncoder

# The defaults of run_squad.py: most tokens of a question, and the step from window to window.
MAX_QUESTION, DOC_STRIDE = 64, 128
# Questions that are cut into windows at once.
BLOCK = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Window(Request):
    """A question with a part of its context.

    Attributes:
        first: position of the part's first token in the inputs.
        offsets: first and end character in the context of each token of the part, `[tokens, 2]`.
        begins_word: whether each token of the part begins a word, bool `[tokens]`.
        question_end: the character at which the question is cut.
    """

    first: int
    offsets: np.ndarray
    begins_word: np.ndarray
    question_end: int


def default_stride(seq_length: int) -> int:
    """BERT's 128 tokens; a third of windows shorter than its 384."""
    return min(DOC_STRIDE, seq_length // 3)


def check_stride(seq_length: int, doc_stride: int | None) -> int:
    """The stride for inputs of `seq_length` tokens; `InputError` for one that would leave text out."""
    if doc_stride is None:
        return default_stride(seq_length)
    room = seq_length - 3 - _longest_question(seq_length)
    if not 0 < doc_stride <= room:
        raise InputError(
            f"doc_stride {doc_stride}: expected 1 to {room}, the tokens of the context that are sure to be "
            f"in a window: seq_length {seq_length} less 3 and a question of {_longest_question(seq_length)}"
        )
    return doc_stride


def _longest_question(seq_length: int) -> int:
    """Tokens of a question at most: half of the room in short inputs."""
    return min(MAX_QUESTION, (seq_length - 3) // 2)


def windows(
    encoder: TextEncoder, rows: Sequence[TextPair], doc_stride: int | None = None
) -> list[list[Window]]:
    """The windows of each (question, context); together they hold all of the context.

    A window starts at the last word that is at most `doc_stride` tokens after the start of the window before,
    and ends where a word does. What a word longer than a whole window has left over is dropped. Long
    questions are cut.
    """
    # Questions on one paragraph follow each other; each text is tokenized once.
    tokens = {
        text: encoder.with_offsets(text)
        for text in dict.fromkeys(itertools.chain(*rows))
        if text is not None
    }
    longest = _longest_question(encoder.seq_length)
    windows = []
    for question, context in rows:
        asked, question_offsets = tokens[question]
        asked = asked[:longest]
        question_end = int(question_offsets[len(asked) - 1, 1]) if len(asked) else 0
        ids, offsets = tokens[context or ""]
        room = encoder.seq_length - 3 - len(asked)
        stride = min(doc_stride or default_stride(encoder.seq_length), room)
        begins = encoder.begins_word[ids]
        windows.append(
            [
                Window(
                    encoder.join(asked, ids[first:end]),
                    len(asked) + 2,
                    offsets[first:end],
                    begins[first:end],
                    question_end,
                )
                for first, end in window_bounds(begins, room, stride)
            ]
        )
    return windows


def answer_positions(window: Window, start: int, text: str) -> tuple[int, int]:
    """Positions in the inputs of an answer's first and last token; 0 and 0 if part of it is missing.

    Args:
        window: of the context.
        start: the answer's first character in the context.
        text: the answer.
    """
    start, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
    tokens = np.flatnonzero((window.offsets[:, 1] > start) & (window.offsets[:, 0] < end))
    if not len(tokens):
        return 0, 0
    first, last = int(tokens[0]), int(tokens[-1])
    cut_before = first == 0 and window.offsets[first, 0] > start
    cut_behind = last == len(window.offsets) - 1 and window.offsets[last, 1] < end
    if cut_before or cut_behind:
        return 0, 0
    return window.first + first, window.first + last


class TrainingWindows:
    """The windows of all questions, each an example whose label is its target's two positions.

    These are the positions of the answer's first and last token; both 0, that of [CLS], where a window does
    not hold the whole answer.
    """

    def __init__(
        self, examples: Iterable[Example], encoder: TextEncoder, doc_stride: int | None
    ) -> None:
        self._examples, self._encoder, self._doc_stride = examples, encoder, doc_stride

    def __iter__(self) -> Iterator[Example]:
        examples = iter(self._examples)
        while block := list(itertools.islice(examples, BLOCK)):
            cut = windows(self._encoder, [e.texts for e in block], self._doc_stride)
            for example, parts in zip(block, cut, strict=True):
                answers = parse_answers(example, "the data")
                for window in parts:
                    positions = answer_positions(window, *answers[0]) if answers else (0, 0)
                    question = example.text[: window.question_end]
                    part = _part(example.pair or "", window)
                    yield Example(question, part, "{} {}".format(*positions), example.id)


def _part(context: str, window: Window) -> str:
    """The text of a window's part of the context."""
    if not len(window.offsets):
        return ""
    return context[window.offsets[0, 0] : window.offsets[-1, 1]]
