"""Numbers as a quantized file has them, in float: what `quantization_aware.py` trains with."""

from __future__ import annotations

from typing import Any

from keras import ops

# Of a row's largest value: with 4 bits a smaller range clips few weights and rounds all others finer.
_RANGES = {8: 1.0, 4: 0.9}
_SMALLEST = 1e-30


def rounded_weight(weight: Any, bits: int, axes: tuple[int, ...] | None, gain: Any = 1.0) -> Any:
    """`weight` as whole multiples of a scale that those along `axes` (None: all) share.

    The range is symmetric. `gain` is what a file has multiplied the weights with before it rounds them.
    """
    largest = 2 ** (bits - 1) - 1
    weight = ops.convert_to_tensor(weight) * gain
    widest = ops.max(ops.abs(weight), axis=axes, keepdims=True)
    scale = ops.maximum(widest * (_RANGES[bits] / largest), _SMALLEST)
    return ops.clip(ops.round(weight / scale), -largest, largest) * scale / gain


def rounded_activation(x: Any, per_token: bool, gain: Any = 1.0, offset: Any = 0.0) -> Any:
    """`x` `[tokens, channels]` in 8 bits, with the gradient of `x` (straight-through).

    The range is that of each token, as XNNPACK takes it when it runs, or of all of them, as calibration
    does; 0 is in it, and exact. What is rounded is what `gain` and `offset` made `x` of.
    """
    exact = ops.cast(x, "float32")
    before = (exact - offset) / gain
    axes = (-1,) if per_token else None
    low = ops.minimum(ops.min(before, axis=axes, keepdims=True), 0.0)
    high = ops.maximum(ops.max(before, axis=axes, keepdims=True), 0.0)
    scale = ops.maximum((high - low) / 255, _SMALLEST)
    zero = ops.round(-low / scale)
    steps = ops.clip(ops.round(before / scale) + zero, 0, 255) - zero
    return x + ops.cast(ops.stop_gradient((steps * scale - before) * gain), x.dtype)
