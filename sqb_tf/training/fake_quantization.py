"""Fake quantization: values rounded as a quantized file stores them, kept as floats.

`quantization_aware.py` trains with them.
"""

from __future__ import annotations

from typing import Any

from keras import ops

# The range as a share of a row's largest value: with 4 bits a smaller one clips few weights and rounds
# all the others more finely.
_RANGES = {8: 1.0, 4: 0.9}
_MIN_SCALE = 1e-30


def fake_quantize_weight(
    weight: Any, bits: int, axes: tuple[int, ...] | None, gain: Any = 1.0
) -> Any:
    """`weight` rounded to integer multiples of a scale, symmetrically.

    Args:
        weight: any shape.
        bits: 8 or 4.
        axes: the axes over which weights share a scale; None: all of them.
        gain: what the file multiplies the weights by before it rounds them.
    """
    max_code = 2 ** (bits - 1) - 1
    weight = ops.convert_to_tensor(weight) * gain
    max_abs = ops.max(ops.abs(weight), axis=axes, keepdims=True)
    scale = ops.maximum(max_abs * (_RANGES[bits] / max_code), _MIN_SCALE)
    return ops.clip(ops.round(weight / scale), -max_code, max_code) * scale / gain


def fake_quantize_activation(x: Any, per_token: bool, gain: Any = 1.0, offset: Any = 0.0) -> Any:
    """`x` `[tokens, channels]` rounded to 8 bits, with the gradient of `x` (straight-through).

    The range, which includes 0 and represents it exactly, is each token's own with `per_token`, as XNNPACK
    computes it at run time, otherwise that of all tokens, as calibration measures it. What is rounded is
    the value before `gain` and `offset` were applied to give `x`.
    """
    exact = ops.cast(x, "float32")
    normalized = (exact - offset) / gain
    axes = (-1,) if per_token else None
    low = ops.minimum(ops.min(normalized, axis=axes, keepdims=True), 0.0)
    high = ops.maximum(ops.max(normalized, axis=axes, keepdims=True), 0.0)
    scale = ops.maximum((high - low) / 255, _MIN_SCALE)
    zero_point = ops.round(-low / scale)
    codes = ops.clip(ops.round(normalized / scale) + zero_point, 0, 255) - zero_point
    return x + ops.cast(ops.stop_gradient((codes * scale - normalized) * gain), x.dtype)
