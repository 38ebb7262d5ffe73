"""Shards -> masked batches of pretraining, for TensorFlow through tf.data and for JAX without it."""

from __future__ import annotations

import functools
import threading
from typing import Any

import keras
import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.training.pretraining.masking import Batch, Masking
from sqb_tf.training.pretraining.options import PretrainOptions
from sqb_tf.training.pretraining.shards import Shards

# Of held-out instances so many are evaluated, evenly from all.
DEV_INSTANCES, DEV_BATCH = 2048, 64


class Batches:
    """The micro batches of a run, each a function of the seed and its place alone.

    Every epoch goes through all training instances in an order of its own, but those that do not fill the
    last batch, and masks them anew. Batches are masked whole: in how many parts they are computed changes
    nothing.
    """

    def __init__(self, shards: Shards, masking: Masking, options: PretrainOptions) -> None:
        self._shards, self._masking, self._options = shards, masking, options
        self._per_epoch = shards.count("train") // options.batch_size
        self._lock = threading.Lock()
        if not self._per_epoch:
            raise InputError(
                f"{shards.directory}: {shards.count('train')} training instances: expected at least "
                f"those of a batch, {options.batch_size}: lower the batch size"
            )

    def train(self, place: int) -> Batch:
        """The micro batch at `place`, counted from the start of the run."""
        step, part = divmod(place, self._options.accumulation)
        with self._lock:  # parts are asked for by several threads at once
            whole = self._whole(step)
        size = self._options.computed_at_once
        rows = slice(part * size, (part + 1) * size)
        return tuple({name: x[rows] for name, x in arrays.items()} for arrays in whole)

    def dev(self) -> list[Batch]:
        """The held-out batches, masked alike in every run."""
        count = self._shards.count("dev")
        chosen = np.linspace(0, count - 1, min(count, DEV_INSTANCES)).astype(np.int64)
        return [
            self._masking(
                self._shards.read("dev", chosen[start : start + DEV_BATCH]), (0, 2, start)
            )
            for start in range(0, len(chosen), DEV_BATCH)
        ]

    @functools.lru_cache(maxsize=2)  # noqa: B019 - they outlive none of the run
    def _whole(self, step: int) -> Batch:
        epoch, within = divmod(step, self._per_epoch)
        size = self._options.batch_size
        chosen = self._order(epoch)[within * size : (within + 1) * size]
        return self._masking(self._shards.read("train", chosen), (self._options.seed, 1, step))

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _order(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng((self._options.seed, 0, epoch))
        return random.permutation(self._shards.count("train"))


class IndexedBatches(keras.utils.PyDataset):
    """The batches from `start` to `stop` for `fit` on any backend, without TensorFlow."""

    def __init__(self, batches: Batches, start: int, stop: int) -> None:
        super().__init__()  # in one thread: with several, Keras 3.15 on JAX passes over the first batch
        self._batches, self._start, self._stop = batches, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, place: int) -> Batch:
        return self._batches.train(self._start + place)


def dataset(batches: Batches, start: int, stop: int) -> Any:
    """The batches from `start` to `stop` as a `tf.data.Dataset`."""
    import tensorflow as tf

    specs = tf.nest.map_structure(
        lambda x: tf.TensorSpec(x.shape, tf.as_dtype(x.dtype)), batches.train(start)
    )
    flat = tf.nest.flatten(specs)

    def read(place: Any) -> Any:
        found = tf.numpy_function(
            lambda i: tf.nest.flatten(batches.train(int(i))),
            [place],
            [spec.dtype for spec in flat],
            stateful=False,
        )
        for array, spec in zip(found, flat, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(specs, found)

    places = tf.data.Dataset.range(start, stop)
    return places.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
