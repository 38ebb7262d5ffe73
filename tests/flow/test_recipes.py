"""The recipes and what each stores: layer patterns, mixed recipes, 4 bits, integers only."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fixtures.graphs import FULLY_CONNECTED, LOOKUP, read_graph, weights
from fixtures.models import random_texts

import sqb_tf
import sqb_tflite
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.training.finetune import finetune
from sqb_tf.training.options import FinetuneOptions
from sqb_tflite.conversion.gptq import gptq, round_rows
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.recipes import Recipe, RecipeSpec, read_patterns
from sqb_tflite.package.container import unpack
from sqb_tflite.runtime.runner import Runner
from sqb_tflite.verification.verify import verify

INT4, INT8 = schema.TensorType.INT4, schema.TensorType.INT8
FLOAT16, FLOAT32 = schema.TensorType.FLOAT16, schema.TensorType.FLOAT32
LAYERS = ["embeddings", "block_0/intermediate", "block_1/intermediate", "pooler", "head"]


@pytest.fixture(scope="module")
def model(bundle_dir):
    return sqb_tf.load(bundle_dir)


def kernels(content: bytes) -> dict[str, set[int]]:
    """Types of the weights by the layer that their matmul is named after."""
    graph, types = read_graph(content), {}
    for subgraph in graph.subgraphs:
        for operation in subgraph.operators:
            if graph.operatorCodes[operation.opcodeIndex].builtinCode == FULLY_CONNECTED:
                name = subgraph.tensors[operation.outputs[0]].name.decode().split("/MatMul")[0]
                types.setdefault(name, set()).add(subgraph.tensors[operation.inputs[1]].type)
    assert types
    return types


def test_last_pattern_that_matches_counts():
    mix = RecipeSpec.read({"*": "int8", "block_*": "int4", "block_1/*": "float32"})
    assert list(mix.storage_types(LAYERS).values()) == ["int8", "int4", "float32", "int8", "int8"]
    assert RecipeSpec.read({"block_*": "int4"}).storage_types(LAYERS)["pooler"] == "float32"


def test_a_mixed_recipe_is_its_file():
    """By its name alone it would store every layer in float32."""
    with pytest.raises(InputError, match=r"recipe 'mixed': expected the \.json file"):
        RecipeSpec.read("mixed")


def test_pattern_that_matches_nothing_names_itself_and_the_layers():
    mix = RecipeSpec(Recipe.MIXED, {"*": "int8", "blok_*": "int4"}, "m.json")
    with pytest.raises(InputError, match=r"m.json: pattern 'blok_\*' matches no layer .* pooler"):
        mix.storage_types(LAYERS)


def test_table_of_a_masked_lm_has_one_storage_type():
    layers = [*LAYERS, "head/decoder"]
    with pytest.raises(InputError, match="head/decoder is int8 and embeddings are int4"):
        RecipeSpec.read({"*": "int8", "embeddings": "int4"}).storage_types(layers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "Expected object, got array; expected a mixed recipe"),
        ("[" * 100_000, "nested deeper than 64: .*; expected a mixed recipe"),
        ("{}", "expected an object of layer patterns"),
        ('{"*": "int3"}', "pattern '\\*' has 'int3': expected one of float32, fp16, int8, int4"),
        ('{"*": 8}', "has 8"),
    ],
)
def test_bad_file_is_an_error_that_names_it(tmp_path, text, message):
    path = tmp_path / "mixed.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"mixed.json: .*{message}"):
        read_patterns(path)


def test_bad_mapping_is_an_error():
    with pytest.raises(InputError, match="the recipe: pattern '\\*' has 'int3'"):
        RecipeSpec.read({"*": "int3"})


def test_missing_file_is_an_error_that_names_it(bundle_dir, tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read: No such file"):
        sqb_tflite.convert(bundle_dir, str(tmp_path / "none.json"))


@pytest.fixture(scope="module")
def mixed(bundle_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "mixed.json"
    patterns = {"*": "int8", "block_0/*": "float32", "*/intermediate": "int4", "pooler": "fp16"}
    path.write_text(json.dumps(patterns))
    return sqb_tflite.convert(bundle_dir, str(path)), patterns


def test_mixed_recipe_stores_each_layer_as_it_says(mixed):
    content, patterns = mixed
    stored = kernels(content)
    assert stored["block_0/query_key_value"] == stored["block_0/output_projection"] == {FLOAT32}
    assert stored["block_0/intermediate"] == stored["block_1/intermediate"] == {INT4}
    assert stored["block_1/post_attention"] == stored["block_1/key_value"] == {INT8}
    assert {t.type for t in weights(read_graph(content), LOOKUP)} == {INT8}
    halves = [t for t in read_graph(content).subgraphs[0].tensors if t.type == FLOAT16]
    assert len(halves) >= 1
    properties = unpack(content).properties
    assert properties["recipe"] == "mixed" and properties["weights"] == patterns


def test_mixed_recipe_runs(mixed, model):
    runner = Runner(mixed[0])
    results = list(runner.run(runner.requests([(text, None) for text in random_texts(5)])))
    assert len(results) == 5
    for result in results:
        assert np.isclose(result["probabilities"].sum(), 1, atol=1e-5)


def test_layers_of_a_model_are_named_by_position(model):
    layers = LoweredModel(model, "classification", 32).layers
    assert set(layers) == {
        "embeddings",
        "block_0/query_key_value",
        "block_1/query",
        "block_1/key_value",
        *(
            f"block_{i}/{part}"
            for i in range(2)
            for part in ("post_attention", "intermediate", "output_projection")
        ),
        "pooler",
        "head",
    }


@pytest.mark.parametrize("lengths", [(), (16, 24)])
@pytest.mark.parametrize(("recipe", "words"), [("int4", INT8), ("int4-all", INT4)])
def test_int4_has_4_bits_in_the_blocks(converted, model, recipe, words, lengths):
    """And in the word table of `int4-all`; positions and types, which are added to every token, have 8."""
    content = converted(recipe, *lengths)
    for name, types in kernels(content).items():
        assert types == ({INT4} if name.startswith("block_") else {INT8}), name
    tables = {(t.shape[0], t.type) for t in weights(read_graph(content), LOOKUP)}
    positions = {(32, INT8)} if not lengths else set()  # constants of the fixed length: no look-up
    assert tables == {(model.config.vocab_size, words), (2, INT8)} | positions
    for tensor in weights(read_graph(content), FULLY_CONNECTED):
        assert len(tensor.quantization.scale) == tensor.shape[0]


@pytest.mark.parametrize(("recipe", "bits"), [("int8-full", 8), ("int16x8", 16)])
def test_integers_only(converted, recipe, bits):
    graph = read_graph(converted(recipe))
    whole = {schema.TensorType.INT8, schema.TensorType.INT16}
    whole |= {schema.TensorType.INT32, schema.TensorType.INT64}
    (subgraph,) = graph.subgraphs
    assert {tensor.type for tensor in subgraph.tensors} <= whole
    assert {subgraph.tensors[i].type for i in subgraph.inputs} == {schema.TensorType.INT32}
    (output,) = (subgraph.tensors[i].type for i in subgraph.outputs)
    assert output == (schema.TensorType.INT8 if bits == 8 else schema.TensorType.INT16)
    for tensor in weights(graph, FULLY_CONNECTED):
        assert tensor.type == INT8
        assert len(tensor.quantization.scale) == tensor.shape[0]


def test_feed_forward_layers_of_int8_full_are_in_16_bits(converted):
    """GELU leaves a few values a hundred times as wide as the rest; nothing around it is in 8 bits."""
    graph = read_graph(converted("int8-full"))
    (subgraph,) = graph.subgraphs
    writers = {index: op for op in subgraph.operators for index in op.outputs}
    types: dict[str, set[int]] = {}
    for operation in subgraph.operators:
        if graph.operatorCodes[operation.opcodeIndex].builtinCode == FULLY_CONNECTED:
            name = subgraph.tensors[operation.outputs[0]].name.decode().split("/MatMul")[0]
            tensors = [operation.inputs[0], operation.outputs[0]]
            kinds = {subgraph.tensors[index].type for index in tensors}
            types.setdefault(name.rpartition("/")[2], set()).update(kinds)
            if name.endswith(("intermediate", "output_projection")):
                writer = writers[operation.inputs[0]]
                code = graph.operatorCodes[writer.opcodeIndex].builtinCode
                assert code != schema.BuiltinOperator.QUANTIZE, name
    assert types["intermediate"] == types["output_projection"] == {schema.TensorType.INT16}
    assert types["query_key_value"] == types["post_attention"] == {INT8}


def test_integer_only_packages_have_a_fixed_length(converted, model):
    """By default the length of training, since accelerators take no dynamic one."""
    assert unpack(converted("int8-full")).properties["seq_lengths"] == [model.info.task.seq_length]
    runner = Runner(converted("int8-full", 16, 32))
    assert sorted(s.seq_length for s in runner.signatures.values()) == [16, 32]
    results = list(runner.run(runner.requests([(text, None) for text in random_texts(5)])))
    assert len(results) == 5
    for result in results:
        assert result["probabilities"].dtype == np.float32
        assert np.isclose(result["probabilities"].sum(), 1, atol=0.02)


def test_padding_changes_nothing_in_integers(converted, model):
    """A mask of -30 instead of -1e4 is enough: more padding does not change the result."""
    runner = Runner(converted("int8-full", 16, 48))
    differences = [
        np.abs(
            runner(inputs, "seq_16")["probabilities"] - runner(inputs, "seq_48")["probabilities"]
        )
        for inputs in runner.inputs([(text, None) for text in random_texts(20, seed=3)])
        if inputs["input_word_ids"].shape[1] <= 16
    ]
    assert len(differences) >= 10
    # Each length has its own scales, which show more in a random model than in a trained one.
    assert np.mean(differences) < 0.06


def test_weights_that_are_nan_are_an_error(bundle_dir):
    broken = sqb_tf.load(bundle_dir)
    kernel = broken.backbone.pooler.kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(InputError, match="pooler/kernel has values that are NaN or infinite"):
        sqb_tflite.convert(broken, "int8")


@pytest.mark.parametrize("seed", range(3))
def test_gptq_has_less_error_than_rounding_on_its_inputs(seed):
    rng = np.random.default_rng(seed)
    # Correlated inputs, as activations are: 80 of 160 dimensions, more than are rounded as a block.
    x = rng.normal(size=(400, 80)) @ rng.normal(size=(80, 160))
    kernel = rng.normal(size=(16, 160)).astype(np.float32)

    def error(new: np.ndarray) -> float:
        return float(np.square(x @ (new - kernel).T).mean())

    plain, clipped = round_rows(kernel, 7), round_rows(kernel, 7, clip=True)
    ours = gptq(kernel, x.T @ x, 7)
    assert error(ours) < 0.5 * error(clipped) < 0.5 * error(plain) * 1.2


def test_quantizer_stores_the_values_of_gptq_exactly():
    """Each row has a value at the end of its range, from which the quantizer takes the scale."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_t(3, size=(32, 40)).astype(np.float32)
    x = rng.normal(size=(200, 40))
    rounded = gptq(kernel, x.T @ x, 7)
    np.testing.assert_allclose(round_rows(rounded, 7), rounded, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def sst2_model(shared_data, tmp_path_factory):
    """squeezebert-small, fine-tuned on SST-2 as in the docs."""
    folder = tmp_path_factory.mktemp("sst2") / "bundle"
    task = Task("sst2", shared_data / "glue" / "SST-2")
    finetune(task, folder, FinetuneOptions(preset="squeezebert-small", epochs=2))
    return sqb_tf.load(folder), list(task.split("dev"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", Recipe.names())
def test_every_recipe_keeps_its_bounds_on_sst2(sst2_model, recipe):
    model, examples = sst2_model
    report = verify(model, sqb_tflite.convert(model, recipe), examples)
    assert report.misses == [], report.table()
    assert report.metric["keras"] > 0.8


def test_bounds_are_those_that_the_docs_state():
    drops = {recipe.label: recipe.bounds.drop for recipe in Recipe}
    assert drops["fp16"] == 0.001
    assert drops["dynamic"] == drops["int8"] == drops["int16x8"] == 0.003
    assert drops["int4"] == drops["int4-all"] == 0.007
    assert drops["int8-full"] == 0.005
