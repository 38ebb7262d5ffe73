"""The quantization recipes: what each does, what it may cost, where it runs well."""

from __future__ import annotations

import dataclasses
import enum

from sqb_tf.errors import InputError

LOWERINGS = ("auto", "group-fused")
# Why `auto` chooses what it does.
LOWERING_REASON = (
    "group-fused: every product is a FULLY_CONNECTED, which XNNPACK runs with float and int8 weights "
    "and quantizes for each token; a grouped CONV_2D shares one activation scale for the whole text"
)


def check_lowering(name: str) -> None:
    """`InputError` unless `name` is one of `LOWERINGS`."""
    if name not in LOWERINGS:
        raise InputError(f"unknown lowering {name!r}: expected one of {', '.join(LOWERINGS)}")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What verification allows a recipe to lose against the Keras model, on held-out text."""

    drop: float  # of the task metric, as a fraction: 0.005 is half a point of accuracy
    agreement: float  # share of texts whose top label is the same
    sqnr_db: float  # of the output tensors (probabilities as well as labels)
    reason: str


class Recipe(enum.Enum):
    """A recipe: its name on the command line, what it stores, its bounds."""

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
        Bounds(0.005, 0.985, 20.0, "as int8, with what one scale for a table may cost"),
    )
    INT8 = (
        "int8",
        "int8 weights with a scale for each output channel and each token's embedding, "
        "activations quantized to int8 for each token as it runs, rounding errors' mean "
        "corrected on calibration text: the smallest and fastest on CPUs",
        Bounds(
            0.005,
            0.985,
            20.0,
            "half a point is under the spread between training seeds; ranges that clip, the usual "
            "fault of 8 bits, show as 7 to 12 dB, sound conversions as 45 to 55",
        ),
    )

    def __init__(self, label: str, summary: str, bounds: Bounds) -> None:
        self.label, self.summary, self.bounds = label, summary, bounds

    @classmethod
    def named(cls, label: str) -> Recipe:
        """The recipe of a command-line name; an unknown one is an `InputError`."""
        for recipe in cls:
            if recipe.label == label:
                return recipe
        raise InputError(f"unknown recipe {label!r}: expected one of {', '.join(cls.names())}")

    @classmethod
    def names(cls) -> list[str]:
        """Every command-line name."""
        return [recipe.label for recipe in cls]

    @property
    def needs_calibration(self) -> bool:
        """Whether real text shapes the conversion."""
        return self is Recipe.INT8
