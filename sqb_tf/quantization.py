"""What quantized files store, and how values are rounded: one table for training and for conversion.

Quantization-aware training sees the values that the converted file will have, so it reads the same table as
`sqb_tflite.conversion.recipes`, which adds summaries, bounds and everything else that only conversion needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

# The bits of each storage type of weights, and the largest code of those that are integers (symmetric:
# -128 and -8 are not used).
BITS = {"float32": 32, "fp16": 16, "int8": 8, "int4": 4}
MAX_CODES = {"int8": 127, "int4": 7}
# The bits of activations of the types of layers in an integer-only model, whose weights are int8.
ACTIVATION_BITS = {"int8x8": 8, "int16x8": 16}
# A scale is at least this, so that a row of zeros divides by something.
MIN_SCALE = 1e-30


@dataclasses.dataclass(frozen=True)
class Storage:
    """What a recipe stores.

    Attributes:
        weights: layer-name pattern (a shell's: `*`, `?`, `[...]`) -> storage type. The last match wins;
            a layer without a match is float32.
        activation_bits: bits of the activations of an integer-only model; None: the runtime quantizes
            them for each token, to 8 bits.
        activations: layer-name pattern -> key of `ACTIVATION_BITS`, for matmuls with other activations than
            those of `activation_bits`. The last match wins.
    """

    weights: Mapping[str, str]
    activation_bits: int | None = None
    activations: Mapping[str, str] = dataclasses.field(default_factory=dict)


STORAGE = {
    "int8": Storage({"*": "int8"}),
    "int4": Storage({"block_*": "int4", "embeddings": "int8", "pooler": "int8", "head*": "int8"}),
    "int4-all": Storage(
        {
            "block_*": "int4",
            "embeddings": "int4",
            "pooler": "int8",
            "head*": "int8",
            "head/decoder": "int4",  # the masked LM's: the same table as the embeddings
        }
    ),
    # GELU leaves values of 23 among others of 0.2, for which 8 bits are too few: 16 raise the median of a
    # MiniLM's last states from 24.5 to 34.9 dB.
    "int8-full": Storage(
        {"*": "int8"},
        activation_bits=8,
        activations={
            "*": "int8x8",
            "block_*/intermediate": "int16x8",
            "block_*/output_projection": "int16x8",
        },
    ),
    "int16x8": Storage({"*": "int8"}, activation_bits=16),
}
# The recipes that training can simulate. Not int16x8: training rounds activations to 8 bits.
QUANTIZE_AWARE = ("int8", "int4", "int4-all", "int8-full")


# Positions and types are added to every token, so an error of theirs is in every token. In 4 bits all tables
# leave MiniLM on CLINC150 20.1 dB, the words alone 26.8, for 0.025 MB at 128 positions.
_SMALL_TABLES = {"int4": "int8"}


def small_table_type(word_table_type: str) -> str:
    """The storage type of the position and type embeddings, from that of the word embeddings."""
    return _SMALL_TABLES.get(word_table_type, word_table_type)


def storage_type(weights: Mapping[str, str], layer: str, default: str = "float32") -> str:
    """The storage type of a layer's weights: that of the last pattern that matches, else `default`."""
    matches = (
        dtype for pattern, dtype in reversed(list(weights.items())) if fnmatchcase(layer, pattern)
    )
    return next(matches, default)


def round_to_scale(values: Any, scale: Any, max_code: int, math: Any = np) -> Any:
    """`values` as whole multiples of `scale`, from -`max_code` to `max_code`: as a file has them, in float.

    Training and conversion share this, not the choice of the scale. In 8 bits both let a row's widest value
    be `max_code`. In 4 bits a narrower range clips few weights and rounds the others finer: conversion, which
    rounds once, tries nine ranges for each row (`sqb_tflite.conversion.gptq`); training, which rounds at
    every step, always takes 0.9 of the widest (`sqb_tf.training.fake_quantization`).

    `math` is `numpy` or `keras.ops`.
    """
    return math.clip(math.round(values / scale), -max_code, max_code) * scale
