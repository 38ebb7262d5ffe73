"""sqb_tflite.conversion.converter: what the file of each recipe holds, and that it is the same function."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fixtures.graphs import FULLY_CONNECTED, LOOKUP, operations, read_graph, weights
from fixtures.models import (
    LABELS,
    SEQ_LENGTH,
    SMALL_ENOUGH,
    random_texts,
)
from fixtures.tiers import FREQUENT, recipes

import sqb_tf
import sqb_tflite
from sqb_tf.errors import InputError
from sqb_tflite.conversion import calibration, checks, converter
from sqb_tflite.conversion.calibration import calibration_samples
from sqb_tflite.conversion.checks import check_operations
from sqb_tflite.conversion.gptq import round_and_correct, round_rows
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.recipes import LOWERINGS, Recipe
from sqb_tflite.package.container import unpack
from sqb_tflite.runtime.runner import Runner
from sqb_tflite.verification.verify import verify

# Float32 against float32: as derived in test_lower, and probabilities of steep logits.
EXACT = 2e-5
INT8, FLOAT32 = schema.TensorType.INT8, schema.TensorType.FLOAT32


@pytest.fixture(scope="module")
def model(bundle_dir):
    return sqb_tf.load(bundle_dir)


def stored(content: bytes) -> int:
    """Bytes of the constants in a file."""
    buffers = read_graph(content).buffers
    return sum(len(buffer.data) for buffer in buffers if buffer.data is not None)


@pytest.mark.parametrize(
    ("recipe", "lengths"), [*((recipe, ()) for recipe in SMALL_ENOUGH), ("int8", (16, 32))]
)
def test_every_recipe_stays_within_its_bounds(converted, model, recipe, lengths):
    examples = model.info.sample("verification")
    report = verify(model, converted(recipe, *lengths), examples)
    assert report.recipe == recipe
    assert report.misses == []
    assert report.examples == len(examples) > 20


def test_smaller_types_make_smaller_files(converted):
    sizes = [len(converted(recipe)) for recipe in ("float32", "fp16", "int8")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    # The weights alone: half, and a quarter plus the float32 scales, biases and norms.
    float32, fp16, int8 = (stored(converted(r)) for r in ("float32", "fp16", "int8"))
    assert fp16 < 0.55 * float32
    assert int8 < 0.4 * float32


@pytest.mark.parametrize("lengths", [(), (16, 32)])
def test_int8_has_a_scale_for_each_channel_and_each_row(converted, lengths):
    graph = read_graph(converted("int8", *lengths))
    kernels, tables = weights(graph, FULLY_CONNECTED), weights(graph, LOOKUP)
    # A layer of groups of 4: 4 fused queries, keys and values, 1 projection, 4 + 4 feed-forward.
    # The last one has a query for the first token alone: 4 more. Pooler and head: 2.
    signatures = len(lengths) or 1
    assert len(kernels) == (13 + 17 + 2) * signatures
    assert (
        len(tables) >= 2 * signatures
    )  # words and types; positions of a fixed length are constant
    for tensor in kernels + tables:
        rows = tensor.shape[0]
        assert tensor.type == INT8
        assert len(tensor.quantization.scale) == rows > 1
        assert tensor.quantization.quantizedDimension == 0
        assert not np.any(tensor.quantization.zeroPoint)
        values = graph.buffers[tensor.buffer].data.view(np.int8).reshape(tensor.shape)
        assert (np.abs(values.astype(int)).max(axis=1) == 127).all()  # each row fills its range


def test_int8_tables_are_the_models(converted, model):
    graph = read_graph(converted("int8"))
    table = model.backbone.embeddings.word_embeddings.embeddings.numpy()
    (stored,) = [t for t in weights(graph, LOOKUP) if tuple(t.shape) == table.shape]
    values = graph.buffers[stored.buffer].data.view(np.int8).reshape(table.shape)
    scale = np.asarray(stored.quantization.scale)[:, None]
    assert (np.abs(values * scale - table) <= 0.501 * scale).all()  # rounded to the nearest


def test_dynamic_has_int8_tables_and_float32_has_none(converted):
    dynamic = weights(read_graph(converted("dynamic")), LOOKUP)
    assert INT8 in {tensor.type for tensor in dynamic}
    float32 = read_graph(converted("float32"))
    types = {t.type for code in (LOOKUP, FULLY_CONNECTED) for t in weights(float32, code)}
    assert types == {FLOAT32}


@pytest.mark.parametrize("recipe", Recipe.names())
def test_only_built_in_operations(converted, recipe):
    graph = read_graph(converted(recipe))
    codes = {code.builtinCode for code in graph.operatorCodes}
    assert FULLY_CONNECTED in codes
    assert schema.BuiltinOperator.CUSTOM not in codes
    # The lowering's point: no convolutions, no look-ups that cannot have a scale per row (integers have one).
    assert schema.BuiltinOperator.CONV_2D not in codes
    integers = Recipe.named(recipe).activation_bits is not None
    assert (schema.BuiltinOperator.GATHER in codes) == integers
    check_operations(converted(recipe))


def test_custom_operation_error_names_it():
    def model(*codes: schema.OperatorCodeT) -> bytes:
        builder = flatbuffers.Builder()
        builder.Finish(schema.ModelT(version=3, operatorCodes=list(codes)).Pack(builder), b"TFL3")
        return bytes(builder.Output())

    built_in = schema.OperatorCodeT(builtinCode=FULLY_CONNECTED)
    custom = schema.OperatorCodeT(
        builtinCode=schema.BuiltinOperator.CUSTOM, customCode=b"FlexErfinv"
    )
    check_operations(model(built_in))
    with pytest.raises(InputError, match="not LiteRT built-ins: FlexErfinv"):
        check_operations(model(built_in, custom))


def test_fixed_lengths_answer_as_any_length(converted):
    fixed, dynamic = Runner(converted("float32", 16, 48)), Runner(converted("float32"))
    texts = [(text, None) for text in random_texts(30, seed=7)]
    lengths = {
        fixed.signature_for(x["input_word_ids"].shape[1]).seq_length for x in fixed.inputs(texts)
    }
    assert lengths == {16, 48}
    for inputs in dynamic.inputs(texts):
        actual, expected = fixed(inputs), dynamic(inputs)
        np.testing.assert_allclose(actual["probabilities"], expected["probabilities"], atol=EXACT)


def test_lengths_of_one_file_share_their_weights(converted):
    graph = read_graph(converted("int8", 16, 32))
    assert [s.signatureKey for s in graph.signatureDefs] == [b"seq_16", b"seq_32"]
    used: list[set[int]] = [set(), set()]
    for code in (FULLY_CONNECTED, LOOKUP):
        for subgraph, inputs in operations(graph, code):
            used[graph.subgraphs.index(subgraph)].add(inputs[1].buffer)
    assert used[0] == used[1] != set()
    # No other large buffer is duplicated either: all of them differ.
    large = [bytes(b.data) for b in graph.buffers if b.data is not None and len(b.data) > 64]
    assert len(set(large)) == len(large)


def test_lengths_add_little_but_their_graphs(converted):
    # Each length has its own position embeddings (float32, 32 channels) and some shapes.
    positions = (16 + 32) * 32 * 4
    single, double = stored(converted("int8")), stored(converted("int8", 16, 32))
    assert double - single < positions + 0.03 * single


def test_input_names_are_those_that_mediapipe_knows(converted):
    names = {"input_word_ids", "input_mask", "input_type_ids"}
    graph = read_graph(converted("int8", 16, 32))
    for subgraph, prefix in zip(graph.subgraphs, ("serving_default", "seq_32"), strict=True):
        inputs = {subgraph.tensors[i].name.decode() for i in subgraph.inputs}
        assert inputs == {f"{prefix}_{name}:0" for name in names}
        assert [subgraph.tensors[i].name for i in subgraph.outputs] == [b"probabilities"]
    single = read_graph(converted("int8"))
    assert [s.signatureKey for s in single.signatureDefs] == [b"serving_default"]


def test_package_says_how_it_was_made(converted, vocabulary):
    package = unpack(converted("int8", 16, 32))
    assert package.vocabulary == vocabulary
    assert package.labels == LABELS
    properties = package.properties
    assert properties["recipe"] == "int8"
    assert properties["lowering"] == "group-fused"
    assert properties["kind"] == "classification"
    assert properties["paired"] is False
    assert properties["lowercase"] is True
    assert properties["seq_lengths"] == [16, 32]
    assert properties["max_seq_length"] == SEQ_LENGTH
    assert properties["calibration"]["texts"] > 1
    assert properties["calibration"]["tokens"] > properties["calibration"]["texts"]
    assert set(properties["versions"]) >= {"tensorflow", "keras", "ai-edge-quantizer"}
    assert unpack(converted("float32")).properties["calibration"] is None


def test_auto_chooses_the_lowering_by_the_target(bundle_dir, converted):
    for target, lowering in (("cpu", "group-fused"), ("gpu", "grouped-conv")):
        content = sqb_tflite.convert(bundle_dir, "float32", [16], target=target)
        properties = unpack(content).properties
        assert (
            properties["lowering"] == lowering
            and properties["lowering_reason"] == LOWERINGS[lowering]
        )
        assert content == converted("float32", 16, lowering=lowering)


def test_grouped_convolutions_are_whole_and_attention_is_one(converted):
    """Two blocks of four grouped projections and one that is not; the last block computes one token only."""
    graph = read_graph(converted("float32", 16, lowering="grouped-conv"))
    codes = schema.BuiltinOperator
    expected = {codes.CONV_2D: 2 * 5, codes.BATCH_MATMUL: 2 * 2, codes.SPLIT: 0}
    expected[codes.CONCATENATION] = 0
    assert {code: len(list(operations(graph, code))) for code in expected} == expected


@pytest.mark.parametrize("recipe", recipes(quick=[*FREQUENT, "int4"]))
def test_every_recipe_keeps_its_bounds_as_convolutions(recipe, bundle_dir, converted):
    if recipe.startswith("int4"):
        with pytest.raises(InputError, match="--lowering grouped-conv: 4 bits in block_0/"):
            converted(recipe, lowering="grouped-conv")
        return
    model = sqb_tf.load(bundle_dir)
    content = converted(recipe, lowering="grouped-conv")
    assert verify(model, content, model.info.sample("verification")).misses == []


def test_converting_again_gives_the_same_bytes(converted, bundle_dir):
    assert sqb_tflite.convert(bundle_dir, "int8") == converted("int8")


def test_calibration_text_shapes_the_biases_alone(converted, bundle_dir):
    recalibrated = sqb_tflite.convert(bundle_dir, "int8", calibration=["a bad end", "x y z"])
    assert unpack(recalibrated).properties["calibration"]["texts"] == 2

    def constants(content: bytes, position: int) -> list[bytes]:
        graph = read_graph(content)
        matmuls = operations(graph, FULLY_CONNECTED)
        return [bytes(graph.buffers[inputs[position].buffer].data) for _, inputs in matmuls]

    assert constants(recalibrated, 1) == constants(converted("int8"), 1)
    for ours, theirs in zip(
        constants(recalibrated, 2), constants(converted("int8"), 2), strict=True
    ):
        assert ours != theirs


def test_length_over_the_training_length_raises_the_limit(converted):
    assert unpack(converted("float32", 16, 48)).properties["max_seq_length"] == 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(recipe="int2"), "unknown recipe 'int2': expected one of float32"),
        (dict(lowering="conv"), "unknown lowering 'conv': expected one of auto, group-fused, gr"),
        (dict(target="tpu"), "unknown target 'tpu': expected one of cpu, gpu, npu"),
        (dict(seq_lengths=[65]), "seq_length 65: expected 5 to 64"),
        (dict(seq_lengths=[2]), "seq_length 2"),
        (dict(calibration=[]), "calibration text is empty"),
        (dict(calibration=[" "]), "calibration text is empty"),
    ],
)
def test_bad_argument_raises_error(bundle_dir, arguments, message):
    with pytest.raises(InputError, match=message):
        sqb_tflite.convert(bundle_dir, **arguments)


@pytest.mark.parametrize(("lengths", "warnings"), [((), 0), ((SEQ_LENGTH,), 0), ((16, 64), 1)])
def test_lengths_beyond_those_of_training_are_warned_of(bundle_dir, lengths, warnings, monkeypatch):
    logged = []
    monkeypatch.setattr(converter, "warn", logged.append)
    converter.ConversionRequest.read(bundle_dir, seq_lengths=lengths)
    expected = "length 64: the model was trained on at most 32 tokens"
    assert [line.startswith(expected) for line in logged] == [True] * warnings


def test_too_little_memory_is_an_error_before_the_system_says_so(bundle_dir, monkeypatch):
    assert checks.available_memory() > 1e8
    monkeypatch.setattr(checks, "available_memory", lambda: 250_000_000)
    with pytest.raises(InputError, match=r"takes about 0\.3 GB of memory, 0\.2 GB are available"):
        sqb_tflite.convert(bundle_dir)
    monkeypatch.setattr(checks, "available_memory", lambda: None)
    assert sqb_tflite.convert(bundle_dir, "float32")


def test_bundle_is_not_changed_by_converting(model, converted):
    before = model.get_weights()
    lowered = LoweredModel(model, "classification", SEQ_LENGTH)
    storage = dict.fromkeys(lowered.layers, "int4")
    round_and_correct(lowered, calibration_samples(model, random_texts(4), 32), storage)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_rounding_correction_centres_every_layers_error(model):
    """On the calibration text, the mean error of each matmul's int8 weights is gone."""
    inputs = calibration_samples(model, random_texts(12, seed=3), 32)
    lowered = LoweredModel(model, "classification", SEQ_LENGTH)
    exact = {dense: dense.bias.numpy() for dense in lowered.dense_layers}
    seen = {dense: [] for dense in lowered.dense_layers}

    def record(dense, x):
        seen[dense].append(x.numpy().reshape(-1, x.shape[-1]))

    for dense in lowered.dense_layers:
        dense.observer = record
    for sample in inputs:
        lowered(**sample)
    round_and_correct(lowered, inputs, dict.fromkeys(lowered.layers, "int8"))

    improved = 0
    for dense in lowered.dense_layers:
        x, kernel = np.concatenate(seen[dense]).astype(float), dense.kernel.numpy().astype(float)
        error = (x @ (round_rows(kernel) - kernel).T).mean(axis=0)
        corrected = error + dense.bias.numpy() - exact[dense]
        np.testing.assert_allclose(corrected, 0, atol=1e-6)  # float32 biases about 1
        improved += np.abs(error).max() > 1e-4
    assert improved == len(lowered.dense_layers)


def test_rounding_is_to_255_steps_of_each_row():
    kernel = np.array([[1.27, 0.004, -0.006], [-12.7, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    expected = [[1.27, 0.0, -0.01], [-12.7, 1.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(round_rows(kernel), expected, atol=1e-6)


@pytest.mark.parametrize("limit", [32, 150, 500])
def test_calibration_samples_are_spread_over_the_texts(model, limit):
    texts = ["film"] * 100 + ["bad"] * 100 + [""]
    inputs = calibration_samples(model, texts, limit)
    words = [sample["input_word_ids"].numpy()[0, 1] for sample in inputs]
    id_of = model.tokenizer.vocabulary.index
    assert len(inputs) == min(limit, 200)
    assert abs(words.count(id_of("film")) - len(inputs) / 2) <= 2
    assert set(words) == {id_of("film"), id_of("bad")}


def test_of_long_texts_fewer_are_used(model, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_TOKENS", 100)
    inputs = calibration_samples(model, ["film film"] * 50 + ["bad bad bad bad"] * 50, 200)
    lengths = [sample["input_word_ids"].shape[1] for sample in inputs]
    assert 80 <= sum(lengths) <= 100 and abs(lengths.count(4) - lengths.count(6)) <= 1
