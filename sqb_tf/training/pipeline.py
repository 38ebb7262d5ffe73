"""Examples -> batches for `model.fit`; and batches of inputs alone, for a teacher."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.data.example import Example
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.text.preprocessing import Preprocessor

# The shuffle buffer holds texts, not tensors: some 20 MB at 200 bytes each.
SHUFFLE_BUFFER = 100_000
# Examples that Python passes to tf.data at once: one by one each costs 0.25 ms, in blocks 0.03 ms.
BLOCK = 512
# Batches that are sorted by length together: enough for the texts of a batch to be of nearly equal length.
SORTED_BATCHES = 100


def example_stream(
    rows: Iterable[Example], head: TaskHead, with_index: bool = False
) -> tf.data.Dataset:
    """(text, pair, target) of each training row: scalar strings, and the target of `head.target`.

    With `with_index` a target is a vector of 2: the target and the row's index.
    """

    def blocks():
        examples, done = iter(rows), 0
        while block := list(itertools.islice(examples, BLOCK)):
            targets = [head.target(example) for example in block]
            if with_index:
                targets = np.column_stack([targets, np.arange(done, done + len(block))])
            done += len(block)
            texts = [example.text for example in block]
            yield texts, [example.pair or "" for example in block], targets

    target = tf.TensorSpec((None, *head.target_shape), head.target_dtype)
    if with_index:
        target = tf.TensorSpec((None, 2), tf.float64)
    text = tf.TensorSpec((None,), tf.string)
    return tf.data.Dataset.from_generator(blocks, output_signature=(text, text, target)).unbatch()


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The batches of a training set, as `head.batch` forms them.

    An epoch is shuffled, then sorted by length within `SORTED_BATCHES` batches (which are shuffled again),
    so that there is little padding and yet every epoch has exactly `ceil(examples / batch_size)` batches.

    Args:
        examples: an `example_stream`.
        preprocessor: text -> ids.
        head: what is learned.
        batch_size: examples of a batch.
        seed: decides the order, together with the epoch's index.
        batch_targets: the targets of a batch from those of its examples, instead of `head.batch`'s.
        class_weights: the weight of an example by its target; None: each counts the same.
    """

    examples: tf.data.Dataset
    preprocessor: Preprocessor
    head: TaskHead
    batch_size: int
    seed: int
    batch_targets: Callable[[tf.Tensor], Any] | None = None
    class_weights: Sequence[float] | None = None

    def epoch(self, index: int, skip: int = 0) -> tf.data.Dataset:
        """The batches of epoch `index`, without the first `skip`, which a resumed run has seen."""
        order = random.Random(f"{self.seed} {index}").getrandbits(62)
        examples = self.examples.shuffle(SHUFFLE_BUFFER, seed=order, reshuffle_each_iteration=False)
        chunks = examples.batch(self.batch_size * SORTED_BATCHES).enumerate()
        batches = chunks.flat_map(lambda number, chunk: self._sort(chunk, seed=[order, number]))
        return batches.skip(skip).prefetch(tf.data.AUTOTUNE)

    def _sort(self, chunk: Any, seed: Any) -> tf.data.Dataset:
        """The batches of a chunk of examples, each of texts of nearly equal length, shuffled."""
        texts, pairs, targets = chunk
        word_ids, type_ids = self.head.ragged(self.preprocessor, texts, pairs)
        lengths = word_ids.row_lengths(axis=-1)
        if word_ids.ragged_rank > 1:  # several choices: the longest counts
            lengths = tf.reduce_max(lengths, axis=1)
        by_length = tf.argsort(lengths, stable=True)
        starts = tf.range(0, tf.shape(targets)[0], self.batch_size)
        starts = tf.random.experimental.stateless_shuffle(starts, seed=seed)

        def batch(start):
            rows = by_length[start : start + self.batch_size]
            inputs = self.preprocessor.pad(tf.gather(word_ids, rows), tf.gather(type_ids, rows))
            row_targets = tf.gather(targets, rows)
            if self.batch_targets is not None:
                return inputs, self.batch_targets(row_targets)
            parts = self.head.batch(self.preprocessor, inputs, tf.gather(texts, rows), row_targets)
            if self.class_weights is not None:
                parts = (*parts, tf.gather(tf.constant(self.class_weights), row_targets))
            return parts

        return tf.data.Dataset.from_tensor_slices(starts).map(batch)


def prediction_batches(
    examples: Iterable[Example], preprocessor: Preprocessor, paired: bool, batch_size: int
) -> Iterator[dict[str, tf.Tensor]]:
    """The model inputs of the examples in their order, each batch padded to its longest."""
    examples = iter(examples)
    while batch := list(itertools.islice(examples, batch_size)):
        pairs = [example.pair for example in batch] if paired else None
        yield preprocessor([example.text for example in batch], pairs)
