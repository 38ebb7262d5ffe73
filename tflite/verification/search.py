"""The cheapest mix of weights that keeps a recipe's bounds: which layers must be finer, and what that costs.

Each layer alone is rounded as the recipe stores it; how much noise that makes in the outputs, for each byte
that it saves, is its sensitivity. The most sensitive become finer, in that order, as few as are needed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.data.example import Example
from sqb_tf.progress import log, track

from ..conversion.calibration import FEW
from ..conversion.converter import calibration_samples, convert
from ..conversion.gptq import rounded
from ..conversion.lowering.model import EMBEDDINGS, LoweredModel
from ..conversion.recipes import (
    SHARED_TABLE,
    WEIGHT_KINDS,
    check_searchable,
    choose_lowering,
    chosen,
    resolve,
)
from .verify import Report, verify

# What a layer becomes that has to be finer, and bits of a weight.
FINER = {"int4": "int8", "int8": "float32"}
_BITS = {"float32": 32, "fp16": 16, "int8": 8, "int4": 4}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One mix that was converted and verified."""

    finer: int  # how many of the most sensitive layers
    patterns: dict[str, str]
    content: bytes
    report: Report

    @property
    def kept(self) -> bool:
        """Whether it is within the bounds."""
        return not self.report.misses

    def summary(self) -> dict[str, Any]:
        """Its figures, ready for JSON."""
        return {
            "finer_layers": self.finer,
            "size_bytes": len(self.content),
            "sqnr_db": self.report.sqnr_db,
            "agreement": self.report.agreement,
            "drop": self.report.metric["drop"],
            "misses": self.report.misses,
        }


def find(
    model: Any,
    recipe: str,
    examples: Sequence[Example],
    seq_lengths: Sequence[int] | None = None,
    calibration: Any = None,
    budget: float = 600.0,
    lowering: str = "auto",
) -> list[Attempt]:
    """Searches for the cheapest mix within the bounds of `recipe`, see `search`; arguments as of `convert`.

    Raises:
        InputError: a recipe that is not a matter of weights alone.
    """
    recipe_of, patterns, origin = chosen(recipe)
    check_searchable(recipe_of)
    task = model.info.task
    length = max([task.seq_length, *(seq_lengths or ())])
    lowered = LoweredModel(model, task.kind, length, lowering=choose_lowering(lowering))
    kinds = resolve(patterns, lowered.layers, origin)
    samples = calibration_samples(model, calibration, FEW)

    def attempt(mix: dict[str, str]) -> tuple[bytes, Report]:
        content = convert(model, mix, seq_lengths, calibration, lowering)
        return content, verify(model, content, examples, bounds_of=recipe_of)

    return search(kinds, by_sensitivity(lowered, samples, kinds), attempt, budget)


def search(
    kinds: Mapping[str, str],
    order: Sequence[str],
    attempt: Callable[[dict[str, str]], tuple[bytes, Report]],
    budget: float,
) -> list[Attempt]:
    """Tries mixes: 1, 2, 4... finer layers until the bounds are kept, then fewer by halving.

    Args:
        kinds: what each layer is stored as, and misses the bounds.
        order: layers that can be finer, the most sensitive first.
        attempt: converts and verifies patterns.
        budget: seconds after which no other mix is tried.

    Returns:
        Every attempt, in the order made. The cheapest within bounds is the one of `kept` with the fewest
        finer layers; there may be none.
    """
    start, tried = time.monotonic(), []

    def keeps(count: int) -> bool:
        patterns = {**kinds, **{layer: FINER[kinds[layer]] for layer in order[:count]}}
        tried.append(Attempt(count, patterns, *attempt(patterns)))
        last = tried[-1]
        log(
            f"{count} of {len(order)} layers finer: {len(last.content) / 1e6:.2f} MB, "
            f"{last.report.sqnr_db:.1f} dB, {'within bounds' if last.kept else 'missed'}"
        )
        return last.kept

    missed, kept, count = 0, None, 1
    while kept is None and missed < len(order) and time.monotonic() - start < budget:
        count = min(count, len(order))
        missed, kept, count = (missed, count, count) if keeps(count) else (count, None, 2 * count)
    while kept is not None and kept - missed > 1 and time.monotonic() - start < budget:
        middle = (missed + kept) // 2
        missed, kept = (missed, middle) if keeps(middle) else (middle, kept)
    return tried


def cheapest(tried: Sequence[Attempt]) -> Attempt | None:
    """The attempt within bounds with the fewest finer layers."""
    return min((one for one in tried if one.kept), key=lambda one: one.finer, default=None)


def by_sensitivity(
    lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]], kinds: Mapping[str, str]
) -> list[str]:
    """Layers that can be finer, by falling noise for each byte that their coarser kind saves."""
    reference = [_outputs(lowered, sample) for sample in samples]
    found = {}
    candidates = [layer for layer in lowered.layers if kinds[layer] in FINER]
    if EMBEDDINGS in candidates and SHARED_TABLE[1] in candidates:
        # One table in the file, of one kind: it cannot be finer where it is looked up alone.
        candidates = [layer for layer in candidates if layer not in SHARED_TABLE]
    for layer in track(candidates, "sensitivity", len(candidates)):
        variables = list(_weights(lowered, layer))
        saved = [variable.numpy() for variable in variables]
        largest = WEIGHT_KINDS[kinds[layer]]
        for variable, values in zip(variables, saved, strict=True):
            variable.assign(rounded(values, largest, clip=kinds[layer] == "int4"))
        noise = sum(
            float(np.square(_outputs(lowered, sample) - exact).sum())
            for sample, exact in zip(samples, reference, strict=True)
        )
        for variable, values in zip(variables, saved, strict=True):
            variable.assign(values)
        bits = _BITS[FINER[kinds[layer]]] - _BITS[kinds[layer]]
        found[layer] = noise / (bits / 8 * sum(values.size for values in saved))
    return sorted(found, key=found.get, reverse=True)


def _weights(lowered: LoweredModel, layer: str) -> Iterator[tf.Variable]:
    if layer == EMBEDDINGS:
        yield from (lowered.word_table, lowered.position_table, lowered.type_table)
    yield from (dense.kernel for dense in lowered.dense_layers if dense.layer == layer)


def _outputs(lowered: LoweredModel, sample: dict[str, tf.Tensor]) -> np.ndarray:
    return np.concatenate([values.numpy().ravel() for values in lowered(**sample).values()])


def plot(tried: Sequence[Attempt], path: str | Path) -> None:
    """Size against signal to noise of every attempt, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
    for kept, label, colour in ((True, "within bounds", "C2"), (False, "missed", "C3")):
        some = [one for one in tried if one.kept == kept]
        sizes = [len(one.content) / 1e6 for one in some]
        axes.scatter(sizes, [one.report.sqnr_db for one in some], label=label, color=colour)
        for one, size in zip(some, sizes, strict=True):
            place = (size, one.report.sqnr_db)
            axes.annotate(
                f" {one.finer} finer, {one.report.agreement:.1%} the same", place, fontsize=8
            )
    axes.set_xlabel("package, MB")
    axes.set_ylabel("signal to noise, dB")
    axes.legend()
    figure.savefig(path, format="png", dpi=150)
    plt.close(figure)
