"""Training with the weights of a quantized file: rounded in the forward pass, exact in the update.

The straight-through estimator (Bengio et al. 2013, arXiv 1308.3432, section 3), by exchange: before a step
each weight is rounded, after it the exact one moves by what the step did to the rounded one. Model,
optimizer and backend know nothing of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from sqb_tf.training.options import QUANTIZE_AWARE

# Of a row's largest value: with 4 bits a smaller range clips few weights and rounds all others finer.
_RANGES = {8: 1.0, 4: 0.9}


class RoundedWeights(keras.callbacks.Callback):
    """Rounds the weights of `model` for every training step, and wherever `applied` says so.

    The first of all callbacks: what others see, save or judge at the end of a step is exact again.

    Args:
        recipe: of `options.QUANTIZE_AWARE`.
    """

    def __init__(self, model: Any, recipe: str) -> None:
        super().__init__()
        kernel_bits, table_bits = QUANTIZE_AWARE[recipe]
        self._weights: list[tuple[Any, int, tuple[int, ...]]] = []
        for weight in model.trainable_variables:
            # A scale for each output channel of a kernel and each row of a table; depthwise kernels
            # stay float.
            if weight.path.endswith("/kernel") and "/squeeze/" not in weight.path:
                bits = kernel_bits if "/block_" in weight.path else 8
                self._weights.append((weight, bits, tuple(range(len(weight.shape) - 1))))
            elif weight.path.endswith("/embeddings"):
                self._weights.append((weight, table_bits, (-1,)))
        self._exact: list[Any] = []
        self._rounded: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._exact = [ops.copy(weight) for weight, _, _ in self._weights]
        self._rounded = [rounded(weight, bits, axes) for weight, bits, axes in self._weights]
        for (weight, _, _), value in zip(self._weights, self._rounded, strict=True):
            weight.assign(value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for (weight, _, _), exact, before in zip(
            self._weights, self._exact, self._rounded, strict=True
        ):
            weight.assign(exact + (weight - before))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The weights rounded: to judge the model by what its file will answer."""
        exact = [ops.copy(weight) for weight, _, _ in self._weights]
        for weight, bits, axes in self._weights:
            weight.assign(rounded(weight, bits, axes))
        try:
            yield
        finally:
            for (weight, _, _), value in zip(self._weights, exact, strict=True):
                weight.assign(value)


def rounded(weight: Any, bits: int, axes: tuple[int, ...]) -> Any:
    """`weight` as whole multiples of a scale that those along `axes` share; its range is symmetric."""
    largest = 2 ** (bits - 1) - 1
    weight = ops.convert_to_tensor(weight)
    widest = ops.max(ops.abs(weight), axis=axes, keepdims=True)
    scale = ops.maximum(widest * (_RANGES[bits] / largest), 1e-30)
    return ops.clip(ops.round(weight / scale), -largest, largest) * scale
