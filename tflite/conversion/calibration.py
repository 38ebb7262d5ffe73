"""Calibration text, preprocessed into the inputs that the quantizer observes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from sqb_tf.errors import InputError
from sqb_tf.heads.head import Request

# Most texts used. Means over tokens need few: 32 texts have hundreds to thousands of tokens. Ranges of
# activations and 4-bit rounding need more.
FEW, MANY = 32, 128


def samples(requests: Sequence[Request], limit: int = FEW) -> list[dict[str, tf.Tensor]]:
    """The inputs `[1, length]` of at most `limit` requests, spread evenly over them.

    Raises:
        InputError: no requests.
    """
    if not requests:
        raise InputError("the calibration text is empty: give at least one line of real text")
    spread = requests[:: max(1, len(requests) // limit)][:limit]
    return [
        {name: tf.constant(values) for name, values in request.inputs.items()} for request in spread
    ]
