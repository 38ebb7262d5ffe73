"""Checks of a conversion: `InputError` for what fails late, or gives a file that apps cannot run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sqb_tf.errors import InputError

from ..accelerators import rules
from ..package.graph import Graph
from .lowering.model import LoweredModel
from .recipes import RecipeSpec

# Memory that a conversion takes beside the loaded model: bytes in all, and bytes for each byte of its
# weights in float32. squeezebert-base (204 MB) took 1.3 GB in int8 and 1.6 in int8-full, squeezebert-small
# (8 MB) 0.35.
MEMORY_BASE, MEMORY_PER_BYTE = 3e8, 5


def check_finite(model: Any) -> None:
    """`InputError` for a weight that is NaN or infinite."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(
                f"weight {weight.path} has values that are NaN or infinite: the training diverged; "
                "convert an earlier bundle or train with a lower --learning-rate"
            )


def check_memory(model: Any) -> None:
    """`InputError` where memory is short: the system would kill the process without a message."""
    needed = MEMORY_BASE + MEMORY_PER_BYTE * 4 * model.count_params()
    available = available_memory()
    if available is not None and available < needed:
        raise InputError(
            f"converting this model takes about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB "
            "are available: end other programs, or convert it on a larger machine"
        )


def available_memory() -> int | None:
    """Bytes that this process may still take, of the machine or its container; None: unknown."""
    limits = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        limits.append(limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return min(limits, default=None)


def check_convolutions(
    lowered: LoweredModel, storage: Mapping[str, str], recipe: RecipeSpec
) -> None:
    """`InputError` for 4-bit weights in a CONV_2D, or 16-bit activations that a file asks for."""
    coarse = [layer for layer in lowered.convolutions if storage[layer] == "int4"]
    if coarse:
        raise InputError(
            f"--lowering grouped-conv: 4 bits in {coarse[0]} would run on a reference kernel, 20 times "
            "slower (XNNPACK has none for CONV_2D): use --lowering group-fused, or int8"
        )
    # The named recipe asks for feed-forward layers, whichever of them are matmuls.
    wide = [x for x in recipe.wide_layers(lowered.layers) if x in lowered.convolutions]
    if wide and recipe.origin:
        raise InputError(
            f"{recipe.origin}: {wide[0]} is int16x8, and with --lowering grouped-conv a CONV_2D, whose "
            "activations stay in 8 bits: use --lowering group-fused, or give it int8x8"
        )


def check_operations(content: bytes) -> None:
    """Raises an `InputError` that names every operation of a flatbuffer that is not a LiteRT built-in."""
    model = schema.Model.GetRootAs(content, 0)
    foreign = set()
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        if code.BuiltinCode() == schema.BuiltinOperator.CUSTOM:
            foreign.add(code.CustomCode().decode())
    if foreign:
        raise not_built_in(foreign)


def check_verdict(content: bytes, target: str) -> None:
    """`InputError` for a flatbuffer that its target would not take whole, or answer wrongly.

    `target` is a key of `accelerators.rules.RULES`, or `cpu`, which takes everything.
    """
    if target not in rules.RULES:
        return
    verdict = rules.judge(Graph.read(content, "the model"), target)
    if verdict.problems:
        raise InputError(
            f"--for {target}: {verdict.problems[0]}: change the recipe's patterns, or take a recipe by its "
            "name"
        )


def not_built_in(names: Iterable[str]) -> InputError:
    """The error for operations that LiteRT's built-ins do not have."""
    return InputError(
        f"operations that are not LiteRT built-ins: {', '.join(sorted(names))}. Such a file needs "
        "Select-TF or custom operations, which apps do not have"
    )
