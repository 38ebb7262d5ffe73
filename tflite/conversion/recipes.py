"""The quantization recipes: what each stores, how much accuracy it may cost, where it runs well."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError, suggest
from sqb_tf.json_schema import read_json_file
from sqb_tf.quantization import ACTIVATION_BITS, BITS, MAX_CODES, STORAGE, Storage, storage_type

# How the model is shaped, and why; the first is that of CPUs.
LOWERINGS = {
    "group-fused": "every matmul is a FULLY_CONNECTED, which XNNPACK runs with float, int8 and int4 "
    "weights and quantizes per token; the channels of a group stay separate through each half of a block",
    "grouped-conv": "each grouped projection is one CONV_2D and attention covers all heads at once: 40% "
    "fewer operations and no splits; meant for GPUs, whose speed was not measured",
}
# The masked LM's output matmul uses the embedding table, which the file holds once: one storage type.
SHARED_TABLE = ("embeddings", "head/decoder")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How far a package may be from its Keras model on held-out text."""

    drop: float  # of the task metric, as a fraction: 0.005 is half a point of accuracy
    agreement: float  # share of examples with the same decision, such as the top label
    sqnr_db: float  # signal to quantization noise of the outputs: probabilities, not only labels
    reason: str


_SEED_SPREAD = (
    "0.3 points is less than the spread between training seeds; ranges that clip, the usual fault of 8 "
    "bits, show as 7 to 12 dB, sound conversions as 45 to 55 dB"
)
_FOUR_BITS = "16 levels per channel leave some 30 to 40 dB"


class Recipe(enum.Enum):
    """A recipe: its name on the command line, a summary, its bounds.

    `storage` has the layers' storage types; None where the stock converter decides (float32, fp16, dynamic)
    or a file does (mixed).
    """

    FLOAT32 = (
        "float32",
        "float32 weights and arithmetic: the reference",
        Bounds(0.0, 1.0, 80.0, "the same function: only float rounding, some 120 dB"),
    )
    FP16 = (
        "fp16",
        "float16 weights; float32 arithmetic on CPUs, float16 on GPUs: half the size",
        Bounds(0.001, 0.995, 50.0, "weights of 11 significant bits leave some 65 dB"),
    )
    DYNAMIC = (
        "dynamic",
        "the stock converter's dynamic range: int8 weights, one scale per embedding table, no calibration",
        Bounds(0.003, 0.985, 20.0, "as int8, and what one scale per table may cost"),
    )
    INT8 = (
        "int8",
        "int8 weights with one scale per output channel and per embedding row; activations quantized to "
        "int8 per token at run time; biases corrected for the mean rounding error on calibration text: the "
        "one for CPUs",
        Bounds(0.003, 0.985, 20.0, _SEED_SPREAD),
    )
    INT4 = (
        "int4",
        "as int8, with 4-bit weights in the blocks, rounded by GPTQ (later weights compensate for the "
        "errors of earlier ones): three quarters of the size of int8, faster on short texts",
        Bounds(0.007, 0.97, 14.0, _FOUR_BITS),
    )
    INT4_ALL = (
        "int4-all",
        "as int4, with 4-bit word embeddings: half the size of int8",
        Bounds(0.007, 0.97, 12.0, f"{_FOUR_BITS}, 4-bit embedding rows some 26"),
    )
    MIXED = (
        "mixed",
        "weights as a file of layer patterns says: --quantize FILE.json",
        Bounds(0.007, 0.97, 12.0, "as int4-all, the coarsest that a file can ask for"),
    )
    INT8_FULL = (
        "int8-full",
        "integers only: int32 ids in, int8 outputs, int8 activations in attention and int16 in norms and "
        "feed-forward layers, fixed lengths, calibrated on text: for NPUs and DSPs; slower than int8 on CPUs",
        Bounds(
            0.005,
            0.98,
            22.0,
            "one scale per activation tensor leaves 27 to 33 dB with real weights",
        ),
    )
    INT16X8 = (
        "int16x8",
        "integers only: int16 activations, int8 weights, fixed lengths, calibrated on text: for NPUs and "
        "DSPs with 16-bit activations",
        Bounds(0.003, 0.985, 25.0, f"int8's weights; {_SEED_SPREAD}"),
    )

    def __init__(self, label: str, summary: str, bounds: Bounds) -> None:
        self.label, self.summary, self.bounds = label, summary, bounds

    @property
    def storage(self) -> Storage | None:
        """What the recipe stores; None: the stock converter or a file decides."""
        return STORAGE.get(self.label)

    @property
    def activation_bits(self) -> int | None:
        """Bits of the activations of an integer-only model; None: activations are float in the file."""
        return None if self.storage is None else self.storage.activation_bits

    @property
    def is_searchable(self) -> bool:
        """Whether some layers can be finer: their weights, or activations that have 8 bits."""
        return self.unsearchable is None

    @property
    def unsearchable(self) -> str | None:
        """Why no layer can be finer, and what to do instead; None: some can."""
        if self is Recipe.INT16X8:
            return "all activations have 16 bits already: what is lost is int8's rounding of the weights"
        if self.storage is None and self is not Recipe.MIXED:
            return "it has no layers of integers to choose among"
        return None

    @classmethod
    def named(cls, label: str) -> Recipe:
        """The recipe of a label, as packages store it.

        Raises:
            InputError: no such recipe.
        """
        for recipe in cls:
            if recipe.label == label:
                return recipe
        raise InputError(
            f"unknown recipe {label!r}: expected one of {', '.join(cls.names())}, or a .json file of layer "
            f"patterns{suggest(label, cls.names())}"
        )

    @classmethod
    def names(cls) -> list[str]:
        """Every command-line name that needs no file: all but `mixed`."""
        return [recipe.label for recipe in cls if recipe is not Recipe.MIXED]


@dataclasses.dataclass(frozen=True)
class RecipeSpec:
    """A recipe as the user asked for it, read once.

    Attributes:
        base: the recipe, which sets the bounds.
        weights: layer-name pattern -> storage type; None where the stock converter decides.
        origin: where a mixed recipe's patterns are from: the file, or "the recipe" for a mapping. Each of
            its patterns must match a layer. "" for named recipes, which suit every head.
        activations: layer-name pattern -> key of `ACTIVATION_BITS`; None where all layers are alike.
    """

    base: Recipe
    weights: Mapping[str, str] | None
    origin: str = ""
    activations: Mapping[str, str] | None = None

    @classmethod
    def read(cls, recipe: str | Path | Mapping[str, str] | RecipeSpec) -> RecipeSpec:
        """From a recipe's name, the path of a mixed recipe's `.json` file, or its mapping.

        Raises:
            InputError: no such recipe; a mixed one by name alone; a bad file (`read_patterns`).
        """
        if isinstance(recipe, RecipeSpec):
            return recipe
        if isinstance(recipe, Mapping):
            return cls._mixed(_checked_patterns(dict(recipe), "the recipe"), "the recipe")
        if str(recipe).endswith(".json"):
            return cls._mixed(read_patterns(recipe), str(recipe))
        named = Recipe.named(str(recipe))
        if named is Recipe.MIXED:
            raise InputError(
                "recipe 'mixed': expected the .json file that has its layer patterns, in place of the name"
            )
        if named.storage is None:
            return cls(named, None)
        return cls(named, named.storage.weights, activations=named.storage.activations or None)

    @classmethod
    def _mixed(cls, patterns: Mapping[str, str], origin: str) -> RecipeSpec:
        """The patterns of a file: of weights, or of activations of an integer-only model."""
        if ACTIVATION_BITS.keys().isdisjoint(patterns.values()):
            return cls(Recipe.MIXED, patterns, origin)
        base = Recipe.INT8_FULL
        assert base.storage is not None
        return cls(base, base.storage.weights, origin, patterns)

    @property
    def name(self) -> str:
        """The recipe's name, or a mixed recipe's file."""
        return self.origin if self.origin.endswith(".json") else self.base.label

    @property
    def needs_calibration(self) -> bool:
        """Whether weights are rounded to integers here, by what texts make of them."""
        return bool(MAX_CODES.keys() & set((self.weights or {}).values()))

    def storage_types(self, layers: Sequence[str]) -> dict[str, str]:
        """The storage type of each layer's weights.

        Raises:
            InputError: a pattern of a mixed recipe that matches no layer; two types for one table.
        """
        weights = self.weights or {}
        patterns = weights if self.activations is None else self.activations
        for pattern in patterns if self.origin else ():
            if not any(fnmatchcase(layer, pattern) for layer in layers):
                raise InputError(
                    f"{self.origin}: pattern {pattern!r} matches no layer of this model, which has "
                    f"{', '.join(layers)}"
                )
        types = {layer: storage_type(weights, layer) for layer in layers}
        table, decoder = (types.get(layer) for layer in SHARED_TABLE)
        if decoder not in (None, table):
            raise InputError(
                f"{self.origin}: head/decoder is {decoder} and embeddings are {table}, which are one table "
                "in the file: give both the same type"
            )
        return types

    def wide_layers(self, layers: Sequence[str]) -> list[str]:
        """The layers whose activations have 16 bits beside others that have 8.

        The table of `embeddings` and the head, whose outputs are the model's, always have 8.
        """
        types = {layer: storage_type(self.activations or {}, layer, "int8x8") for layer in layers}
        return [layer for layer in matmuls_inside(layers) if types[layer] == "int16x8"]

    def check_searchable(self) -> None:
        """`InputError` for a recipe no layer of which can be finer, or a file that sets activations."""
        if self.origin and self.activations is not None:
            raise InputError(
                f"{self.origin}: it says which layers have 16-bit activations, and --search begins with "
                "8 bits in all: leave out --search, or use --quantize int8-full"
            )
        if reason := self.base.unsearchable:
            names = [recipe.label for recipe in Recipe if recipe.is_searchable]
            raise InputError(
                f"--search with {self.base.label}: {reason}; a search goes with {', '.join(names)}. "
                f"Without it, --allow-loss writes a package that misses its bounds"
            )


def matmuls_inside(layers: Sequence[str]) -> list[str]:
    """Those of a model's layers whose activations may have 8 or 16 bits, see `RecipeSpec.wide_layers`."""
    return [layer for layer in layers if layer != SHARED_TABLE[0] and not layer.startswith("head")]


def check_layers(recipe: str | None, weights: Mapping[str, str] | None, package: str) -> None:
    """`InputError` for a package whose recipe has no layers that are stored in integers.

    `weights` are the patterns that it was converted by, which of a mixed recipe may ask for none.
    """
    known = [r.label for r in Recipe if r.storage is not None or r is Recipe.MIXED]
    if recipe not in known:
        raise InputError(
            f"{package}: --sensitivity is about layers that are rounded to integers, those of "
            f"{', '.join(known)}; this package's recipe is {recipe}"
        )
    kinds = {*(weights or {}).values()}
    if recipe == Recipe.MIXED.label and not kinds & MAX_CODES.keys():
        raise InputError(
            f"{package}: --sensitivity is about layers that are rounded to integers; this package's mixed "
            f"recipe has none, but {', '.join(sorted(kinds)) or 'no record of its patterns'}"
        )


def read_patterns(path: str | Path) -> dict[str, str]:
    """The patterns of a mixed recipe: a JSON object such as `{"*": "int8", "block_*/intermediate": "int4"}`.

    Patterns are a shell's (`*`, `?`, `[...]`), values are keys of `sqb_tf.quantization.BITS`, or all of them
    of `ACTIVATION_BITS`, for an integer-only model: `{"*": "int8x8", "block_*/intermediate": "int16x8"}`.

    Raises:
        InputError: unreadable, not such an object, an unknown storage type.
    """
    try:
        patterns = read_json_file(path, dict[str, Any])
    except InputError as error:
        raise InputError(f'{error}; expected a mixed recipe, as {{"*": "int8"}}') from None
    return _checked_patterns(patterns, str(path))


def _checked_patterns(patterns: object, origin: str) -> dict[str, str]:
    if not isinstance(patterns, dict) or not patterns:
        raise InputError(f'{origin}: expected an object of layer patterns, as {{"*": "int8"}}')
    kinds = (
        BITS if ACTIVATION_BITS.keys().isdisjoint(map(str, patterns.values())) else ACTIVATION_BITS
    )
    for pattern, dtype in patterns.items():
        if not isinstance(dtype, str) or dtype not in kinds:
            raise InputError(
                f"{origin}: pattern {pattern!r} has {dtype!r}: expected one of {', '.join(kinds)}"
                + (", as its other patterns" if kinds is ACTIVATION_BITS else "")
            )
    return patterns
