"""Delegation: on CPUs XNNPACK runs all but ids, look-ups and their casts, for every head and recipe."""

import pytest
from fixtures.tiers import recipes

from sqb_tf.heads import registry
from sqb_tflite.conversion.recipes import LOWERINGS, Recipe
from sqb_tflite.runtime.runner import Runner

# Integer operations before the embeddings: truncation, position ids, look-ups.
OF_IDS = {"SHAPE", "MINIMUM", "SUB", "PACK", "STRIDED_SLICE", "CONCATENATION", "RANGE", "RESHAPE"}
OF_IDS |= {"EMBEDDING_LOOKUP", "CAST"}
ON_CPU = [r.label for r in Recipe if r.activation_bits is None and r is not Recipe.MIXED]


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("length", [None, pytest.param((32,), marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", recipes(ON_CPU))
def test_classifier_is_xnnpacks(recipe, length, lowering, converted):
    if lowering == "grouped-conv" and recipe.startswith("int4"):
        return  # refused, see test_convert.py
    outside = _outside(Runner(converted(recipe, *(length or ()), lowering=lowering)))
    assert outside <= OF_IDS | ({"DEQUANTIZE"} if recipe == "fp16" else set())
    if length:
        assert outside <= {"EMBEDDING_LOOKUP", "CAST", "RESHAPE", "DEQUANTIZE"}


@pytest.mark.parametrize("head", registry.NAMES)
def test_every_head_is_xnnpacks(head, head_package):
    assert _outside(Runner(head_package(head, "int8"))) <= OF_IDS


def test_separable_convolutions_are_xnnpacks(converted, separable_bundle_dir):
    assert _outside(Runner(converted("int8", directory=separable_bundle_dir))) <= OF_IDS


def test_delegated_operations_are_distinguished(converted):
    """A look-up is not delegated, a matmul is: so the test above can fail."""
    operations = Runner(converted("int8")).operations()
    assert ("EMBEDDING_LOOKUP", False) in operations and (
        "EMBEDDING_LOOKUP",
        True,
    ) not in operations
    assert ("FULLY_CONNECTED", True) in operations and ("FULLY_CONNECTED", False) not in operations
    stock = Runner(converted("int16x8")).operations()
    assert ("FULLY_CONNECTED", False) in stock  # XNNPACK has none with 16 bits


def _outside(runner: Runner) -> set[str]:
    return {name for name, inside in runner.operations() if not inside}
