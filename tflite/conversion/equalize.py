"""Exact rescaling by calibrated ranges, so that one scale per activation tensor suits all of its channels.

Only for integer-only recipes. Inside attention it is cross-layer equalization (Nagel et al. 2019, section
4.1): a channel of the queries may grow if the same channel of the keys shrinks, a channel of the values if
the weights that read it shrink. Word embeddings and the squares of norms are scaled in 16 bits. Norms' gains,
where outlier channels come from, need none of this: they are folded into the weights behind them
(`lowering.layers.LayerNorm`). docs/decisions/006-integer-only-recipes.md has what each of these gains, and
what was tried and gained nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .lowering.layers import Attention, Block, Dense, LayerNorm, MeanSquareOfClasses
from .lowering.model import LoweredModel

# A range below this is a channel that no text activates: it stays as it is.
_SMALLEST_RANGE = 1e-6
# A channel of a norm's input this many times as wide as the median one is an outlier.
_OUTLIER = 8.0
Rows = Sequence[tuple[Dense, slice]]


class _Ranges:
    """The largest absolute value of each channel over the samples, for the lowered model's layers.

    Attributes:
        centred: of each norm's input less its mean.
        outputs: of each matmul's output.
    """

    def __init__(self, lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]]) -> None:
        self.centred: dict[LayerNorm, np.ndarray] = {}
        self.outputs: dict[Dense, np.ndarray] = {}
        with lowered.observed_by(self._observe):
            for sample in samples:
                lowered(**sample)

    def _observe(self, layer: Dense | LayerNorm, x: tf.Tensor) -> None:
        if isinstance(layer, LayerNorm):
            _widen(self.centred, layer, x)
        else:
            outputs = tf.matmul(x, layer.kernel, transpose_b=True) + layer.bias
            _widen(self.outputs, layer, outputs)


def equalize(lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]]) -> None:
    """Rescales the model, in place, by its ranges over the samples; its outputs stay as they are."""
    ranges = _Ranges(lowered, samples)
    _equalize_words(lowered)
    for norm, centred in ranges.centred.items():
        norm.mean_square = mean_square_of_classes(centred)
    for block in lowered.blocks:
        if isinstance(block.mixer, Attention):
            _equalize_attention(block, ranges.outputs)


def _equalize_words(lowered: LoweredModel) -> None:
    """Gives every channel of the word embeddings the range 1: their table has one scale."""
    if any(dense.kernel is lowered.word_table for dense in lowered.dense_layers):
        return  # a head multiplies by the table
    ranges = np.abs(lowered.word_table.numpy()).max(axis=0)
    scale = np.where(ranges > _SMALLEST_RANGE, ranges, 1.0)
    for table in (lowered.word_table, lowered.type_table):
        table.assign(table / scale)
    lowered.table_scale = tf.Variable(scale, trainable=False)


def mean_square_of_classes(ranges: np.ndarray) -> MeanSquareOfClasses | None:
    """What sums the squares of outliers by themselves, from each channel's range; None: there are none."""
    outliers = ranges > _OUTLIER * np.median(ranges)
    if not outliers.any():
        return None
    widest, widest_other = ranges.max(), ranges[~outliers].max()
    if widest_other < _SMALLEST_RANGE:
        return None
    return MeanSquareOfClasses(np.where(outliers, widest, widest_other).astype(np.float32))


def _equalize_attention(block: Block, ranges: dict[Dense, np.ndarray]) -> None:
    query, key, value = block.mixer.parts
    queries, keys, values = (_row_ranges(ranges, part) for part in (query, key, value))
    _rescale(query, factors := _balance(queries, keys))
    _rescale(key, 1 / factors)
    # They read the values after attention mixed them.
    readers = block.post_attention.groups_dense
    weights = np.concatenate([np.abs(dense.kernel).max(axis=0) for dense in readers])
    factors = _balance(values, weights)
    if (widest := float(np.max(values * factors))) > _SMALLEST_RANGE:
        # As wide as the keys: both are rows of one matmul, whose output has one scale.
        factors *= np.sqrt(np.max(queries * keys)) / widest
    _rescale(value, factors)
    for dense, factor in zip(readers, np.split(factors, len(readers)), strict=True):
        dense.kernel.assign(dense.kernel / factor)


def _widen(ranges: dict, layer: Dense | LayerNorm, x: tf.Tensor) -> None:
    largest = np.abs(x).reshape(-1, x.shape[-1]).max(axis=0)
    ranges[layer] = np.maximum(ranges.get(layer, 0.0), largest)


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
