"""The words of a plain text, as tagged words are trained on, with their characters in the text.

Models learn from files of separated words (CoNLL): a punctuation mark is mostly a word of its own there, but
`@name`, `U.S.` and `O'Neill` are single words, of whose tokens only the first one was trained. What is read
where, and what that gains, is in docs/decisions/095-entities-of-plain-text.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from sqb_tf.text.characters import is_ideograph, is_word
from sqb_tf.text.encoder import TextEncoder

APOSTROPHES = "'\u2019"
# What English joins to a word with an apostrophe, and CoNLL's files separate from it.
CLITICS = {"s", "d", "m", "ll", "re", "ve"}
# Marks that are the beginning of a word: hashtags and names of users.
SIGILS = "#@"


@dataclasses.dataclass(frozen=True, eq=False)
class PlainWords:
    """The tokens of a text, and its words.

    Attributes:
        ids: of the text, int32 `[tokens]`, not truncated.
        first: each word's first token, int64 `[words]`.
        spans: first and end character of each word in the text, int64 `[words, 2]`.
    """

    ids: np.ndarray
    first: np.ndarray
    spans: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Piece:
    """What BERT's basic tokenizer makes a word, a mark included: characters, first token, normalized text."""

    start: int
    end: int
    token: int
    text: str

    @property
    def is_mark(self) -> bool:
        """Whether it is punctuation, as BERT has it: `$` and `+` too."""
        return len(self.text) == 1 and is_word(self.text) and not self.is_ideograph

    @property
    def is_ideograph(self) -> bool:
        return len(self.text) == 1 and is_ideograph(self.text)


def plain_words(encoder: TextEncoder, text: str) -> PlainWords:
    """The words of a text of any spacing.

    BERT's basic tokenizer separates words at white space, at CJK ideographs, each of which is a word, and at
    marks. Marks inside are part of a word (`U.S.`, `al-Mallohi`), and so are a `#` or `@` before it and the
    last period of an abbreviation. Other marks at its ends, and an `'s` or the like, are no words.

    Raises:
        InputError: a lone surrogate.
    """
    ids, offsets, spellings = encoder.with_spellings(text)
    words = []
    for chunk in _chunks(_pieces(encoder.begins_word[ids], offsets, spellings)):
        if word := _word(chunk):
            words.append((word[0].token, word[0].start, word[-1].end))
    token, start, end = np.array(words, np.int64).reshape(-1, 3).T
    return PlainWords(ids, token, np.stack([start, end], axis=1))


def _pieces(begins: np.ndarray, offsets: np.ndarray, spellings: list[str]) -> list[_Piece]:
    """The words and marks of BERT's basic tokenizer, from the tokens."""
    pieces = []
    (firsts,) = np.nonzero(begins)
    for first, end in zip(firsts.tolist(), [*firsts[1:].tolist(), len(begins)]):
        start, stop = int(offsets[first, 0]), int(offsets[end - 1, 1])
        pieces.append(_Piece(start, stop, first, "".join(spellings[first:end])))
    return pieces


def _chunks(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces between white space; an ideograph alone."""
    chunk: list[_Piece] = []
    for piece in pieces:
        if chunk:
            gap = piece.start - chunk[-1].end  # below 0: both are of one character, as of `㍿`
            if gap > 0 or (gap == 0 and (piece.is_ideograph or chunk[-1].is_ideograph)):
                yield chunk
                chunk = []
        chunk.append(piece)
    if chunk:
        yield chunk


def _word(chunk: list[_Piece]) -> list[_Piece]:
    """The pieces of a chunk that are its word; none, where all of them are marks."""
    first, end = _without_outer_marks(chunk, 0, len(chunk))
    has_clitic = end - first > 2 and chunk[end - 2].text in APOSTROPHES
    if has_clitic and chunk[end - 1].text.lower() in CLITICS:
        first, end = _without_outer_marks(chunk, first, end - 2)
    if first == end:
        return []
    if _is_abbreviation(chunk[first : end + 1]):
        end += 1
    if first and chunk[first - 1].text in SIGILS:
        first -= 1
    return chunk[first:end]


def _is_abbreviation(pieces: list[_Piece]) -> bool:
    """Whether pieces end with a period, a letter and a period, as those of `U.S.` do."""
    *_, before, letter, last = ["", "", "", *(piece.text for piece in pieces)]
    return before == last == "." and len(letter) == 1 and letter.isalpha()


def _without_outer_marks(chunk: list[_Piece], first: int, end: int) -> tuple[int, int]:
    """The same range of pieces without the marks at both ends."""
    while first < end and chunk[first].is_mark:
        first += 1
    while first < end and chunk[end - 1].is_mark:
        end -= 1
    return first, end
