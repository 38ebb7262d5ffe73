"""Calibration: what real text tells the quantizer, through the preprocessing that the model runs on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError
from sqb_tf.text.preprocessing import Preprocessor

# Texts at most. For means over tokens few will do: 32 have hundreds to thousands of tokens. Ranges of
# activations and 4-bit rounding want more.
FEW, MANY = 32, 128


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
    preprocessor: Preprocessor,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    limit: int = FEW,
) -> list[dict[str, tf.Tensor]]:
    """The model's inputs `[1, length]` for at most `limit` texts, spread over the sequence.

    Raises:
        InputError: no texts, or only empty ones.
    """
    kept = [i for i, text in enumerate(texts) if text.strip()]
    if not kept:
        raise InputError("the calibration text is empty: give at least one line of real text")
    kept = kept[:: max(1, len(kept) // limit)][:limit]
    return [preprocessor([texts[i]], None if pairs is None else [pairs[i]]) for i in kept]
