"""Runs that repeat exactly: seeds and deterministic kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seeds Python, numpy and the backend, and makes TensorFlow's kernels deterministic in this context.

    A seed alone does not repeat a run: kernels whose threads add in the order in which they finish round
    differently each time.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf
    from tensorflow.python.framework import config  # the public API can only switch it on

    was_enabled = config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not was_enabled:
            config.disable_op_determinism()
