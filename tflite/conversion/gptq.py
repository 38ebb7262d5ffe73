"""Weights made ready to be rounded, on real text: in the lowered model, before it is a file.

What is stored as `int4` is rounded here, to values that the range of each row then stores exactly; what is
stored as `int8` is left to the quantizer. Of both, the mean error of rounding goes into the biases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from sqb_tf.progress import track

from .lowering.layers import Dense
from .lowering.model import EMBEDDINGS, LoweredModel
from .recipes import WEIGHT_KINDS

# Of the widest range of a row: with 4 bits a smaller one clips few weights and rounds all others finer.
_RANGES = np.linspace(1.0, 0.6, 9)
# Added to the Hessian's diagonal, as a share of its mean: the default of GPTQ's authors.
_DAMPING = 0.01


@dataclasses.dataclass
class _Inputs:
    """What a product was given: number of tokens, their sum `[in]`, the sum of x xT `[in, in]`."""

    tokens: int = 0
    total: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0

    def add(self, x: np.ndarray, squares: bool) -> None:
        self.tokens += len(x)
        self.total = self.total + x.sum(axis=0, dtype=np.float64)
        if squares:
            self.squares = self.squares + (x.T @ x).astype(np.float64)


def prepare(
    lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]], kinds: Mapping[str, str]
) -> None:
    """Rounds kernels and tables to 4 bits and corrects biases, in place.

    Rounding a kernel shifts its output by (rounded - kernel) x; the mean of that over real text is a
    constant of each output channel, and a bias can absorb it (Nagel et al. 2019, section 4.2.2).

    Args:
        lowered: the model.
        samples: its inputs for real texts.
        kinds: of `recipes.WEIGHT_KINDS`, for each of `lowered.layers`.
    """
    largest = {layer: WEIGHT_KINDS[kind] for layer, kind in kinds.items()}
    layers = [dense for dense in lowered.dense_layers if largest[dense.layer]]
    seen = _observe(lowered, layers, samples, largest)
    for dense in track(layers, "rounding", len(layers)):
        kernel, inputs = dense.kernel.numpy(), seen[dense]
        shared = dense.kernel is lowered.word_table  # rounded below, as the table that it is
        if kinds[dense.layer] == "int4" and not shared:
            new = gptq(kernel, inputs.squares, largest[dense.layer])
            dense.kernel.assign(new)
        elif kinds[dense.layer] == "int4":
            new = rounded(kernel, largest[dense.layer], clip=True)
        else:
            new = rounded(kernel, largest[dense.layer])
        dense.bias.assign_sub((new - kernel) @ (inputs.total / inputs.tokens).astype(np.float32))
    if kinds[EMBEDDINGS] == "int4":
        for table in (lowered.word_table, lowered.position_table, lowered.type_table):
            table.assign(rounded(table.numpy(), largest[EMBEDDINGS], clip=True))


def _observe(
    lowered: LoweredModel,
    layers: Sequence[Dense],
    samples: Sequence[dict[str, tf.Tensor]],
    largest: Mapping[str, int | None],
) -> dict[Dense, _Inputs]:
    """Runs the samples and looks at what each layer is given."""
    seen = {dense: _Inputs() for dense in layers}

    def observe(dense: Dense, x: tf.Tensor) -> None:
        if dense in seen:  # squares for 4 bits alone
            squares = largest[dense.layer] == WEIGHT_KINDS["int4"]
            seen[dense].add(x.numpy().reshape(-1, x.shape[-1]), squares)

    with lowered.observed_by(observe):
        for sample in track(samples, "calibration text", len(samples)):
            lowered(**sample)
    return seen


def rounded(kernel: np.ndarray, largest: int = 127, clip: bool = False) -> np.ndarray:
    """`kernel` `[out, in]` as whole multiples, `largest` at most, of a scale for each row.

    The scale is that of the row's largest value, or with `clip` the one of the smallest squared error.
    """
    scale = _scales(kernel, largest, clip)
    return np.clip(np.round(kernel / scale), -largest, largest) * scale


def _scales(kernel: np.ndarray, largest: int, clip: bool) -> np.ndarray:
    """`[out, 1]`."""
    widest = np.maximum(np.abs(kernel).max(axis=1, keepdims=True), 1e-30) / largest
    if not clip:
        return widest
    best, least = widest, np.full_like(widest, np.inf)
    for share in _RANGES.astype(kernel.dtype):
        scale = widest * share
        error = np.clip(np.round(kernel / scale), -largest, largest) * scale - kernel
        error = np.square(error).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def gptq(kernel: np.ndarray, squares: np.ndarray, largest: int) -> np.ndarray:
    """`kernel` `[out, in]` rounded input by input, what is left of each error made up for by the later ones.

    GPTQ (Frantar et al. 2022, arXiv 2210.17323, algorithm 1), all columns in one block; `squares` `[in, in]`
    is the sum of x xT. A row's largest value stays at the end of its range: the file's scale is made of it.
    """
    scale = _scales(kernel, largest, clip=True)[:, 0].astype(np.float64)
    hessian = squares + np.eye(len(squares)) * max(_DAMPING * np.mean(np.diag(squares)), 1e-12)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    left, outermost = kernel.astype(np.float64), np.abs(kernel).argmax(axis=1)
    result = np.empty_like(left)
    for column in range(left.shape[1]):
        steps = np.clip(np.round(left[:, column] / scale), -largest, largest)
        ends = outermost == column
        steps[ends] = np.copysign(largest, kernel[ends, column])
        result[:, column] = steps * scale
        error = (left[:, column] - result[:, column]) / upper[column, column]
        left[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
    return result.astype(np.float32)
