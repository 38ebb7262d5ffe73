"""Search: the cheapest mix of weights within the bounds, and the flag that asks for it."""

import json
import types

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fixtures.commands import call, rejects
from fixtures.graphs import FULLY_CONNECTED, read_graph

import sqb_tf
from sqb_tf.errors import InputError
from sqb_tflite.conversion.converter import ConversionRequest, Prepared
from sqb_tflite.conversion.lowering.layers import MEAN_SQUARE
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.recipes import Bounds, Recipe, RecipeSpec
from sqb_tflite.package.container import unpack
from sqb_tflite.runtime.describe import describe
from sqb_tflite.verification.search import (
    by_sensitivity,
    cheapest,
    find,
    search,
)

LAYERS = [f"layer_{i}" for i in range(10)]
COARSE = dict.fromkeys(LAYERS, "int4")


def attempts(needed: int, budget: float = 1e9):
    """What `search` tries where `needed` finer layers are enough."""

    def attempt(patterns):
        finer = [layer for layer in LAYERS if patterns[layer] == "int8"]
        assert finer == LAYERS[: len(finer)]  # the most sensitive ones
        misses = [] if len(finer) >= needed else ["agreement"]
        return b"x" * len(finer), types.SimpleNamespace(misses=misses, sqnr_db=20.0)

    return search(COARSE, LAYERS, attempt, budget)


@pytest.mark.parametrize("needed", range(1, 11))
def test_as_few_layers_as_needed_become_finer(needed):
    tried = attempts(needed)
    assert cheapest(tried).finer == needed
    assert len(tried) <= 8
    assert len({attempt.finer for attempt in tried}) == len(tried)  # nothing twice


def test_no_mix_is_none():
    tried = attempts(11)
    assert cheapest(tried) is None
    assert tried[-1].finer == len(LAYERS)


def test_budget_ends_the_search():
    assert attempts(10, budget=0.0) == []


def test_the_layer_that_suffers_most_comes_first(bundle_dir):
    model = sqb_tf.load(bundle_dir)
    kernel = model.backbone.blocks[0].output_projection.kernel
    values = kernel.numpy()
    values[0, 0, :] *= 300  # one input of each row: 16 levels leave nothing for the others
    kernel.assign(values)
    lowered = LoweredModel(model, "classification", 32)
    before = [dense.kernel.numpy() for dense in lowered.dense_layers]
    storage = dict.fromkeys(lowered.layers, "int4") | {"head": "float32"}
    order = by_sensitivity(lowered, model, model.info.sample("verification")[:6], storage)
    assert sorted(order) == sorted(set(lowered.layers) - {"head"})
    assert order.index("block_0/output_projection") < 3
    for dense, old in zip(lowered.dense_layers, before, strict=True):
        np.testing.assert_array_equal(dense.kernel.numpy(), old)


def test_search_keeps_the_bounds_that_the_recipe_misses(bundle_dir, tmp_path, monkeypatch):
    """4 bits everywhere miss this bound, 8 bits keep it; a mix is found, written and described."""
    monkeypatch.setattr(Recipe.INT4_ALL, "bounds", Bounds(0.007, 0.97, 25.0, "a hard one"))
    output = tmp_path / "mixed.tflite"
    flags = ["--model", bundle_dir, "--quantize", "int4-all", "--output", output]
    assert call("convert", *flags) == 1
    assert list(tmp_path.iterdir()) == []
    assert call("convert", *flags, "--search") == 0
    names = {"mixed.tflite", "mixed.json", "mixed.recipe.json", "mixed.search.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    manifest = json.loads((tmp_path / "mixed.json").read_text())
    assert manifest["recipe"] == "mixed" and manifest["verification"]["misses"] == []
    assert manifest["search"]["for"] == "int4-all"
    assert manifest["sha256"] == describe(output)["sha256"]
    dtypes = {layer["name"]: layer["kind"] for layer in describe(output)["layers"]}
    assert dtypes == json.loads((tmp_path / "mixed.recipe.json").read_text())
    assert set(dtypes.values()) == {"int4", "int8"}
    # The recipe gives the same package again.
    again = tmp_path / "again.tflite"
    flags = ["--model", bundle_dir, "--output", again]
    assert call("convert", *flags, "--quantize", tmp_path / "mixed.recipe.json") == 0
    assert again.read_bytes() == output.read_bytes()


def test_fewest_layers_have_16_bit_activations(bundle_dir, tmp_path, monkeypatch):
    """8 bits in all layers leave 28.0 dB, 16 in all 29.9; the recipe, which needs no search, has 28.8."""
    monkeypatch.setattr(Recipe.INT8_FULL, "bounds", Bounds(0.007, 0.97, 28.4, "between"))
    output = tmp_path / "mixed.tflite"
    flags = ["--model", bundle_dir, "--quantize", "int8-full", "--search", "--output", output]
    assert call("convert", *flags) == 0
    manifest = json.loads((tmp_path / "mixed.json").read_text())
    assert manifest["recipe"] == "int8-full" and manifest["verification"]["sqnr_db"] >= 28.4
    patterns = json.loads((tmp_path / "mixed.recipe.json").read_text())
    assert manifest["activations"] == patterns and "embeddings" not in patterns
    first, *others = manifest["search"]["tried"]
    assert first["finer_layers"] == 0 and first["misses"]
    best = min(x["finer_layers"] for x in others if not x["misses"])
    wide = {layer for layer, kind in patterns.items() if kind == "int16x8"}
    assert len(wide) == best < len(patterns)
    assert wide == wide_in_file(output.read_bytes())
    # The recipe gives the same package again.
    request = ConversionRequest.read(sqb_tf.load(bundle_dir), tmp_path / "mixed.recipe.json")
    assert Prepared.read(request).package(request.recipe) == output.read_bytes()


def test_search_that_ends_early_falls_back_to_the_recipe(bundle_dir, tmp_path, monkeypatch, capsys):
    """8 bits miss the bounds and no time is left; what an earlier search found is not of this package."""
    monkeypatch.setattr(Recipe.INT8_FULL, "bounds", Bounds(0.007, 0.97, 28.4, "between"))
    (tmp_path / "x.json").write_text('{"package": "x", "verification": {}, "search": {}}')
    (tmp_path / "x.recipe.json").write_text('{"*": "int8x8"}')
    flags = ["--model", bundle_dir, "--quantize", "int8-full", "--output", tmp_path / "x.tflite"]
    assert call("convert", *flags, "--search", "--search-budget", 0.001) == 0
    assert "falling back to int8-full" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"x.tflite", "x.json", "x.search.png"}
    manifest = json.loads((tmp_path / "x.json").read_text())
    assert [attempt["finer_layers"] for attempt in manifest["search"]["tried"]] == [0]
    assert manifest["activations"] == RecipeSpec.read("int8-full").activations


def test_convolutions_have_8_bit_activations(bundle_dir, monkeypatch):
    """A file cannot ask for 16, and a search needs another layer to choose."""
    request = ConversionRequest.read(bundle_dir, {"*": "int16x8"}, lowering="grouped-conv")
    choosable = request.lower().choosable
    assert "pooler" in choosable and "block_0/intermediate" not in choosable
    with pytest.raises(InputError, match="the recipe: block_0/intermediate is int16x8"):
        Prepared.read(request)
    monkeypatch.setattr(LoweredModel, "choosable", [])
    request = ConversionRequest.read(bundle_dir, "int8-full", lowering="grouped-conv")
    with pytest.raises(InputError, match="--search with int8-full: with --lowering grouped-conv"):
        find(request, [])


def wide_in_file(content: bytes) -> set[str]:
    """The layers whose matmuls read 16-bit activations."""
    graph = read_graph(content)
    names = {
        subgraph.tensors[operation.outputs[0]].name.decode().split("/MatMul")[0].split(";")[-1]
        for subgraph in graph.subgraphs
        for operation in subgraph.operators
        if graph.operatorCodes[operation.opcodeIndex].builtinCode == FULLY_CONNECTED
        and subgraph.tensors[operation.inputs[0]].type == schema.TensorType.INT16
    }
    return names - {MEAN_SQUARE}


def test_layers_are_named_as_8_or_16_bit_activations():
    spec = RecipeSpec.read({"*": "int8x8", "block_1/*": "int16x8", "head": "int16x8"})
    layers = ["embeddings", "block_0/query", "block_1/query", "pooler", "head"]
    assert spec.base is Recipe.INT8_FULL and set(spec.storage_types(layers).values()) == {"int8"}
    assert spec.wide_layers(layers) == ["block_1/query"]  # the outputs of the model have 8 bits
    with pytest.raises(
        InputError, match=r"'pooler' has 'int4': expected one of int8x8, int16x8, as"
    ):
        RecipeSpec.read({"*": "int8x8", "pooler": "int4"})
    with pytest.raises(InputError, match=r"pattern 'blok_\*' matches no layer"):
        RecipeSpec.read({"*": "int8x8", "blok_*": "int16x8"}).storage_types(layers)
    with pytest.raises(InputError, match=r"the recipe: it says which layers .* --search begins"):
        spec.check_searchable()


@pytest.mark.slow
def test_search_without_a_mix_leaves_no_recipe(bundle_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(Recipe.INT4_ALL, "bounds", Bounds(0.0, 1.0, 1000.0, "none keeps it"))
    flags = ["--model", bundle_dir, "--quantize", "int4-all", "--search", "--limit", 20]
    flags += [
        "--search-budget",
        0.001,
        "--output",
        tmp_path / "x.tflite",
        "--json",
        tmp_path / "out.json",
    ]
    assert call("convert", *flags) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"x.search.png", "out.json"}
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["package"] is None
    assert result["search"]["for"] == "int4-all"
    tried = result["search"]["tried"]
    assert tried and all(attempt["misses"] for attempt in tried)


@pytest.mark.slow
def test_mixes_have_the_lowering_that_was_asked_for(bundle_dir):
    model = sqb_tf.load(bundle_dir)
    examples = model.info.sample("verification")[:5]
    request = ConversionRequest.read(model, "int8", lowering="grouped-conv")
    first, *_ = find(request, examples, budget=1.0)
    assert unpack(first.content).properties["lowering"] == "grouped-conv"
    assert "block_0/query" in first.patterns  # a layer that group-fused does not have


def test_budget_of_nothing_is_an_error(bundle_dir):
    flags = ["--model", bundle_dir, "--quantize", "int4", "--search", "--search-budget", 0]
    rejects(r"--search-budget 0\.0: expected seconds above 0", "convert", *flags)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("fp16", "it has no layers of integers to choose among"),
        ("int16x8", "all activations have 16 bits already"),
    ],
)
def test_search_of_what_has_no_finer_layers_is_an_error(recipe, reason, bundle_dir, tmp_path):
    rejects(
        f"--search with {recipe}: {reason}.* goes with int8, int4, int4-all, mixed, int8-full",
        "convert",
        *["--model", bundle_dir, "--quantize", recipe, "--search"],
        *["--output", tmp_path / "x.tflite"],
    )
