"""Examples -> batches for `model.fit`, passages -> batches for `model.predict_on_batch`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.data.example import Example
from sqb_tf.heads.head_type import Passage, TaskKind
from sqb_tf.text.preprocessing import Preprocessor

# Texts, not tensors, wait in the shuffle buffer: some 20 MB at 200 bytes each.
SHUFFLE_BUFFER = 100_000
# Examples that Python hands to tf.data at once: one by one, each costs 0.25 ms, in blocks 0.03 ms.
BLOCK = 512
# So many batches are sorted by length together: enough that a batch's texts are nearly equally long.
SORTED_BATCHES = 100


def example_stream(
    rows: Iterable[Example], kind: TaskKind, numbered: bool = False
) -> tf.data.Dataset:
    """(text, pair, target) of each of a kind's `rows`: text and pair scalars, targets as its `target`.

    `numbered` targets are vectors of 2: the target, and the example's place among the rows.
    """

    def blocks():
        examples, done = iter(rows), 0
        while block := list(itertools.islice(examples, BLOCK)):
            goals = [kind.target(example) for example in block]
            if numbered:
                goals = np.column_stack([goals, np.arange(done, done + len(block))])
            done += len(block)
            texts = [example.text for example in block]
            yield texts, [example.pair or "" for example in block], goals

    goal = tf.TensorSpec((None, *kind.target_shape), kind.target_dtype)
    if numbered:
        goal = tf.TensorSpec((None, 2), tf.float64)
    text = tf.TensorSpec((None,), tf.string)
    return tf.data.Dataset.from_generator(blocks, output_signature=(text, text, goal)).unbatch()


def training_batches(
    examples: tf.data.Dataset,
    preprocessor: Preprocessor,
    kind: TaskKind,
    batch_size: int,
    seed: int,
    epoch: int,
    skip: int = 0,
    batch_targets: Callable[[tf.Tensor], Any] | None = None,
) -> tf.data.Dataset:
    """One epoch of batches as `kind.batch` makes them, a function of `seed` and `epoch` alone.

    `batch_targets` makes the targets of a batch from those of its examples, in place of the kind.

    Shuffled, then sorted by length within `SORTED_BATCHES` batches (which are shuffled again), so
    that little is padded and yet every epoch has exactly `ceil(examples / batch_size)` steps. The
    first `skip` batches, which a resumed run has seen, are left out.
    """
    order = random.Random(f"{seed} {epoch}").getrandbits(62)
    chunks = examples.shuffle(SHUFFLE_BUFFER, seed=order, reshuffle_each_iteration=False).batch(
        batch_size * SORTED_BATCHES
    )

    def sorted_batches(index, chunk):
        texts, pairs, targets = chunk
        word_ids, type_ids = kind.ragged(preprocessor, texts, pairs)
        lengths = word_ids.row_lengths(axis=-1)
        if word_ids.ragged_rank > 1:  # several choices: the longest one counts
            lengths = tf.reduce_max(lengths, axis=1)
        by_length = tf.argsort(lengths, stable=True)
        starts = tf.range(0, tf.shape(targets)[0], batch_size)
        starts = tf.random.experimental.stateless_shuffle(starts, seed=[order, index])

        def batch(start):
            rows = by_length[start : start + batch_size]
            inputs = preprocessor.pad(tf.gather(word_ids, rows), tf.gather(type_ids, rows))
            chosen = tf.gather(targets, rows)
            if batch_targets is not None:
                return inputs, batch_targets(chosen)
            return kind.batch(preprocessor, inputs, tf.gather(texts, rows), chosen)

        return tf.data.Dataset.from_tensor_slices(starts).map(batch)

    batches = chunks.enumerate().flat_map(sorted_batches)
    return batches.skip(skip).prefetch(tf.data.AUTOTUNE)


def prediction_batches(
    passages: Iterable[Passage], preprocessor: Preprocessor, paired: bool, batch_size: int
) -> Iterator[dict[str, tf.Tensor]]:
    """The inputs of the passages in their order, each batch padded to its longest."""
    passages = iter(passages)
    while batch := list(itertools.islice(passages, batch_size)):
        pairs = [passage.pair for passage in batch] if paired else None
        yield preprocessor([passage.text for passage in batch], pairs)
