"""A model with inputs and targets, as test_jax.py writes it for both backends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.config import SqueezeBertConfig
from sqb_tf.model import heads


def load_case(folder: Path, name: str) -> tuple[Any, dict[str, np.ndarray], Any]:
    """The model before the training step, its inputs, and its targets: an array if it has one output."""
    case = json.loads((folder / f"{name}.json").read_text())
    config = SqueezeBertConfig.from_dict(case["config"])
    model = heads.build(case["head"], config, case["labels"])
    model.load_weights(folder / f"{name}.weights.h5")
    arrays = dict(np.load(folder / f"{name}.npz"))
    inputs = {key.partition("/")[2]: x for key, x in arrays.items() if key.startswith("inputs/")}
    targets = {key.partition("/")[2]: x for key, x in arrays.items() if key.startswith("targets/")}
    return model, inputs, targets["output"] if list(targets) == ["output"] else targets
