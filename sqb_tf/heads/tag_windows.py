"""Words in pieces that fit the inputs: each word is tagged, and learned, in one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.heads.head import Outputs, Request
from sqb_tf.heads.long_texts import window_bounds
from sqb_tf.heads.windows import default_stride
from sqb_tf.text.encoder import TextEncoder

# In the label of a training window: the word is learned in another one.
NOT_HERE = ""


@dataclasses.dataclass(frozen=True, eq=False)
class TagWindow(Request):
    """A part of a text, and the words whose tags are read in it.

    Attributes:
        words: their indices in the text, int64 `[words]`.
        positions: of their first tokens in the inputs, int64 `[words]`.
    """

    words: np.ndarray
    positions: np.ndarray


def tag_windows(encoder: TextEncoder, ids: np.ndarray, first: np.ndarray) -> list[TagWindow]:
    """The windows of a text; every word that has a token is tagged in exactly one of them.

    A text that fits is one window. Windows begin and end between words; of a word that is longer than a
    window, only the first tokens are seen.

    Args:
        encoder: of the model's vocabulary and input length.
        ids: the tokens of the text, int32 `[tokens]`.
        first: each word's first token, int64 `[words]`; -1: it has none, and is in no window.
    """
    return [
        TagWindow(encoder.join(ids[begin:end]), words, 1 + first[words] - begin)
        for begin, end, words in _parts(encoder, len(ids), first)
    ]


def _parts(
    encoder: TextEncoder, num_tokens: int, first: np.ndarray
) -> list[tuple[int, int, np.ndarray]]:
    """First and end token of each window, and the words that are tagged in it.

    A word is tagged where it has the most context: where the smaller of the numbers of tokens before and
    behind its first one is largest (run_squad.py of Devlin et al. 2019).
    """
    words = np.flatnonzero(first >= 0)
    tokens = first[words]
    begins: np.ndarray = np.zeros(num_tokens, bool)
    begins[tokens] = True
    begins[:1] = True  # a plain text may begin with marks, which are no words
    bounds = window_bounds(begins, encoder.seq_length - 2, default_stride(encoder.seq_length))
    largest: np.ndarray = np.full(len(words), -1)
    window_of: np.ndarray = np.zeros(len(words), np.int64)
    for window, (begin, end) in enumerate(bounds):
        held = slice(np.searchsorted(tokens, begin), np.searchsorted(tokens, end))
        context = np.minimum(tokens[held] - begin, end - 1 - tokens[held])
        better = context > largest[held]
        largest[held] = np.where(better, context, largest[held])
        window_of[held] = np.where(better, window, window_of[held])
    parts = [(begin, end, words[window_of == i]) for i, (begin, end) in enumerate(bounds)]
    return [part for part in parts if len(part[2])] or parts[:1]


def word_scores(
    windows: Sequence[TagWindow], outputs: Sequence[Outputs]
) -> tuple[np.ndarray, np.ndarray]:
    """The words of a text that have a token, in order, and the scores at each one's first.

    Args:
        windows: of the text.
        outputs: of each window: one, per token, `[tokens, labels]`.

    Returns:
        int64 `[words]` and float `[words, labels]`.
    """
    words = np.concatenate([window.words for window in windows])
    scores = np.concatenate(
        [values[window.positions] for window, o in zip(windows, outputs) for values in o.values()]
    )
    order = np.argsort(words)
    return words[order], scores[order]


class TaggedTrainingWindows:
    """The windows of all tagged texts, each an example whose label has the tags that are learned in it.

    A word is learned once, in the window in which it will be tagged: with the context that it will have, and
    so that a long text's words do not count more than those of others. In other windows its tag is
    `NOT_HERE`.
    """

    def __init__(self, examples: Iterable[Example], encoder: TextEncoder) -> None:
        self._examples, self._encoder = examples, encoder

    def __iter__(self) -> Iterator[Example]:
        for example in self._examples:
            ids, first = self._encoder.words(example.text)
            parts = _parts(self._encoder, len(ids), first)
            if len(parts) == 1:
                yield example
                continue
            texts, tags = example.text.split(" "), example.label_text.split(" ")
            for begin, end, words in parts:
                held = np.flatnonzero((first >= begin) & (first < end))
                learned = set(words.tolist())
                yield Example(
                    " ".join(texts[i] for i in held),
                    None,
                    " ".join(tags[i] if i in learned else NOT_HERE for i in held),
                    example.id,
                )
