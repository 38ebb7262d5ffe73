"""The quantization recipes: what each does, what it may cost, where it runs well."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from sqb_tf.errors import InputError

TARGETS = ("cpu", "gpu")
# How the model is shaped, and why it suits the target for which `auto` chooses it.
LOWERINGS = {
    "group-fused": "every product is a FULLY_CONNECTED, which XNNPACK runs with float, int8 and int4 "
    "weights and quantizes for each token; groups stay apart from one end of a block's half to the other",
    "grouped-conv": "each grouped projection is one CONV_2D and attention is over all heads at once: four "
    "tenths fewer operations and no splits, meant for GPU delegates, on which it was not measured",
}
_LOWERING_FOR = {"cpu": "group-fused", "gpu": "grouped-conv"}
# What a layer's weights may be stored as, and the largest number that their integers reach.
WEIGHT_KINDS = {"float32": None, "fp16": None, "int8": 127, "int4": 7}
# The masked LM multiplies with the table that it looks up: in the file once, so of one kind.
SHARED_TABLE = ("embeddings", "head/decoder")


def choose_lowering(name: str, target: str = "cpu") -> str:
    """A name of `LOWERINGS`: `name`, or what suits the target best if that is `auto`.

    Raises:
        InputError: no such lowering or target.
    """
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}: expected one of {', '.join(TARGETS)}")
    if name not in ("auto", *LOWERINGS):
        raise InputError(
            f"unknown lowering {name!r}: expected one of {', '.join(('auto', *LOWERINGS))}"
        )
    return _LOWERING_FOR[target] if name == "auto" else name


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What verification allows a recipe to lose against the Keras model, on held-out text."""

    drop: float  # of the task metric, as a fraction: 0.005 is half a point of accuracy
    agreement: float  # share of texts whose top label is the same
    sqnr_db: float  # of the output tensors (probabilities as well as labels)
    reason: str


_HALF_RANGE = (
    "under the spread between training seeds; ranges that clip, the usual fault of 8 bits, show as 7 to "
    "12 dB, sound conversions as 45 to 55"
)
_FOUR_BITS = "16 steps for each channel's weights leave some 30 to 40 dB"


class Recipe(enum.Enum):
    """A recipe: its name on the command line, what it stores, its bounds.

    `weights` says by pattern what layers' weights are stored as, the last one that fits a layer's name;
    `activation_bits`, where set, that everything is integers, calibrated on text.
    """

    FLOAT32 = (
        "float32",
        "float32 weights and arithmetic: the reference",
        Bounds(0.0, 1.0, 80.0, "the same function: float rounding alone, some 120 dB"),
    )
    FP16 = (
        "fp16",
        "float16 weights, float32 arithmetic on CPU, float16 on GPUs: half the size",
        Bounds(0.001, 0.995, 50.0, "11 significant bits a weight leave some 65 dB"),
    )
    DYNAMIC = (
        "dynamic",
        "the stock converter's dynamic range: int8 weights, one scale for a whole embedding "
        "table, no calibration",
        Bounds(0.003, 0.985, 20.0, "as int8, with what one scale for a table may cost"),
    )
    INT8 = (
        "int8",
        "int8 weights with a scale for each output channel and each token's embedding, "
        "activations quantized to int8 for each token as it runs, rounding errors' mean "
        "corrected on calibration text: the one for CPUs",
        Bounds(0.003, 0.985, 20.0, f"0.3 points is {_HALF_RANGE}"),
        {"*": "int8"},
    )
    INT4 = (
        "int4",
        "as int8, with 4-bit weights in the blocks, rounded one after the other so that each makes up for "
        "those before it (GPTQ): three quarters of the size, faster on short texts",
        Bounds(0.007, 0.97, 14.0, _FOUR_BITS),
        {"block_*": "int4", "embeddings": "int8", "pooler": "int8", "head*": "int8"},
    )
    INT4_ALL = (
        "int4-all",
        "as int4, with 4-bit embeddings too: half the size of int8",
        Bounds(0.007, 0.97, 12.0, f"{_FOUR_BITS}, those of each token's embedding some 26"),
        {
            "block_*": "int4",
            "embeddings": "int4",
            "pooler": "int8",
            "head*": "int8",
            "head/decoder": "int4",
        },
    )
    MIXED = (
        "mixed",
        "weights as a file of layer patterns says: --quantize FILE.json",
        Bounds(0.007, 0.97, 12.0, "as int4-all, the coarsest that a file can ask for"),
    )
    INT8_FULL = (
        "int8-full",
        "integers only: int32 ids in, int8 inside and out, of fixed lengths, calibrated on text: for NPUs "
        "and DSPs; on CPUs slower than int8",
        Bounds(0.007, 0.97, 18.0, "one scale for each tensor's activations leaves some 40 dB"),
        {"*": "int8"},
        8,
    )
    INT16X8 = (
        "int16x8",
        "integers only, int16 activations and int8 weights, of fixed lengths, calibrated on text: for NPUs "
        "and DSPs that have 16 bits",
        Bounds(0.003, 0.985, 25.0, f"int8's weights; 0.3 points is {_HALF_RANGE}"),
        {"*": "int8"},
        16,
    )

    def __init__(
        self,
        label: str,
        summary: str,
        bounds: Bounds,
        weights: Mapping[str, str] | None = None,
        activation_bits: int | None = None,
    ) -> None:
        self.label, self.summary, self.bounds = label, summary, bounds
        self.weights, self.activation_bits = weights, activation_bits

    @classmethod
    def named(cls, label: str) -> Recipe:
        """The recipe of a command-line name, `mixed` of a `.json` file; an unknown one is an `InputError`."""
        if str(label).endswith(".json"):
            return cls.MIXED
        for recipe in cls:
            if recipe.label == label:
                return recipe
        raise InputError(
            f"unknown recipe {label!r}: expected one of {', '.join(cls.names())}, or a .json file of layer "
            "patterns"
        )

    @classmethod
    def names(cls) -> list[str]:
        """Every command-line name that stands for itself: all but `mixed`."""
        return [recipe.label for recipe in cls if recipe is not Recipe.MIXED]

    @property
    def needs_calibration(self) -> bool:
        """Whether real text shapes the conversion."""
        return self.weights is not None or self is Recipe.MIXED


def read_patterns(path: str | Path) -> dict[str, str]:
    """The patterns of a mixed recipe: a JSON object such as `{"*": "int8", "block_*/intermediate": "int4"}`.

    Patterns are a shell's (`*`, `?`, `[...]`), values of `WEIGHT_KINDS`.

    Raises:
        InputError: unreadable, not such an object, an unknown kind.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a mixed recipe") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); expected a mixed recipe") from None
    if not isinstance(found, dict) or not found:
        raise InputError(f'{path}: expected an object of layer patterns, as {{"*": "int8"}}')
    for pattern, kind in found.items():
        if not isinstance(kind, str) or kind not in WEIGHT_KINDS:
            raise InputError(
                f"{path}: pattern {pattern!r} has {kind!r}: expected one of {', '.join(WEIGHT_KINDS)}"
            )
    return found


def chosen(recipe: str | Mapping[str, str]) -> tuple[Recipe, Mapping[str, str] | None, str]:
    """The recipe, its layer patterns if it is about weights, and of a mix where it is from."""
    if isinstance(recipe, Mapping):
        return Recipe.MIXED, recipe, "the recipe"
    named = Recipe.named(recipe)
    if named is Recipe.MIXED:
        return named, read_patterns(recipe), str(recipe)
    return named, named.weights, ""


def resolve(patterns: Mapping[str, str], layers: Sequence[str], origin: str = "") -> dict[str, str]:
    """What each layer's weights are stored as: by the last pattern that fits, else float32.

    Raises:
        InputError: a pattern that fits no layer, where `origin`, a file, is given; one table of two kinds.
    """
    for pattern in patterns if origin else ():
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise InputError(
                f"{origin}: pattern {pattern!r} fits no layer of this model, which has {', '.join(layers)}"
            )
    kinds = {
        layer: next((k for p, k in reversed(patterns.items()) if fnmatchcase(layer, p)), "float32")
        for layer in layers
    }
    table, decoder = (kinds.get(layer) for layer in SHARED_TABLE)
    if decoder not in (None, table):
        raise InputError(
            f"{origin}: head/decoder is {decoder} and embeddings are {table}, which are one table in the "
            "file: give both the same"
        )
    return kinds


def check_searchable(recipe: Recipe) -> None:
    """`InputError` for a recipe that is not a matter of weights alone."""
    if recipe.activation_bits or not recipe.needs_calibration:
        names = [r.label for r in Recipe if r.needs_calibration and not r.activation_bits]
        raise InputError(
            f"--search with {recipe.label}: finds finer weights for some layers of {', '.join(names)}"
        )
