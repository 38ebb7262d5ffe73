"""What `--for` makes of a recipe: the lowerings and weights that a processor takes whole and answers rightly.

docs/accelerators.md has what was measured. `tflite/accelerators/rules.py` judges the file that comes out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sqb_tf.errors import InputError, unknown_name

from .recipes import LOWERINGS, Recipe, RecipeSpec


@dataclasses.dataclass(frozen=True)
class Choice:
    """How a recipe is made for a processor.

    Attributes:
        lowerings: those that suit it, the first being that of `auto`.
        weights: layer-name pattern -> storage type, in place of the recipe's own.
    """

    lowerings: tuple[str, ...] = tuple(LOWERINGS)
    weights: Mapping[str, str] | None = None


_CONVOLUTIONS_FIRST = ("grouped-conv", "group-fused")  # 40% fewer operations
_FUSED = Choice(("group-fused",))
# The GPU takes no table in float16. In int8 they would leave 51 dB of fp16's 74 (its bound is 50), and an NPU
# would not take the file whole. The masked LM's decoder is the table itself.
_FLOAT_TABLES = {"*": "fp16", "embeddings": "float32", "head/decoder": "float32"}
_NO_16_BITS = "LiteRT's GPU accelerator has no 16-bit integers: use float32, fp16 or int8"
_NO_ROWS = (
    "Qualcomm's compiler takes no int8 or int4 table whose rows become float: use int8-full or fp16"
)
# By processor; a recipe that is not listed is made as for CPUs.
CHOICES: dict[str, dict[Recipe, Choice | str]] = {
    "cpu": {},
    "gpu": {
        Recipe.FLOAT32: Choice(_CONVOLUTIONS_FIRST),
        Recipe.FP16: Choice(_CONVOLUTIONS_FIRST, _FLOAT_TABLES),
        # Of a grouped CONV_2D with int8 weights LiteRT's GPU accelerator computes group 0 alone rightly.
        Recipe.DYNAMIC: _FUSED,
        Recipe.INT8: _FUSED,
        Recipe.INT4: _FUSED,
        Recipe.INT4_ALL: _FUSED,
        Recipe.INT8_FULL: _NO_16_BITS,
        Recipe.INT16X8: _NO_16_BITS,
    },
    "npu": dict.fromkeys((Recipe.DYNAMIC, Recipe.INT8, Recipe.INT4, Recipe.INT4_ALL), _NO_ROWS),
}
TARGETS = tuple(CHOICES)


def check_target(target: str) -> None:
    """`InputError` for a name that is none of `TARGETS`."""
    if target not in CHOICES:
        raise unknown_name("target", target, TARGETS)


def choose(
    target: str, recipe: RecipeSpec, lowering: str, seq_lengths: Sequence[int] | None
) -> tuple[RecipeSpec, str]:
    """The recipe and the lowering, a key of `LOWERINGS`, that suit a processor.

    Args:
        target: one of `TARGETS`.
        recipe: as asked for.
        lowering: as asked for; `auto` is the first that suits.
        seq_lengths: as asked for.

    Raises:
        InputError: no such target or lowering; a recipe, a lowering or lengths that the target does not take
            whole, or answers wrongly.
    """
    check_target(target)
    if lowering not in ("auto", *LOWERINGS):
        raise unknown_name("lowering", lowering, ("auto", *LOWERINGS))
    choice = CHOICES[target].get(recipe.base, Choice())
    if isinstance(choice, str):
        raise InputError(f"--for {target} with {recipe.name}: {choice}")
    # Integer-only recipes have the length of training where none is named.
    if target != "cpu" and not seq_lengths and not recipe.base.activation_bits:
        raise InputError(
            f"--for {target}: it takes fixed lengths alone: name them, as --seq-lengths 64 or 32,64"
        )
    if lowering == "auto":
        lowering = choice.lowerings[0]
    if lowering not in choice.lowerings:
        raise InputError(
            f"--for {target} with {recipe.name} and --lowering {lowering}: its answers would be wrong there; "
            f"use --lowering {choice.lowerings[0]}"
        )
    if choice.weights is not None:
        recipe = dataclasses.replace(recipe, weights=choice.weights)
    return recipe, lowering
