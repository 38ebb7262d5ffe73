"""Fake quantization: values rounded as a quantized file stores them, kept as floats.

`quantization_aware.py` trains with them.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from sqb_tf.quantization import MAX_CODES, MIN_SCALE, round_to_scale

# The range as a share of a row's largest value: with 4 bits a smaller one clips few weights and rounds
# all the others more finely. Conversion searches for the best share of each row (see `round_to_scale`).
_RANGES = {"int8": 1.0, "int4": 0.9}


def fake_quantize_weight(
    weight: Any, storage_type: str, axes: tuple[int, ...] | None, gain: Any = 1.0
) -> Any:
    """`weight` rounded to integer multiples of a scale, symmetrically.

    Args:
        weight: any shape.
        storage_type: `int8` or `int4`.
        axes: the axes over which weights share a scale; None: all of them.
        gain: what the file multiplies the weights by before it rounds them.
    """
    max_code = MAX_CODES[storage_type]
    weight = ops.convert_to_tensor(weight) * gain
    max_abs = ops.max(ops.abs(weight), axis=axes, keepdims=True)
    scale = ops.maximum(max_abs * (_RANGES[storage_type] / max_code), MIN_SCALE)
    return round_to_scale(weight, scale, max_code, ops) / gain


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
    scale = ops.maximum((high - low) / 255, MIN_SCALE)
    zero_point = ops.round(-low / scale)
    codes = ops.clip(ops.round(normalized / scale) + zero_point, 0, 255) - zero_point
    return x + ops.cast(ops.stop_gradient((codes * scale - normalized) * gain), x.dtype)
