"""What each layer's coarse weights, or 8-bit activations, cost: the layer alone, all others exact.

Layers are made coarse in the lowered model, one after the other, and its outputs are compared with the
exact ones on held-out text. In packages the errors of layers cancel or add up by chance: in a
squeezebert-micro with two labels, a layer that went from 8 to 16 bits seemed to cost 2.6 dB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.head import Outputs, Request
from sqb_tf.progress import track
from sqb_tf.quantization import MAX_CODES, small_table_type
from sqb_tf.text.encoder import TextEncoder

from ..conversion.calibration import FOR_RANGES, calibration_samples
from ..conversion.converter import ConversionRequest
from ..conversion.equalize import equalize
from ..conversion.gptq import round_rows
from ..conversion.lowering.layers import INPUT, OUTPUT, Attention, Dense
from ..conversion.lowering.model import EMBEDDINGS, LoweredModel
from ..conversion.recipes import RecipeSpec, check_layers
from ..package.info import PackageInfo
from ..text_table import align
from .verify import compare

# Texts on which layers are ranked.
TEXTS = 32
Samples = Sequence[dict[str, tf.Tensor]]
_Ranges = dict[tuple[Dense, str], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one coarse layer does to the outputs.

    Attributes:
        layer: its name.
        of: `weights` or `activations`.
        coarse: the storage type of the weights, or `int8x8`.
        package: what the package has; of activations it may be `int16x8`, which costs next to nothing, or
            `not recorded`.
        weights: their number.
        sqnr_db: signal to noise of the outputs with this layer alone coarse.
        agreement: the share of decisions that are the same then, see `Head.agreement`.
    """

    layer: str
    of: str
    coarse: str
    package: str
    weights: int
    sqnr_db: float
    agreement: float

    @property
    def noise(self) -> float:
        """As a share of the signal's power."""
        return float(10 ** (-self.sqnr_db / 10))


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What each layer costs, the costliest first, on a number of `examples`."""

    examples: int
    layers: Sequence[Cost]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """For people."""
        header = (
            "alone coarse",
            "of",
            "coarse",
            "in the package",
            "dB",
            "other decisions",
            "weights",
        )
        rows: list[tuple[str, ...]] = [header]
        rows += [
            (
                cost.layer,
                cost.of,
                cost.coarse,
                cost.package,
                f"{cost.sqnr_db:.1f}",
                f"{1 - cost.agreement:.1%}",
                f"{cost.weights:,}",
            )
            for cost in self.layers
        ]
        return align(rows)


def of_package(
    package: PackageInfo, model: LoadedModel, examples: Sequence[Example]
) -> Sensitivity:
    """What each layer of a package costs; its activations are calibrated on the bundle's sample.

    Raises:
        InputError: a package whose recipe has no layers, or of another model.
    """
    recipe = _recipe(package)
    if (list(package.labels or ()), list(package.vocabulary)) != (
        list(model.labels or ()),
        list(model.tokenizer.vocabulary),
    ):
        raise InputError(
            f"{package.path}: its labels or vocabulary are not those of {model.info.directory}: name the "
            "bundle that it was converted from"
        )
    lowering = package.lowering or "auto"
    request = ConversionRequest.read(model, recipe, package.seq_lengths, lowering=lowering)
    lowered, samples = before_rounding(request)
    costs = of_weights(lowered, model, examples, recipe.storage_types(lowered.layers))
    if recipe.activations is not None:
        of_each = of_activations(lowered, request, samples, examples)
        if not package.properties.get("activations"):  # of an earlier version
            of_each = [dataclasses.replace(cost, package="not recorded") for cost in of_each]
        costs += of_each
    return Sensitivity(len(examples), sorted(costs, key=lambda cost: cost.sqnr_db))


def _recipe(package: PackageInfo) -> RecipeSpec:
    """What a package stores of each layer; `InputError` for a recipe that has no layers."""
    properties = package.properties
    check_layers(package.recipe, properties.get("weights"), package.path)
    if patterns := properties.get("activations"):
        return RecipeSpec.read(patterns)
    named = package.recipe != "mixed"
    return RecipeSpec.read(str(package.recipe) if named else properties.get("weights") or {})


def before_rounding(request: ConversionRequest) -> tuple[LoweredModel, Samples]:
    """The model with the weights that conversion rounds: those of integer-only recipes are equalized.

    Also the calibration text, which other recipes need none of here.
    """
    lowered = request.lower()
    if not request.recipe.base.activation_bits:
        return lowered, []
    samples = calibration_samples(request.model, request.calibration, FOR_RANGES)
    equalize(lowered, samples)
    return lowered, samples


def of_weights(
    lowered: LoweredModel,
    model: LoadedModel,
    examples: Sequence[Example],
    storage: Mapping[str, str],
) -> list[Cost]:
    """What each layer's weights cost in their storage type, of layers that are stored in integers."""
    layers = {layer: kind for layer, kind in storage.items() if kind in MAX_CODES}
    rounded = functools.partial(_rounded_weights, lowered, layers)
    return _measure(lowered, model, examples, "weights", layers, layers, rounded)


def of_activations(
    lowered: LoweredModel,
    request: ConversionRequest,
    samples: Samples,
    examples: Sequence[Example],
) -> list[Cost]:
    """What 8 bits cost in the inputs and outputs of each layer that may have 16.

    The lowered model and the samples are those of `before_rounding`. What attention reads and writes has 8
    bits in any case, and is left out.
    """
    layers = lowered.choosable
    rounded = functools.partial(_rounded_activations, lowered, _ranges(lowered, samples))
    narrow = dict.fromkeys(layers, "int8x8")
    package = narrow | dict.fromkeys(request.recipe.wide_layers(layers), "int16x8")
    return _measure(lowered, request.model, examples, "activations", narrow, package, rounded)


def _measure(
    lowered: LoweredModel,
    model: LoadedModel,
    examples: Sequence[Example],
    of: str,
    coarse: Mapping[str, str],
    package: Mapping[str, str],
    rounded: Callable[[str], contextlib.AbstractContextManager[None]],
) -> list[Cost]:
    """What each layer of `coarse` costs; `rounded` makes it alone so."""
    backend = _LoweredBackend(lowered, model)
    exact = _Exact(backend)
    compare(exact, exact, None, examples, shows_progress=False)  # remembers the exact outputs
    costs = []
    for layer, kind in track(coarse.items(), "sensitivity", len(coarse)):
        with rounded(layer):
            compared = compare(exact, backend, None, examples, shows_progress=False)
        size = sum(variable.numpy().size for variable in weights(lowered, layer))
        quality = compared.sqnr_db, compared.agreement
        costs.append(Cost(layer, of, kind, package[layer], size, *quality))
    return costs


def weights(lowered: LoweredModel, layer: str) -> Iterator[tf.Variable]:
    """The kernels or tables of a layer."""
    if layer == EMBEDDINGS:
        yield from lowered.tables
    yield from (dense.kernel for dense in lowered.dense_layers if dense.layer == layer)


@contextlib.contextmanager
def _rounded_weights(
    lowered: LoweredModel, storage: Mapping[str, str], layer: str
) -> Iterator[None]:
    """Rounds a layer's weights to its storage type."""
    kind, variables = storage[layer], list(weights(lowered, layer))
    exact = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(as_stored(lowered, layer, variable, kind))
    try:
        yield
    finally:
        for variable, values in zip(variables, exact, strict=True):
            variable.assign(values)


def as_stored(lowered: LoweredModel, layer: str, variable: tf.Variable, kind: str) -> np.ndarray:
    """A kernel or table as packages store it; 4-bit kernels to nearest, where conversion has GPTQ."""
    values: np.ndarray = variable.numpy()
    if layer == EMBEDDINGS and lowered.integer:
        if variable is lowered.position_table:  # a constant that is added, in 16 bits
            return values
        # A table of GATHER has one scale and a zero point, as activations have.
        return _in_256_levels(values, min(0.0, values.min()), max(0.0, values.max())).numpy()
    if layer == EMBEDDINGS and variable is not lowered.word_table:
        kind = small_table_type(kind)
    return round_rows(values, MAX_CODES[kind], clip=kind == "int4")


def _in_256_levels(x: Any, lowest: float, highest: float) -> tf.Tensor:
    """`x` rounded to 8 bits of a range that has 0."""
    scale = (highest - lowest) / 255 or 1.0
    codes = tf.clip_by_value(tf.round(x / scale), round(lowest / scale), round(highest / scale))
    return codes * scale


@contextlib.contextmanager
def _passing(
    denses: Sequence[Dense], through: Callable[[Dense, str, tf.Tensor], tf.Tensor]
) -> Iterator[None]:
    """Sends inputs and outputs of matmuls through a function."""
    for dense in denses:
        dense.through = functools.partial(through, dense)
    try:
        yield
    finally:
        for dense in denses:
            dense.through = None


def _ranges(lowered: LoweredModel, samples: Samples) -> _Ranges:
    """The smallest and the largest value of each input and output of matmuls that may have 16 bits."""
    ranges: _Ranges = {}
    narrow = _narrow(lowered)

    def observe(dense: Dense, end: str, x: tf.Tensor) -> tf.Tensor:
        if (dense, end) not in narrow:
            lowest, highest = ranges.get((dense, end), (0.0, 0.0))  # a scale's range has 0
            values = x.numpy()
            ranges[dense, end] = min(lowest, values.min()), max(highest, values.max())
        return x

    with _passing(lowered.dense_layers, observe):
        for sample in samples:
            lowered(**sample)
    return ranges


def _narrow(lowered: LoweredModel) -> set[tuple[Dense, str]]:
    """What has 8 bits in any case: what attention, or a convolution in its place, reads and writes."""
    narrow = set()
    for block in lowered.blocks:
        narrow |= {(dense, INPUT) for dense in block.post_attention.groups_dense}
        if isinstance(block.mixer, Attention):
            read = (dense for source in block.mixer.sources for dense in source.groups_dense)
            narrow |= {(dense, OUTPUT) for dense in read}
    return narrow


@contextlib.contextmanager
def _rounded_activations(lowered: LoweredModel, ranges: _Ranges, layer: str) -> Iterator[None]:
    """Rounds a layer's inputs and outputs to 256 levels of their ranges."""

    def rounded(dense: Dense, end: str, x: tf.Tensor) -> tf.Tensor:
        if (dense, end) not in ranges:
            return x
        return _in_256_levels(x, *ranges[dense, end])

    with _passing([x for x in lowered.dense_layers if x.layer == layer], rounded):
        yield


class _LoweredBackend(Backend):
    """The lowered model, run eagerly, as a backend."""

    def __init__(self, lowered: LoweredModel, model: LoadedModel) -> None:
        self.head, self._lowered, self._encoder = (
            model.info.head,
            lowered,
            model.preprocessor.encoder,
        )

    @property
    def encoder(self) -> TextEncoder:
        return self._encoder

    def run(self, requests: Iterable[Request]) -> Iterator[Outputs]:
        for request in requests:
            inputs = {name: tf.constant(values) for name, values in request.inputs.items()}
            yield {name: values.numpy()[0] for name, values in self._lowered(**inputs).items()}


class _Exact(Backend):
    """A backend that runs once and gives the same outputs again, for the same requests."""

    def __init__(self, backend: Backend) -> None:
        self.head, self._backend = backend.head, backend
        self._outputs: list[Outputs] | None = None

    @property
    def encoder(self) -> TextEncoder:
        return self._backend.encoder

    def run(self, requests: Iterable[Request]) -> Iterator[Outputs]:
        if self._outputs is None:
            self._outputs = list(self._backend.run(requests))
        yield from self._outputs
