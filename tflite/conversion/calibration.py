"""Calibration text, preprocessed into the inputs that the quantizer observes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from sqb_tf.errors import InputError
from sqb_tf.text.preprocessing import Preprocessor

# Most texts used. Means over tokens need few: 32 texts have hundreds to thousands of tokens. Ranges of
# activations and 4-bit rounding need more.
FEW, MANY = 32, 128


def samples(
    preprocessor: Preprocessor,
    texts: Sequence[str],
    pairs: Sequence[str | None] | None = None,
    limit: int = FEW,
) -> list[dict[str, tf.Tensor]]:
    """The model's inputs `[1, length]` for at most `limit` texts, spread evenly over the sequence.

    Raises:
        InputError: no texts, or only empty ones.
    """
    usable = [i for i, text in enumerate(texts) if text.strip()]
    if not usable:
        raise InputError("the calibration text is empty: give at least one line of real text")
    spread = usable[:: max(1, len(usable) // limit)][:limit]
    return [preprocessor([texts[i]], None if pairs is None else [pairs[i]]) for i in spread]
