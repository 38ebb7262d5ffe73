"""Texts or pairs of texts -> the three model inputs, in tf.data or eagerly."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.tokenizer import WordPieceTokenizer


class Preprocessor:
    """`[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]`, truncated to `seq_length` tokens.

    The longer of two texts is truncated first (`longest_first` of `transformers`).
    """

    def __init__(self, tokenizer: WordPieceTokenizer, seq_length: int) -> None:
        self.tokenizer = tokenizer
        self.seq_length = seq_length

    @functools.cached_property
    def encoder(self) -> TextEncoder:
        """The same encoding outside the graph, with offsets and word positions."""
        tokenizer = self.tokenizer
        return TextEncoder(tokenizer.vocabulary, tokenizer.lowercase, self.seq_length)

    def ragged(
        self, texts: Sequence[str] | tf.Tensor, pairs: Sequence[str] | tf.Tensor | None = None
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Word ids and type ids of each text, unpadded, int32 `[n, None]`."""
        first = self.tokenizer(texts)
        if pairs is None:
            segments = [_truncate(first, self.seq_length - 2)]
        else:
            second, budget = self.tokenizer(pairs), self.seq_length - 3
            # The closed form of "drop a token of the longer text, of the second if they are equal".
            kept = tf.maximum(budget - second.row_lengths(), (budget + 1) // 2)
            first = _truncate(first, kept)
            segments = [first, _truncate(second, budget - first.row_lengths())]
        word_ids, type_ids = tf_text.combine_segments(
            segments, self.tokenizer.cls_id, self.tokenizer.sep_id
        )
        return word_ids, tf.cast(type_ids, tf.int32)

    def choices(
        self, texts: tf.Tensor, choices: tf.Tensor, separator: str
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Word ids and type ids of each text paired with each of its choices, int32 `[n, choices, None]`.

        `choices` `[n]` has the choices of each text, separated by `separator`.
        """
        each = tf.strings.split(choices, separator)
        ids = self.ragged(tf.gather(texts, each.value_rowids()), each.flat_values)
        return each.with_values(ids[0]), each.with_values(ids[1])

    def apart(
        self, texts: Sequence[str] | tf.Tensor, pairs: Sequence[str] | tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Word ids and type ids of both texts of each pair, as inputs of their own, int32 `[n, 2, None]`."""
        ids = self.ragged(tf.reshape(tf.stack([texts, pairs], axis=1), [-1]))
        word_ids, type_ids = (tf.RaggedTensor.from_uniform_row_length(x, 2) for x in ids)
        return word_ids, type_ids

    def word_positions(self, texts: Sequence[str] | tf.Tensor) -> tf.RaggedTensor:
        """The position of each word's first token in the inputs of `texts`, int64 `[n, None]`.

        Words are separated by single spaces. A word without a token, or truncated, has -1.
        """
        words = tf.strings.split(texts, " ")
        sizes = self.tokenizer(words.flat_values).row_lengths()
        ends = tf.cumsum(sizes)
        # Tokens before the word in the batch, minus those before its text.
        before = ends - sizes
        first = tf.gather(tf.concat([[0], ends], 0), words.row_starts())
        positions = 1 + before - tf.gather(first, words.value_rowids())
        kept = (sizes > 0) & (positions < self.seq_length - 1)
        return words.with_values(tf.where(kept, positions, -1))

    def tag_targets(
        self, texts: tf.Tensor, tags: tf.Tensor, length: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Tag ids and weights `[n, length]` of `texts`, whose `tags` are ids separated by spaces.

        A word's tag is at its first token, with a weight of 1; all other positions have a weight of 0, and so
        has a word whose tag id is -1.
        """
        positions = self.word_positions(texts)
        ids = tf.strings.to_number(tf.strings.split(tags, " ").flat_values, tf.int32)
        kept = (positions.flat_values >= 0) & (ids >= 0)
        rows = tf.boolean_mask(positions.value_rowids(), kept)
        where = tf.stack([rows, tf.boolean_mask(positions.flat_values, kept)], axis=1)
        shape = tf.stack([positions.nrows(), tf.cast(length, tf.int64)])
        ids = tf.scatter_nd(where, tf.boolean_mask(ids, kept), shape)
        return ids, tf.scatter_nd(where, tf.ones_like(rows, tf.float32), shape)

    @staticmethod
    def length(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """The length that a batch is padded to."""
        return tf.shape(inputs["input_word_ids"])[1]

    def pad(
        self, word_ids: tf.RaggedTensor, type_ids: tf.RaggedTensor, length: int | None = None
    ) -> dict[str, tf.Tensor]:
        """The inputs of the model, int32 `[n, length]`; `length` defaults to the longest row.

        Ids of choices `[n, choices, None]` become `[n, choices, length]`, those of two texts likewise.
        """
        shape = None if length is None else (*[None] * (word_ids.shape.rank - 1), length)
        return {
            "input_word_ids": word_ids.to_tensor(self.tokenizer.pad_id, shape=shape),
            "input_mask": tf.ones_like(word_ids).to_tensor(shape=shape),
            "input_type_ids": type_ids.to_tensor(shape=shape),
        }

    def __call__(
        self,
        texts: Sequence[str] | tf.Tensor,
        pairs: Sequence[str] | tf.Tensor | None = None,
        length: int | None = None,
    ) -> dict[str, tf.Tensor]:
        """`pad(*ragged(texts, pairs), length)`."""
        return self.pad(*self.ragged(texts, pairs), length=length)


def _truncate(ids: tf.RaggedTensor, lengths: tf.Tensor | int) -> tf.RaggedTensor:
    """The first ids of every row: `lengths` is their number, or one number for each row."""
    positions = tf.ragged.range(ids.row_lengths())
    limits = tf.broadcast_to(tf.cast(lengths, tf.int64), [ids.nrows()])
    kept = positions.with_flat_values(positions.flat_values < tf.gather(limits, ids.value_rowids()))
    return tf.ragged.boolean_mask(ids, kept)
