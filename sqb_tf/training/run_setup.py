"""What fine-tuning and pretraining set up alike before the first step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError


def check_request(output: Path, save_every: int | None) -> None:
    """Checks where a run writes and how often it saves, before anything is read or written.

    Raises:
        InputError: `output` cannot become a bundle, or `save_every` is below 1.
    """
    if save_every is not None and save_every < 1:
        raise InputError(f"save_every {save_every}: expected at least 1")
    bundle.check_target(output)


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
