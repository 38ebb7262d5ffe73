"""tools/describe.py: its description matches the package."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fixtures.commands import call, rejects
from fixtures.graphs import operations, read_graph

from sqb_tf.errors import InputError
from sqb_tflite.conversion.converter import ConversionRequest
from sqb_tflite.conversion.recipes import check_layers
from sqb_tflite.runtime import describe
from sqb_tflite.verification import sensitivity


@pytest.fixture(scope="module")
def described(converted, tmp_path_factory):
    """`described(recipe, *lengths)`: the description of that package."""
    folder = tmp_path_factory.mktemp("described")

    def describe_package(recipe: str, *lengths: int) -> dict:
        path = folder / f"{recipe}-{'-'.join(map(str, lengths))}.tflite"
        path.write_bytes(converted(recipe, *lengths))
        return describe.describe(path)

    return describe_package


RECIPES = ["float32", "fp16", "dynamic", "int8", "int4", "int4-all", "int8-full", "int16x8"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_bytes_add_up_to_the_file(described, recipe):
    description = described(recipe)
    assert sum(description["bytes"].values()) == description["size_bytes"]
    assert all(size >= 0 for size in description["bytes"].values())
    layers = {layer["name"]: layer["size_bytes"] for layer in description["layers"]}
    assert layers["embeddings"] == description["bytes"]["embeddings"] > 0
    kernels = sum(size for name, size in layers.items() if name != "embeddings")
    assert kernels == description["bytes"]["kernels"] > 0


@pytest.mark.parametrize(
    ("recipe", "dtypes"),
    [
        ("float32", {"float32"}),
        ("fp16", {"float16"}),
        ("int8", {"int8"}),
        ("int4-all", {"int4", "int8"}),
        ("int16x8", {"int8"}),
    ],
)
def test_weights_are_what_the_recipe_says(described, recipe, dtypes):
    assert {layer["kind"] for layer in described(recipe)["layers"]} == dtypes


@pytest.mark.parametrize(
    ("recipe", "lengths", "gpu", "npu"),
    [
        ("int8", (), "not at all", "not at all"),
        ("int8", (16,), "whole", "in part"),
        ("int8-full", (16,), "in part", "whole"),
    ],
)
def test_says_where_it_runs_whole_and_that_nobody_checked(recipe, lengths, gpu, npu, described):
    description = described(recipe, *lengths)
    places = description["runs_on"]
    assert {name: place["extent"] for name, place in places.items()} == {
        "cpu": "whole",
        "gpu": gpu,
        "npu": npu,
    }
    for name in ("gpu", "npu"):
        assert bool(places[name]["refused"]) == (places[name]["extent"] != "whole")
    assert all(place["checked"] is None for place in places.values())  # there is no manifest
    lines = describe.table(description).splitlines()
    (line,) = [line for line in lines if line.startswith("GPU ")]
    assert gpu in line and "not checked" in line


def test_layers_have_their_names_groups_and_scales(described):
    layers = {layer["name"]: layer for layer in described("int4")["layers"]}
    assert layers["block_0/intermediate"] == {
        "name": "block_0/intermediate",
        "tensors": 4,
        "kind": "int4",
        "scales": 64,  # the test model's feed-forward channels
        "size_bytes": 64 * 8 // 2,
    }
    assert layers["pooler"]["kind"] == layers["head"]["kind"] == "int8"
    assert layers["embeddings"]["tensors"] == 3


def test_layers_have_the_same_names_as_convolutions(described, converted, tmp_path):
    path = tmp_path / "convolutions.tflite"
    path.write_bytes(converted("int8", lowering="grouped-conv"))
    convolutions = {layer["name"]: layer for layer in describe.describe(path)["layers"]}
    fused = {layer["name"]: layer for layer in described("int8")["layers"]}
    # Queries, keys and values are separate; all else has the same name and is one tensor.
    assert {"block_0/query", "block_0/key", "block_0/value"} <= convolutions.keys() - fused.keys()
    assert convolutions["block_0/intermediate"]["tensors"] == 1
    shared = convolutions.keys() & fused.keys()
    assert {"embeddings", "block_0/intermediate", "pooler", "head"} <= shared
    for name in shared:
        assert convolutions[name]["size_bytes"] == fused[name]["size_bytes"]
        assert convolutions[name]["scales"] == fused[name]["scales"]


def test_operations_are_those_of_the_graph(described):
    description = described("int8")
    assert description["operations"]["FULLY_CONNECTED"] == {"xnnpack": 32, "litert": 0}
    assert description["operations"]["EMBEDDING_LOOKUP"] == {"xnnpack": 0, "litert": 3}


def test_several_lengths_share_their_weights(described):
    dynamic, fixed = described("int8"), described("int8", 16, 32)
    assert fixed["bytes"]["kernels"] == dynamic["bytes"]["kernels"]
    assert (
        fixed["bytes"]["scales"] < 1.1 * dynamic["bytes"]["scales"]
    )  # per-channel scales once, per-tensor scales for each
    assert min(fixed["bytes"].values()) >= 0
    assert [s["seq_length"] for s in fixed["signatures"]] == [16, 32]


def test_command_line_gives_table_and_json(converted, tmp_path, vocabulary, capsys):
    path = tmp_path / "int8.tflite"
    path.write_bytes(converted("int8"))
    assert call("describe", "--package", path, "--json", tmp_path / "out.json") == 0
    shown = capsys.readouterr().out
    description = json.loads((tmp_path / "out.json").read_text())
    assert description["vocabulary_size"] == len(vocabulary)
    assert description["properties"]["recipe"] == "int8"
    for word in ("FULLY_CONNECTED", "XNNPACK", "block_0/query_key_value", "embeddings", "any"):
        assert word in shown
    assert description["size_bytes"] == path.stat().st_size


def test_other_file_is_an_error(converted, tmp_path):
    (tmp_path / "other.tflite").write_bytes(b"no model at all")
    rejects(
        r"other\.tflite: not a TFLite model", "describe", "--package", tmp_path / "other.tflite"
    )
    (tmp_path / "cut.tflite").write_bytes(converted("int8")[:-200])
    rejects(r"cut\.tflite: truncated", "describe", "--package", tmp_path / "cut.tflite")


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("classification", ", classification, at most"),
        ("sst2", ", classification for sst2, at most"),
    ],
)
def test_the_task_is_named_where_it_is_not_the_head(described, task, line):
    description = described("int8")
    description["properties"] |= {"kind": "classification", "task": task}
    assert line in describe.table(description)


def measured_sensitivity(content, bundle_dir, folder) -> dict:
    """What `describe --sensitivity` says of a package, on 6 texts."""
    package, out = folder / "x.tflite", folder / "out.json"
    package.write_bytes(content)
    flags = ["--package", package, "--sensitivity", "--model", bundle_dir, "--limit", 6]
    assert call("describe", *flags, "--json", out) == 0
    return json.loads(out.read_text())["sensitivity"]


def test_sensitivity_says_what_each_layer_costs(converted, bundle_dir, tmp_path):
    """Weights and activations of every layer, the costliest first, and what the package has of them."""
    measured = measured_sensitivity(converted("int8-full"), bundle_dir, tmp_path)
    assert measured["examples"] == 6
    assert all(0.5 <= cost["agreement"] <= 1 for cost in measured["layers"])
    costs = {(cost["layer"], cost["of"]): cost for cost in measured["layers"]}
    assert len(costs) == len(measured["layers"])
    assert {layer for layer, of in costs if of == "activations"} == {
        layer for layer, of in costs if of == "weights"
    } - {"embeddings", "head"}
    decibels = [cost["sqnr_db"] for cost in measured["layers"]]
    assert decibels == sorted(decibels) and 20 < decibels[0] < decibels[-1] < 120
    wide = {layer for (layer, _), cost in costs.items() if cost["package"] == "int16x8"}
    assert wide == {
        f"block_{i}/{name}" for i in (0, 1) for name in ("intermediate", "output_projection")
    }
    # The same weights, equalized; all its activations have 16 bits.
    wide = measured_sensitivity(converted("int16x8"), bundle_dir, tmp_path)["layers"]
    assert wide == [cost for cost in measured["layers"] if cost["of"] == "weights"]


def test_sensitivity_rounds_tables_as_they_are_stored(converted, bundle_dir):
    """Integer-only look-ups have one scale for a table; types keep 8 bits beside words in 4."""
    lowered, _ = sensitivity.before_rounding(ConversionRequest.read(bundle_dir, "int8-full"))
    graph, stored = read_graph(converted("int8-full")), {}
    for _, (table, _) in operations(graph, schema.BuiltinOperator.GATHER):
        codes = np.frombuffer(graph.buffers[table.buffer].data, np.int8).astype(np.float32)
        scale, zero_point = table.quantization.scale, table.quantization.zeroPoint
        stored[tuple(table.shape)] = ((codes - zero_point) * scale).reshape(table.shape)
    for variable in (lowered.word_table, lowered.type_table):
        rounded = sensitivity.as_stored(lowered, "embeddings", variable, "int8")
        np.testing.assert_allclose(rounded, stored[tuple(variable.shape)], rtol=1e-4, atol=1e-6)
    lowered = ConversionRequest.read(bundle_dir, "int4-all").lower()
    types = lowered.type_table.numpy()
    rounded = sensitivity.as_stored(lowered, "embeddings", lowered.type_table, "int4")
    step = np.abs(types).max(axis=1, keepdims=True) / 127
    assert (np.abs(rounded - types) <= 0.501 * step).all()


def test_sensitivity_needs_layers_and_a_bundle(converted, bundle_dir, tmp_path):
    package = tmp_path / "x.tflite"
    package.write_bytes(converted("fp16"))
    alone = ["--package", package, "--sensitivity"]
    rejects("--sensitivity: expected with --model", "describe", *alone)
    rejects("--limit: expected with --sens", "describe", "--package", package, "--limit", 4)
    rejects(
        "--limit 1: expected at least 2", "describe", *alone, "--model", bundle_dir, "--limit", 1
    )
    rejects(
        "x.tflite: --sensitivity is about layers that are rounded to integers, those of int8, .*is fp16",
        "describe",
        *[*alone, "--model", bundle_dir],
    )
    with pytest.raises(InputError, match=r"x\.tflite: .* mixed recipe has none, but float32, fp16"):
        check_layers("mixed", {"*": "fp16", "head": "float32"}, "x.tflite")
