"""Examples -> tf.data batches for `model.fit` and `model.predict`."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.preprocessing import Preprocessor
from sqb_tf.tasks.delimited import Example
from sqb_tf.tasks.task import Split

# Texts, not tensors, wait in the shuffle buffer: some 20 MB at 200 bytes each.
SHUFFLE_BUFFER = 100_000
# Examples that Python hands to tf.data at once: one by one, each costs 0.25 ms, in blocks 0.03 ms.
BLOCK = 512
# So many batches are sorted by length together: enough that a batch's texts are nearly equally long.
SORTED_BATCHES = 100


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """A split whose targets are not needed."""

    split: Split

    def __iter__(self) -> Iterator[Example]:
        for example in self.split:
            yield Example(example.text, example.pair, "0")


def example_stream(
    split: Iterable[Example],
    label_ids: dict[str, int] | None,
    paired: bool,
    tagged: bool = False,
    numbered: bool = False,
) -> tf.data.Dataset:
    """(text, pair, target) scalars. Targets are label ids, or numbers when `label_ids` is None.

    Of `tagged` words they are the ids of their tags, parted by spaces. `numbered` ones are vectors of 2: the
    target, and the example's place in the split.
    """

    def target(label: str) -> float | int | str:
        if label_ids is None:
            return float(label)
        if tagged:
            return " ".join(str(label_ids[tag]) for tag in label.split(" "))
        return label_ids[label]

    def blocks():
        examples, done = iter(split), 0
        while block := list(itertools.islice(examples, BLOCK)):
            goals = [target(example.label) for example in block]
            if numbered:
                goals = np.column_stack([goals, np.arange(done, done + len(block))])
            done += len(block)
            texts = [example.text for example in block]
            yield texts, [example.pair if paired else "" for example in block], goals

    goal = tf.TensorSpec((None,), tf.int32)
    if tagged:
        goal = tf.TensorSpec((None,), tf.string)
    elif numbered:
        goal = tf.TensorSpec((None, 2), tf.float64)
    elif label_ids is None:
        goal = tf.TensorSpec((None,), tf.float32)
    text = tf.TensorSpec((None,), tf.string)
    return tf.data.Dataset.from_generator(blocks, output_signature=(text, text, goal)).unbatch()


def training_batches(
    examples: tf.data.Dataset,
    preprocessor: Preprocessor,
    batch_size: int,
    seed: int,
    epoch: int,
    paired: bool,
    skip: int = 0,
    tagged: bool = False,
    batch_targets: Callable[[tf.Tensor], Any] | None = None,
) -> tf.data.Dataset:
    """One epoch of (inputs, targets) batches, a function of `seed` and `epoch` alone.

    Of `tagged` words they are (inputs, targets, weights), see `Preprocessor.tag_targets`. `batch_targets`
    makes the targets of a batch from those of its examples.

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
        word_ids, type_ids = preprocessor.ragged(texts, pairs if paired else None)
        by_length = tf.argsort(word_ids.row_lengths(), stable=True)
        starts = tf.range(0, tf.shape(targets)[0], batch_size)
        starts = tf.random.experimental.stateless_shuffle(starts, seed=[order, index])

        def batch(start):
            rows = by_length[start : start + batch_size]
            inputs = preprocessor.pad(tf.gather(word_ids, rows), tf.gather(type_ids, rows))
            chosen = tf.gather(targets, rows)
            if batch_targets is not None:
                return inputs, batch_targets(chosen)
            if not tagged:
                return inputs, chosen
            length = tf.shape(inputs["input_word_ids"])[1]
            return inputs, *preprocessor.tag_targets(tf.gather(texts, rows), chosen, length)

        return tf.data.Dataset.from_tensor_slices(starts).map(batch)

    batches = chunks.enumerate().flat_map(sorted_batches)
    return batches.skip(skip).prefetch(tf.data.AUTOTUNE)


def prediction_batches(
    examples: tf.data.Dataset, preprocessor: Preprocessor, batch_size: int, paired: bool
) -> tf.data.Dataset:
    """(inputs, targets) batches in the order of the examples, each padded to its longest text."""

    def batch(texts, pairs, targets):
        return preprocessor(texts, pairs if paired else None), targets

    return examples.batch(batch_size).map(batch).prefetch(tf.data.AUTOTUNE)
