"""Weights prepared for quantization, on real text: in the lowered model, before it becomes a file.

`int4` weights are rounded here, to values that the quantizer then stores exactly; `int8` weights are left to
the quantizer. For both, the biases absorb the mean rounding error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf

from sqb_tf.progress import track
from sqb_tf.quantization import MAX_CODES, MIN_SCALE, round_to_scale

from .lowering.layers import Dense
from .lowering.model import EMBEDDINGS, LoweredModel

# Shares of a row's widest value that may become its range: in 4 bits a smaller range clips few weights and
# rounds all others finer.
_RANGES = np.linspace(1.0, 0.6, 9)
# Added to the Hessian's diagonal, as a share of its mean: the default of GPTQ's authors.
_DAMPING = 0.01
# Columns after which all later ones are updated at once: a matmul, not an outer product for each column.
_BLOCK = 64
# Tokens whose squares are added at once: adding `[in, in]` doubles for each text takes longer than the rest.
_TOKENS_AT_ONCE = 1024


class _Inputs:
    """Inputs of a matmul over the samples: number of tokens, their sum `[in]`, the sum of x xT `[in, in]`."""

    def __init__(self, with_squares: bool) -> None:
        self.tokens, self.total = 0, np.zeros(())
        self._squares = np.zeros(())
        self._pending: list[np.ndarray] | None = [] if with_squares else None

    def add(self, x: np.ndarray) -> None:
        """Adds the inputs of a text, `[tokens, in]`."""
        self.tokens += len(x)
        self.total = self.total + x.sum(axis=0, dtype=np.float64)
        if self._pending is not None:
            self._pending.append(x)
            if sum(map(len, self._pending)) >= _TOKENS_AT_ONCE:
                self._square()

    @property
    def squares(self) -> np.ndarray:
        """The sum of x xT."""
        if self._pending:
            self._square()
        return self._squares

    def _square(self) -> None:
        x = np.concatenate(self._pending or [])
        self._squares = self._squares + (x.T @ x).astype(np.float64)
        self._pending = []


def round_and_correct(
    lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]], storage: Mapping[str, str]
) -> None:
    """Rounds `int4` kernels and tables and corrects the biases of all quantized layers, in place.

    Rounding a kernel shifts its output by (rounded - kernel) x; the mean of that over real text is a
    constant of each output channel, and a bias can absorb it (Nagel et al. 2019, section 4.2.2).

    Args:
        lowered: the model.
        samples: its inputs for real texts.
        storage: the storage type of each of `lowered.layers`.
    """
    max_codes = {layer: MAX_CODES[dtype] for layer, dtype in storage.items() if dtype in MAX_CODES}
    layers = [dense for dense in lowered.dense_layers if dense.layer in max_codes]
    int4 = {layer for layer, dtype in storage.items() if dtype == "int4"}
    inputs = _observe_inputs(lowered, layers, samples, int4)
    for dense in track(layers, "rounding", len(layers)):
        kernel, max_code = dense.kernel.numpy(), max_codes[dense.layer]
        if dense.layer not in int4:
            rounded = round_rows(kernel, max_code)
        elif dense.kernel is lowered.word_table:  # shared; assigned below
            rounded = round_rows(kernel, max_code, clip=True)
        else:
            rounded = gptq(kernel, inputs[dense].squares, max_code)
            dense.kernel.assign(rounded)
        mean = (inputs[dense].total / inputs[dense].tokens).astype(np.float32)
        dense.bias.assign_sub((rounded - kernel) @ mean)
    if EMBEDDINGS in int4:  # the quantizer rounds the small tables, which have 8 bits
        table = lowered.word_table
        table.assign(round_rows(table.numpy(), max_codes[EMBEDDINGS], clip=True))


def _observe_inputs(
    lowered: LoweredModel,
    layers: Sequence[Dense],
    samples: Sequence[dict[str, tf.Tensor]],
    int4: Collection[str],
) -> dict[Dense, _Inputs]:
    """Runs the samples and sums up each layer's inputs; their squares only for `int4` layers."""
    inputs = {dense: _Inputs(dense.layer in int4) for dense in layers}

    def observe(dense: Dense, x: tf.Tensor) -> None:
        if dense in inputs:
            inputs[dense].add(x.numpy().reshape(-1, x.shape[-1]))

    with lowered.observed_by(observe):
        for sample in track(samples, "calibration text", len(samples)):
            lowered(**sample)
    return inputs


def round_rows(kernel: np.ndarray, max_code: int = 127, clip: bool = False) -> np.ndarray:
    """`kernel` `[out, in]`, each row rounded to whole multiples of its own scale, `max_code` at most.

    A row's widest value is `max_code` times its scale; with `clip`, the scale has the least squared error.
    """
    return round_to_scale(kernel, _scales(kernel, max_code, clip), max_code)


def _scales(kernel: np.ndarray, max_code: int, clip: bool) -> np.ndarray:
    """A scale for each row, `[out, 1]`."""
    widest = np.maximum(np.abs(kernel).max(axis=1, keepdims=True), MIN_SCALE) / max_code
    if not clip:
        return widest
    best, least = widest, np.full_like(widest, np.inf)
    for share in _RANGES.astype(kernel.dtype):
        scale = widest * share
        error = round_to_scale(kernel, scale, max_code) - kernel
        error = np.square(error).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def gptq(kernel: np.ndarray, squares: np.ndarray, max_code: int) -> np.ndarray:
    """`kernel` `[out, in]` rounded column by column; later columns compensate for the error of earlier ones.

    GPTQ (Frantar et al. 2022, arXiv 2210.17323, algorithm 1); `squares` `[in, in]` is the sum of x xT. A
    row's widest value stays at the end of its range, since the quantizer derives the file's scale from it.
    """
    scale: np.ndarray = _scales(kernel, max_code, clip=True)[:, 0].astype(np.float64)
    hessian = squares + np.eye(len(squares)) * max(_DAMPING * np.mean(np.diag(squares)), 1e-12)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    remaining: np.ndarray = kernel.astype(np.float64)
    widest = np.abs(kernel).argmax(axis=1)
    result = np.empty_like(remaining)
    columns = remaining.shape[1]
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        errors = np.empty((len(remaining), end - start))
        for column in range(start, end):
            codes = np.clip(np.round(remaining[:, column] / scale), -max_code, max_code)
            at_end = widest == column
            codes[at_end] = np.copysign(max_code, kernel[at_end, column])
            result[:, column] = codes * scale
            error = (remaining[:, column] - result[:, column]) / upper[column, column]
            remaining[:, column + 1 : end] -= np.outer(error, upper[column, column + 1 : end])
            errors[:, column - start] = error
        remaining[:, end:] -= errors @ upper[start:end, end:]
    return result.astype(np.float32)
