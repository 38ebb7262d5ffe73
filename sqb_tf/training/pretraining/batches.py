"""Shards -> batches of a run on text, for TensorFlow through tf.data and for JAX without it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.training.options import TextRunOptions
from sqb_tf.training.pretraining.masking import Batch
from sqb_tf.training.pretraining.shards import Instances, Shards

if TYPE_CHECKING:
    import tensorflow as tf

# At most this many held-out instances are evaluated, evenly spaced among all.
DEV_INSTANCES, DEV_BATCH = 2048, 64


class Batches:
    """The micro batches of a run, each a function of the seed and its index only.

    Every epoch goes through the training instances in another order, makes new batches of them (`make`, as
    `Masking`, of instances and a seed) and leaves out those that do not fill the last batch. A batch is made
    as a whole, so the number of micro batches it is computed in changes nothing.
    """

    def __init__(
        self,
        shards: Shards,
        make: Callable[[Instances, tuple[int, ...]], Batch],
        options: TextRunOptions,
    ) -> None:
        self._shards, self._make, self._options = shards, make, options
        self._per_epoch = shards.count("train") // options.batch_size
        self._lock = threading.Lock()
        if not self._per_epoch:
            raise InputError(
                f"{shards.directory}: {shards.count('train')} training instances: expected at least "
                f"those of a batch, {options.batch_size}: lower the batch size"
            )

    def train(self, index: int) -> Batch:
        """Micro batch `index`, counted from the start of the run."""
        step, part = divmod(index, self._options.accumulation)
        with self._lock:  # several threads read micro batches of one batch
            inputs, targets, weights = self._batch(step)
        size = self._options.computed_at_once
        rows = slice(part * size, (part + 1) * size)

        def take(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: array[rows] for name, array in arrays.items()}

        return take(inputs), take(targets), take(weights)

    def dev(self, most: int = DEV_INSTANCES) -> list[Batch]:
        """Held-out batches of at most `most` instances, evenly spaced, made alike in every run."""
        count = self._shards.count("dev")
        indices = np.linspace(0, count - 1, min(count, most)).astype(np.int64)
        return [
            self._make(self._shards.read("dev", indices[start : start + DEV_BATCH]), (0, 2, start))
            for start in range(0, len(indices), DEV_BATCH)
        ]

    @functools.lru_cache(maxsize=2)  # noqa: B019 - an instance lives as long as its run
    def _batch(self, step: int) -> Batch:
        epoch, batch = divmod(step, self._per_epoch)
        size = self._options.batch_size
        indices = self._order(epoch)[batch * size : (batch + 1) * size]
        return self._make(self._shards.read("train", indices), (self._options.seed, 1, step))

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _order(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng((self._options.seed, 0, epoch))
        return random.permutation(self._shards.count("train"))


class IndexedBatches(keras.utils.PyDataset):
    """Micro batches `start` to `stop` for `fit` on any backend, without TensorFlow."""

    def __init__(self, batches: Batches, start: int, stop: int) -> None:
        super().__init__()  # one worker: with several, Keras 3.15 on JAX skips the first batch
        self._batches, self._start, self._stop = batches, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: int) -> Batch:
        return self._batches.train(self._start + index)


def dataset(batches: Batches, start: int, stop: int) -> tf.data.Dataset:
    """Micro batches `start` to `stop` as a `tf.data.Dataset`."""
    import tensorflow as tf

    specs = tf.nest.map_structure(
        lambda x: tf.TensorSpec(x.shape, tf.as_dtype(x.dtype)), batches.train(start)
    )
    flat_specs = tf.nest.flatten(specs)

    def read(index: tf.Tensor) -> Any:
        arrays = tf.numpy_function(
            lambda i: tf.nest.flatten(batches.train(int(i))),
            [index],
            [spec.dtype for spec in flat_specs],
            stateful=False,
        )
        for array, spec in zip(arrays, flat_specs, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(specs, arrays)

    indices = tf.data.Dataset.range(start, stop)
    return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
