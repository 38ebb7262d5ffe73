"""The cheapest mix within a recipe's bounds: which layers must be finer.

Each layer alone is rounded as the recipe stores it (`sensitivity`). The noise that this makes in the
outputs, per byte that it saves, is its sensitivity; of activations of an integer-only model, which begin with
8 bits in all layers, per weight. The most sensitive layers become finer, in that order, as few as needed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.progress import log
from sqb_tf.quantization import ACTIVATION_BITS, BITS

from ..conversion.converter import ConversionRequest, Prepared, convert_request
from ..conversion.lowering.model import EMBEDDINGS, LoweredModel
from ..conversion.recipes import SHARED_TABLE, RecipeSpec
from . import sensitivity
from .release_files import PICTURE_MARK
from .verify import Report, verify

# The storage type of a layer that has to be finer, or the type of its activations.
FINER = {"int4": "int8", "int8": "float32", "int8x8": "int16x8"}


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

    @property
    def verdict(self) -> str:
        """In words."""
        return "within bounds" if self.within_bounds else "missed"

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
        InputError: a recipe or a lowering no layer of which can be finer.
    """
    request.recipe.check_searchable()
    if request.recipe.base.activation_bits:
        return _find_activations(request, examples, budget)
    lowered = request.lower()
    storage = request.recipe.storage_types(lowered.layers)

    def attempt(mix: dict[str, str]) -> tuple[bytes, Report]:
        content = convert_request(dataclasses.replace(request, recipe=RecipeSpec.read(mix)))
        report = verify(request.model, content, examples, bounds_of=request.recipe.base)
        return content, report

    order = by_sensitivity(lowered, request.model, examples[: sensitivity.TEXTS], storage)
    return search(storage, order, attempt, budget)


def _find_activations(
    request: ConversionRequest, examples: Sequence[Example], budget: float
) -> list[Attempt]:
    """As few layers with 16-bit activations as the bounds need, beginning with none."""
    start, choosable = time.monotonic(), request.lower().choosable
    if not choosable:
        raise InputError(
            f"--search with {request.recipe.name}: with --lowering {request.lowering} every layer of this "
            "model whose activations could have 16 bits is a CONV_2D, where they have 8: leave out --search, "
            "or use --lowering group-fused"
        )
    prepared = Prepared.read(request)

    def attempt(mix: dict[str, str]) -> tuple[bytes, Report]:
        content = prepared.package(RecipeSpec.read(mix))
        return content, verify(request.model, content, examples)

    narrow = dict.fromkeys(choosable, "int8x8")
    first = Attempt(0, narrow, *attempt(narrow))
    log(f"all layers in 8 bits: {first.report.sqnr_db:.1f} dB, {first.verdict}")
    if first.within_bounds:
        return [first]
    # By noise for each weight, since a layer's 16-bit matmul costs time by its weights.
    lowered, samples = sensitivity.before_rounding(request)
    costs = sensitivity.of_activations(lowered, request, samples, examples[: sensitivity.TEXTS])
    order = _ranked({cost.layer: cost.noise / cost.weights for cost in costs})
    return [first, *search(narrow, order, attempt, budget - (time.monotonic() - start))]


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
            f"{last.report.sqnr_db:.1f} dB, {last.verdict}"
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
    lowered: LoweredModel,
    model: LoadedModel,
    examples: Sequence[Example],
    storage: Mapping[str, str],
) -> list[str]:
    """The layers that can be finer, by the noise that each makes alone per byte that it saves, most first."""
    layers = {layer: kind for layer, kind in storage.items() if kind in FINER}
    if EMBEDDINGS in layers and SHARED_TABLE[1] in layers:
        # One table in the file, of one storage type: it cannot be finer only where it is looked up.
        layers = {layer: kind for layer, kind in layers.items() if layer not in SHARED_TABLE}
    return _ranked(
        {
            cost.layer: cost.noise
            / (cost.weights * (BITS[FINER[cost.coarse]] - BITS[cost.coarse]) / 8)
            for cost in sensitivity.of_weights(lowered, model, examples, layers)
        }
    )


def _ranked(noise: Mapping[str, float]) -> list[str]:
    return sorted(noise, key=lambda layer: noise[layer], reverse=True)


def plot(tried: Sequence[Attempt], path: str | Path) -> None:
    """Draws signal to noise for every attempt: over size, or the finer layers where all have one size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
    of_activations = any(set(attempt.patterns.values()) & {*ACTIVATION_BITS} for attempt in tried)
    for within_bounds, label, colour in ((True, "within bounds", "C2"), (False, "missed", "C3")):
        attempts = [attempt for attempt in tried if attempt.within_bounds == within_bounds]
        sizes = [a.finer if of_activations else len(a.content) / 1e6 for a in attempts]
        sqnrs = [attempt.report.sqnr_db for attempt in attempts]
        axes.scatter(sizes, sqnrs, label=label, color=colour)
        for attempt, position in zip(attempts, zip(sizes, sqnrs, strict=True), strict=True):
            note = f" {attempt.finer} finer, {attempt.report.agreement:.1%} the same"
            axes.annotate(note, position, fontsize=8)
    axes.set_xlabel("layers in 16 bits" if of_activations else "package, MB")
    axes.set_ylabel("signal to noise, dB")
    axes.legend()
    figure.savefig(path, format="png", dpi=150, metadata={"Software": PICTURE_MARK})
    plt.close(figure)
