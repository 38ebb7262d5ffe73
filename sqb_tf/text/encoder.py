"""Texts or pairs of texts -> the three model inputs, in NumPy: the runtime's encoder, without TensorFlow.

Its ids are exactly those of the tf.data pipelines (tokenizer.py, preprocessing.py); why it is our own and
what that costs is in docs/decisions/001-text-encoder.md.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.text.characters import Characters
from sqb_tf.text.vocabulary import REQUIRED_TOKENS, begins_word, check_vocabulary, read_vocabulary
from sqb_tf.text.wordpiece import WordPiece

# [CLS] a [SEP] b [SEP]: the shortest input that holds a token of each text.
MIN_SEQ_LENGTH = 5


def check_seq_length(seq_length: int, max_position_embeddings: int) -> None:
    """`InputError` unless inputs of `seq_length` tokens can be made and the model has positions for them."""
    if not MIN_SEQ_LENGTH <= seq_length <= max_position_embeddings:
        raise InputError(
            f"seq_length {seq_length}: expected {MIN_SEQ_LENGTH} to {max_position_embeddings} "
            "(the model's max_position_embeddings)"
        )


class TextEncoder:
    """`[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]`, truncated to `seq_length` tokens.

    The longer of two texts is truncated first (`longest_first` of `transformers`).

    Args:
        vocabulary: the tokens in the order of their ids, or the path of a `vocab.txt`.
        lowercase: fold case and strip accents, as BERT's uncased models do.
        seq_length: tokens of an input at most, `MIN_SEQ_LENGTH` or more.

    Raises:
        InputError: a vocabulary without the special tokens or with one token twice, a `seq_length` that
            is too short; from every method, text with a lone surrogate.
    """

    def __init__(
        self, vocabulary: Sequence[str] | str | Path, lowercase: bool, seq_length: int
    ) -> None:
        if isinstance(vocabulary, (str, Path)):
            vocabulary = read_vocabulary(vocabulary)
        else:
            check_vocabulary(vocabulary)
        _check_shortest(seq_length)
        self.vocabulary = list(vocabulary)
        self.lowercase = lowercase
        self.seq_length = seq_length
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = map(
            self.vocabulary.index, REQUIRED_TOKENS
        )
        characters = Characters(lowercase)
        self._normalize = characters.normalize
        self._wordpiece = WordPiece(self.vocabulary, self.unk_id, characters)

    @functools.cached_property
    def begins_word(self) -> np.ndarray:
        """Whether each token begins a word, bool `[vocab_size]`."""
        return begins_word(self.vocabulary)

    def with_seq_length(self, seq_length: int) -> TextEncoder:
        """The same encoder for inputs of another length."""
        _check_shortest(seq_length)
        encoder = copy.copy(self)  # which shares what is learned about characters
        encoder.seq_length = seq_length
        return encoder

    def ids(self, text: str) -> list[int]:
        """The ids of a text: no special tokens, not truncated."""
        return self._wordpiece.ids(text.translate(self._normalize))

    def with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a text, int32 `[n]`, and their offsets in it, int64 `[n, 2]`: first and end character.

        The characters are those of `text` itself, before normalization; the end is exclusive. If one
        character becomes several tokens (as a Hangul syllable does), each of them has its offsets.
        """
        ids, offsets, _ = self.with_spellings(text)
        return ids, offsets

    def with_spellings(self, text: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """As `with_offsets`, and the normalized text of each token, whether the vocabulary has it or not."""
        replacements = [self._normalize[ord(character)] for character in text]
        # The character of the text that each normalized one is from; at the end, the text's end.
        origins: np.ndarray = np.repeat(np.arange(len(text) + 1), [*map(len, replacements), 1])
        normalized = "".join(replacements)
        pieces = self._wordpiece.pieces(normalized)
        ids, first, end = np.array(pieces, np.int64).reshape(-1, 3).T
        offsets = np.stack([origins[first], origins[end]], axis=1)
        # A token that ends inside a character ends with the last token of that character.
        for i in np.flatnonzero(offsets[:-1, 0] >= offsets[:-1, 1])[::-1]:
            offsets[i, 1] = offsets[i + 1, 1]
        return ids.astype(np.int32), offsets, [normalized[begin:end] for _, begin, end in pieces]

    def words(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a text of words separated by single spaces, and each word's first one among them.

        Returns:
            int32 `[tokens]`, not truncated, and int64 `[words]`; -1: the word has no token.
        """
        words = [self.ids(word) for word in text.split(" ")]
        sizes = np.array([len(ids) for ids in words])
        ids: np.ndarray = np.array([*itertools.chain(*words)], np.int32)
        return ids, np.where(sizes > 0, np.cumsum(sizes) - sizes, -1)

    def inputs(self, text: str, pair: str | None = None) -> dict[str, np.ndarray]:
        """The inputs of one text or pair at its own length, int32 `[1, tokens]`."""
        return self.counted_inputs(text, pair)[0]

    def counted_inputs(
        self, text: str, pair: str | None = None
    ) -> tuple[dict[str, np.ndarray], int]:
        """The inputs of one text or pair, and how many of their tokens were truncated."""
        ids, pair_ids = self.ids(text), None if pair is None else self.ids(pair)
        inputs = self.join(ids, pair_ids)
        whole = len(ids) + 2 if pair_ids is None else len(ids) + len(pair_ids) + 3
        return inputs, whole - inputs["input_word_ids"].shape[1]

    def join(
        self, ids: Iterable[int], pair_ids: Iterable[int] | None = None
    ) -> dict[str, np.ndarray]:
        """The inputs of one text or pair from its `ids`, truncated, int32 `[1, tokens]`."""
        row, first = self._row(list(ids), None if pair_ids is None else list(pair_ids))
        types: np.ndarray = np.zeros((1, len(row)), np.int32)
        types[0, first:] = 1
        return {
            "input_word_ids": np.array([row], np.int32),
            "input_mask": np.ones((1, len(row)), np.int32),
            "input_type_ids": types,
        }

    def _row(self, first: Sequence[int], second: Sequence[int] | None) -> tuple[list[int], int]:
        """The ids of an input with its special tokens, and where those of the pair begin."""
        if second is None:
            row = [self.cls_id, *first[: self.seq_length - 2], self.sep_id]
            return row, len(row)
        room = self.seq_length - 3
        # The closed form of "drop a token of the longer text, of the second if they are equally long".
        first = first[: max(room - len(second), (room + 1) // 2)]
        second = second[: room - len(first)]
        row = [self.cls_id, *first, self.sep_id, *second, self.sep_id]
        return row, len(first) + 2


def _check_shortest(seq_length: int) -> None:
    if seq_length < MIN_SEQ_LENGTH:
        raise InputError(f"seq_length {seq_length}: expected at least {MIN_SEQ_LENGTH}")
