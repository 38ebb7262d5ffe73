"""Calibration: what real text tells the quantizer, through the preprocessing that the model runs on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from sqb_tf.errors import InputError
from sqb_tf.preprocessing import Preprocessor
from sqb_tf.progress import track
from sqb_tf.tasks.delimited import numbered_lines
from tflite.lower import LoweredModel
from tflite.lowered_layers import Dense

# The correction is a mean over tokens: 32 texts give hundreds to thousands of them.
MAX_SAMPLES = 32


def read_texts(path: str | Path, paired: bool) -> list[str] | list[tuple[str, str]]:
    """The texts of a file, one a line; for pairs, text and pair parted by a tab. Blank lines are left out.

    Raises:
        InputError: unreadable, not UTF-8, no text in it, a line that is not a pair.
    """
    lines = [(n, line.rstrip("\r\n")) for n, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise InputError(f"{path}: the calibration text is empty: give a line or more of real text")
    if not paired:
        return [line for _, line in lines]
    for number, line in lines:
        if not all(part.strip() for part in line.partition("\t")[::2]):
            raise InputError(f"{path}:{number}: expected two texts parted by a tab")
    return [tuple(line.split("\t", 1)) for _, line in lines]


def samples(
    preprocessor: Preprocessor, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[dict[str, tf.Tensor]]:
    """The model's inputs `[1, length]` for at most `MAX_SAMPLES` texts, spread over the sequence.

    Raises:
        InputError: no texts, or only empty ones.
    """
    kept = [i for i, text in enumerate(texts) if text.strip()]
    if not kept:
        raise InputError("the calibration text is empty: give at least one line of real text")
    kept = kept[:: max(1, len(kept) // MAX_SAMPLES)][:MAX_SAMPLES]
    return [preprocessor([texts[i]], None if pairs is None else [pairs[i]]) for i in kept]


def correct_rounding(lowered: LoweredModel, inputs: Sequence[dict[str, tf.Tensor]]) -> None:
    """Takes the mean error that int8 weights cause out of the biases, in place.

    Rounding a kernel shifts its output by (rounded - kernel) x; the mean of that over real text is a
    constant of each output channel, and a bias can absorb it (Nagel et al. 2019, section 4.2.2).
    """
    sums: dict[Dense, tuple[np.ndarray, int]] = {}

    def observe(dense: Dense, x: tf.Tensor) -> None:
        tokens = x.numpy().reshape(-1, x.shape[-1])
        total, count = sums.get(dense, (0.0, 0))
        sums[dense] = (total + tokens.sum(axis=0, dtype=np.float64), count + len(tokens))

    layers = lowered.dense_layers
    for dense in layers:
        dense.observer = observe
    for sample in track(inputs, "calibration text", len(inputs)):
        lowered(**sample)
    for dense in layers:
        dense.observer = None
        total, count = sums[dense]
        kernel = dense.kernel.numpy()
        shift = (rounded(kernel) - kernel) @ (total / count).astype(np.float32)
        dense.bias.assign_sub(shift)


def rounded(kernel: np.ndarray) -> np.ndarray:
    """`kernel` `[out, in]` as int8 with a symmetric scale for each output channel stores it."""
    scale = np.maximum(np.abs(kernel).max(axis=1, keepdims=True), 1e-30) / 127
    return np.clip(np.round(kernel / scale), -127, 127) * scale
