"""Exact rescalings inside attention, so that one scale for a tensor suits all its channels (integers only).

Cross-layer equalization (Nagel et al. 2019, section 4.1): a channel of the queries may be made larger if the
same one of the keys is made smaller, a channel of the values if the weights that read it are. Each pair gets
equal ranges. Between norms and what reads them there is nothing to do: the gains, where outlier channels
come from, are in the weights (`lowered_layers.LayerNorm`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .lowering.layers import Attention, Dense
from .lowering.model import LoweredModel

# Of a range that is 0: a channel that no text reaches stays as it is.
_SMALLEST = 1e-6
Rows = Sequence[tuple[Dense, slice]]


def equalize(lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]]) -> None:
    """Rescales queries, keys and values of every block, in place, by their ranges over the samples."""
    blocks = [block for block in lowered.blocks if isinstance(block.mixer, Attention)]
    ranges = _ranges(lowered, samples)
    for block in blocks:
        query, key, value = block.mixer.parts
        _rescale(query, factors := _balance(_of(ranges, query), _of(ranges, key)))
        _rescale(key, 1 / factors)
        readers = block.post_attention.groups_dense  # of the values, mixed
        weights = np.concatenate([np.abs(dense.kernel).max(axis=0) for dense in readers])
        _rescale(value, factors := _balance(_of(ranges, value), weights))
        for dense, by in zip(readers, np.split(factors, len(readers)), strict=True):
            dense.kernel.assign(dense.kernel / by)


def _ranges(
    lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]]
) -> dict[Dense, np.ndarray]:
    """The largest absolute output of every product's channels."""
    found: dict[Dense, np.ndarray] = {}

    def observe(dense: Dense, x: tf.Tensor) -> None:
        outputs = np.abs(tf.matmul(x, dense.kernel, transpose_b=True) + dense.bias)
        largest = outputs.reshape(-1, outputs.shape[-1]).max(axis=0)
        found[dense] = np.maximum(found.get(dense, 0.0), largest)

    with lowered.observed_by(observe):
        for sample in samples:
            lowered(**sample)
    return found


def _of(ranges: dict[Dense, np.ndarray], rows: Rows) -> np.ndarray:
    return np.concatenate([ranges[dense][place] for dense, place in rows])


def _balance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What to multiply the first by, and to divide the second by, for both to have one range."""
    reached = (first > _SMALLEST) & (second > _SMALLEST)
    ratio = np.where(reached, second, 1.0) / np.where(reached, first, 1.0)
    return np.sqrt(ratio).astype(np.float32)


def _rescale(rows: Rows, factors: np.ndarray) -> None:
    for (dense, place), by in zip(rows, np.split(factors, len(rows)), strict=True):
        kernel, bias = dense.kernel.numpy(), dense.bias.numpy()
        kernel[place] *= by[:, np.newaxis]
        bias[place] *= by
        dense.kernel.assign(kernel)
        dense.bias.assign(bias)
