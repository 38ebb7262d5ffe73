"""Calibration text: read from a file, and preprocessed into the inputs that the quantizer observes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError
from sqb_tf.text.preprocessing import Preprocessor

# Most texts used. Means over tokens need few: 32 texts have hundreds to thousands of tokens. Ranges of
# activations and 4-bit rounding need more.
FEW, MANY = 32, 128


def read_texts(path: str | Path, paired: bool) -> list[str] | list[tuple[str, str]]:
    """The texts of a file, one per line; for pairs, two texts separated by a tab. Blank lines are skipped.

    Raises:
        InputError: unreadable, not UTF-8, without text, a line that is not a pair.
    """
    lines = [(n, line.rstrip("\r\n")) for n, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise InputError(
            f"{path}: the calibration text is empty: give at least one line of real text"
        )
    if not paired:
        return [line for _, line in lines]
    for number, line in lines:
        if not all(part.strip() for part in line.partition("\t")[::2]):
            raise InputError(f"{path}:{number}: expected two texts separated by a tab")
    return [(text, pair) for text, _, pair in (line.partition("\t") for _, line in lines)]


def samples(
    preprocessor: Preprocessor,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
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
