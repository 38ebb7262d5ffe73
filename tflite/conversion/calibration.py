"""Calibration text, preprocessed into the inputs that the quantizer observes, and its record."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.errors import InputError

# Most passages used. Means over tokens need few: 32 texts have hundreds to thousands of tokens. Ranges of
# activations are the widest values seen; the integer-only recipes were measured with these many. 4-bit
# rounding needs more: `int4` of MiniLM on CLINC150 (11 tokens a text) has 19.6 dB with 64 texts, 21.6 with
# 128 and 25.6 with 512. Of long texts fewer do.
FOR_MEANS, FOR_RANGES, FOR_ROUNDING = 32, 64, 512
MAX_TOKENS = 32_768


def calibration_samples(
    model: LoadedModel, calibration: Sequence[Any] | None, limit: int
) -> list[dict[str, tf.Tensor]]:
    """Inputs `[1, length]` for at most `limit` passages of the text, spread evenly over it.

    Args:
        model: a model as `sqb_tf.load` gives it.
        calibration: texts or pairs of texts; None: the model's own sample.
        limit: the most passages; fewer if they have more than `MAX_TOKENS` tokens.

    Raises:
        InputError: no text, neither passed nor in the bundle.
    """
    task = model.info.task
    if calibration is None:
        rows = [(e.text, e.pair) for e in model.info.sample("calibration")]
        if not rows:
            raise InputError(
                "this recipe needs calibration text, and the model has none: give some real texts "
                "(--calibration FILE; in Python, calibration=)"
            )
    else:
        rows = [row if task.paired else (row, None) for row in calibration]
    rows = [row for row in rows if row[0].strip()]
    encoded = model.info.head.encode(rows, model.preprocessor.encoder)
    requests = list(itertools.chain.from_iterable(encoded))
    if not requests:
        raise InputError("the calibration text is empty: give at least one line of real text")
    tokens = sum(request.inputs["input_word_ids"].shape[1] for request in requests)
    count = min(limit, len(requests), max(1, MAX_TOKENS * len(requests) // tokens))
    spread = np.linspace(0, len(requests) - 1, count).round().astype(int)
    return [
        {name: tf.constant(values) for name, values in requests[index].inputs.items()}
        for index in spread
    ]


def calibration_record(samples: Sequence[dict[str, tf.Tensor]]) -> dict[str, Any]:
    """The calibration text for `sqb.json`: number of texts and tokens, and a hash of the ids."""
    digest = hashlib.sha256()
    tokens = 0
    for sample in samples:
        ids = sample["input_word_ids"].numpy()
        digest.update(ids.tobytes())
        tokens += ids.size
    return {"texts": len(samples), "tokens": tokens, "sha256": digest.hexdigest()}
