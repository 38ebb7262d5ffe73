"""The cheapest mix of storage types within a recipe's bounds: which layers must be finer.

Each layer alone is rounded as the recipe stores it; the noise that this makes in the outputs, per byte that
it saves, is its sensitivity. The most sensitive layers become finer, in that order, as few as needed.
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
from sqb_tf.quantization import BITS, MAX_CODES

from ..conversion.calibration import FOR_MEANS, calibration_samples
from ..conversion.converter import ConversionRequest, convert_request
from ..conversion.gptq import round_rows
from ..conversion.lowering.model import EMBEDDINGS, LoweredModel
from ..conversion.recipes import SHARED_TABLE, RecipeSpec
from .release_files import PICTURE_MARK
from .verify import Report, verify

# The storage type of a layer that has to be finer.
FINER = {"int4": "int8", "int8": "float32"}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One mix that was converted and verified."""

    finer: int  # how many of the most sensitive layers
    patterns: dict[str, str]
    content: bytes
    report: Report

    @property
    def within_bounds(self) -> bool:
        """Whether the package missed no bound."""
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
    request: ConversionRequest, examples: Sequence[Example], budget: float = 600.0
) -> list[Attempt]:
    """Searches for the cheapest mix within the bounds of the request's recipe, see `search`.

    Raises:
        InputError: a recipe that is not about weights alone.
    """
    request.recipe.check_searchable()
    lowered = request.lower()
    storage = request.recipe.storage_types(lowered.layers)
    samples = calibration_samples(request.model, request.calibration, FOR_MEANS)

    def attempt(mix: dict[str, str]) -> tuple[bytes, Report]:
        content = convert_request(dataclasses.replace(request, recipe=RecipeSpec.read(mix)))
        report = verify(request.model, content, examples, bounds_of=request.recipe.base)
        return content, report

    return search(storage, by_sensitivity(lowered, samples, storage), attempt, budget)


def search(
    storage: Mapping[str, str],
    order: Sequence[str],
    attempt: Callable[[dict[str, str]], tuple[bytes, Report]],
    budget: float,
) -> list[Attempt]:
    """Tries mixes: 1, 2, 4... finer layers until the bounds are met, then fewer by bisection.

    Args:
        storage: the storage type of each layer, which misses the bounds.
        order: the layers that can be finer, the most sensitive first.
        attempt: converts and verifies a mix.
        budget: seconds after which no other mix is tried.

    Returns:
        Every attempt, in the order made: `cheapest` picks one, if any is within the bounds.
    """
    start, tried = time.monotonic(), []

    def succeeds(count: int) -> bool:
        mix = {**storage, **{layer: FINER[storage[layer]] for layer in order[:count]}}
        last = Attempt(count, mix, *attempt(mix))
        tried.append(last)
        log(
            f"{count} of {len(order)} layers finer: {len(last.content) / 1e6:.2f} MB, "
            f"{last.report.sqnr_db:.1f} dB, {'within bounds' if last.within_bounds else 'missed'}"
        )
        return last.within_bounds

    def in_time() -> bool:
        return time.monotonic() - start < budget

    missed, met, count = 0, None, 1
    while met is None and missed < len(order) and in_time():
        count = min(count, len(order))
        missed, met, count = (missed, count, count) if succeeds(count) else (count, None, 2 * count)
    while met is not None and met - missed > 1 and in_time():
        middle = (missed + met) // 2
        missed, met = (missed, middle) if succeeds(middle) else (middle, met)
    return tried


def cheapest(tried: Sequence[Attempt]) -> Attempt | None:
    """The attempt within the bounds with the fewest finer layers; None: none is within them."""
    return min((a for a in tried if a.within_bounds), key=lambda a: a.finer, default=None)


def by_sensitivity(
    lowered: LoweredModel, samples: Sequence[dict[str, tf.Tensor]], storage: Mapping[str, str]
) -> list[str]:
    """The layers that can be finer, by the noise that each makes alone per byte that it saves, most first."""
    exact = [_outputs(lowered, sample) for sample in samples]
    layers = [layer for layer in lowered.layers if storage[layer] in FINER]
    if EMBEDDINGS in layers and SHARED_TABLE[1] in layers:
        # One table in the file, of one storage type: it cannot be finer only where it is looked up.
        layers = [layer for layer in layers if layer not in SHARED_TABLE]
    sensitivity = {}
    for layer in track(layers, "sensitivity", len(layers)):
        coarse = storage[layer]
        variables = list(_weights(lowered, layer))
        saved = [variable.numpy() for variable in variables]
        for variable, values in zip(variables, saved, strict=True):
            variable.assign(round_rows(values, MAX_CODES[coarse], clip=coarse == "int4"))
        noise = sum(
            float(np.square(_outputs(lowered, sample) - expected).sum())
            for sample, expected in zip(samples, exact, strict=True)
        )
        for variable, values in zip(variables, saved, strict=True):
            variable.assign(values)
        extra_bits = BITS[FINER[coarse]] - BITS[coarse]
        sensitivity[layer] = noise / (extra_bits / 8 * sum(values.size for values in saved))
    return sorted(sensitivity, key=lambda layer: sensitivity[layer], reverse=True)


def _weights(lowered: LoweredModel, layer: str) -> Iterator[tf.Variable]:
    if layer == EMBEDDINGS:
        yield from lowered.tables
    yield from (dense.kernel for dense in lowered.dense_layers if dense.layer == layer)


def _outputs(lowered: LoweredModel, sample: dict[str, tf.Tensor]) -> np.ndarray:
    return np.concatenate([values.numpy().ravel() for values in lowered(**sample).values()])


def plot(tried: Sequence[Attempt], path: str | Path) -> None:
    """Draws signal to noise over size, for every attempt."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
    for within_bounds, label, colour in ((True, "within bounds", "C2"), (False, "missed", "C3")):
        attempts = [attempt for attempt in tried if attempt.within_bounds == within_bounds]
        sizes = [len(attempt.content) / 1e6 for attempt in attempts]
        sqnrs = [attempt.report.sqnr_db for attempt in attempts]
        axes.scatter(sizes, sqnrs, label=label, color=colour)
        for attempt, position in zip(attempts, zip(sizes, sqnrs, strict=True), strict=True):
            note = f" {attempt.finer} finer, {attempt.report.agreement:.1%} the same"
            axes.annotate(note, position, fontsize=8)
    axes.set_xlabel("package, MB")
    axes.set_ylabel("signal to noise, dB")
    axes.legend()
    figure.savefig(path, format="png", dpi=150, metadata={"Software": PICTURE_MARK})
    plt.close(figure)
