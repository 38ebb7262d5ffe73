"""Exact rescaling inside attention, so that one scale per activation tensor suits all of its channels.

Only for integer-only recipes. Cross-layer equalization (Nagel et al. 2019, section 4.1): a channel of the
queries may grow if the same channel of the keys shrinks, a channel of the values if the weights that read it
shrink. Each such pair gets equal ranges. Norms need none of this: their gains, where outlier channels come
from, are folded into the weights behind them (`lowering.layers.LayerNorm`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .lowering.layers import Attention, Dense
from .lowering.model import LoweredModel

# A range below this is a channel that no text activates: it stays as it is.
_SMALLEST_RANGE = 1e-6
Rows = Sequence[tuple[Dense, slice]]


def equalize(lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]]) -> None:
    """Rescales queries, keys and values of every block, in place, by their ranges over the samples."""
    blocks = [block for block in lowered.blocks if isinstance(block.mixer, Attention)]
    ranges = _output_ranges(lowered, samples)
    for block in blocks:
        query, key, value = block.mixer.parts
        _rescale(query, factors := _balance(_row_ranges(ranges, query), _row_ranges(ranges, key)))
        _rescale(key, 1 / factors)
        # They read the values after attention mixed them.
        readers = block.post_attention.groups_dense
        weights = np.concatenate([np.abs(dense.kernel).max(axis=0) for dense in readers])
        _rescale(value, factors := _balance(_row_ranges(ranges, value), weights))
        for dense, factor in zip(readers, np.split(factors, len(readers)), strict=True):
            dense.kernel.assign(dense.kernel / factor)


def _output_ranges(
    lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]]
) -> dict[Dense, np.ndarray]:
    """The largest absolute output of each channel of every matmul."""
    ranges: dict[Dense, np.ndarray] = {}

    def observe(dense: Dense, x: tf.Tensor) -> None:
        outputs = np.abs(tf.matmul(x, dense.kernel, transpose_b=True) + dense.bias)
        largest = outputs.reshape(-1, outputs.shape[-1]).max(axis=0)
        ranges[dense] = np.maximum(ranges.get(dense, 0.0), largest)

    with lowered.observed_by(observe):
        for sample in samples:
            lowered(**sample)
    return ranges


def _row_ranges(ranges: dict[Dense, np.ndarray], rows: Rows) -> np.ndarray:
    return np.concatenate([ranges[dense][index] for dense, index in rows])


def _balance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The factors that, multiplied into `first` and divided out of `second`, give both the same range."""
    reached = (first > _SMALLEST_RANGE) & (second > _SMALLEST_RANGE)
    ratio = np.where(reached, second, 1.0) / np.where(reached, first, 1.0)
    return np.sqrt(ratio).astype(np.float32)


def _rescale(rows: Rows, factors: np.ndarray) -> None:
    for (dense, index), factor in zip(rows, np.split(factors, len(rows)), strict=True):
        kernel, bias = dense.kernel.numpy(), dense.bias.numpy()
        kernel[index] *= factor[:, np.newaxis]
        bias[index] *= factor
        dense.kernel.assign(kernel)
        dense.bias.assign(bias)
