"""Quantizes float flatbuffers with ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.utils import qsv_utils

from sqb_tf.quantization import BITS, MAX_CODES, small_table_type

from ..package.graph import Graph
from .lowering.layers import MEAN_SQUARE
from .lowering.model import EMBEDDINGS

_MATMULS = (qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.CONV_2D)
_EMBEDDING_LOOKUP = qtyping.TFLOperationName.EMBEDDING_LOOKUP
_NORM_OPERATIONS = [
    qtyping.TFLOperationName(name) for name in ("ADD", "SUB", "MUL", "MEAN", "RSQRT")
]
_KINDS = {
    getattr(schema.BuiltinOperator, kind.value): kind
    for kind in qtyping.TFLOperationName
    if hasattr(schema.BuiltinOperator, kind.value)
}
# In 8 bits also beside a layer in 16: four of Qualcomm's chips take no BATCH_MATMUL in 16
# (`accelerators.rules`), and a softmax in 16 gains nothing.
_ATTENTION = (qtyping.TFLOperationName.BATCH_MATMUL, qtyping.TFLOperationName.SOFTMAX)
_STATIC_RECIPES = {8: recipe.static_wi8_ai8, 16: recipe.static_wi8_ai16}
# By signature, each sample's inputs.
Samples = Mapping[str, Sequence[Mapping[str, np.ndarray]]]


def quantize_weights(content: bytes, storage: Mapping[str, str], vocab_size: int) -> bytes:
    """Stores each layer's weights in its storage type; activations stay float, the runtime quantizes them.

    Kernels have one scale per output channel, embedding tables one per row: the range of its values. The
    tables of `vocab_size` rows have the type of `storage`, others that of `small_table_type`. Depthwise
    convolutions stay float (`lowering.layers.DepthwiseMixer`).
    """
    rules = recipe_manager.RecipeManager()
    # The op that produces a model output carries the output's name, not its layer's, so only the catch-all
    # rule can match the head's last matmul.
    head = storage.get("head/decoder", storage.get("head", "float32"))
    _add_rule(rules, ".*", _MATMULS[0], head)
    for output, rows in _look_ups(content):
        words = storage[EMBEDDINGS]
        table_type = words if rows == vocab_size else small_table_type(words)
        _add_rule(rules, f"^{re.escape(output)};", _EMBEDDING_LOOKUP, table_type)
    for storage_type in dict.fromkeys(storage.values()):
        layers = (layer for layer, stored_as in storage.items() if stored_as == storage_type)
        names = "|".join(map(re.escape, layers))
        # A fused operation carries the names of all its parts: "block_0/x/MatMul;block_0/x/add".
        for operation in _MATMULS:
            _add_rule(rules, f"(^|;)({names})/", operation, storage_type)
    return _run(content, rules.get_quantization_recipe(), None)


def _look_ups(content: bytes) -> Iterator[tuple[str, int]]:
    """The output's name and the table's rows of every EMBEDDING_LOOKUP; it loses the name of its scope."""
    graph = schema.Model.GetRootAs(content, 0)
    for i in range(graph.SubgraphsLength()):
        subgraph = graph.Subgraphs(i)
        for j in range(subgraph.OperatorsLength()):
            operation = subgraph.Operators(j)
            code = graph.OperatorCodes(operation.OpcodeIndex()).BuiltinCode()
            if code == schema.BuiltinOperator.EMBEDDING_LOOKUP:
                table, output = operation.Inputs(1), operation.Outputs(0)
                yield subgraph.Tensors(output).Name().decode(), subgraph.Tensors(table).Shape(0)


def observe_ranges(content: bytes, bits: int, samples: Samples) -> dict[str, Any]:
    """The range of each tensor of an integer-only model over `samples`, the same for any width of layers.

    `samples` are each signature's inputs for real text.
    """
    # The widest range observed: the library's default, a moving average, clips.
    with _quiet():
        ranges = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
        ranges.calibrate(samples, _integer_rules(bits))
    return ranges.get_model_qsvs()


def with_ranges(
    content: bytes, bits: int, ranges: Mapping[str, Any], wide: Collection[str] = ()
) -> bytes:
    """An integer-only model: int8 weights, activations of `bits` (8 or 16).

    `ranges` are those of `observe_ranges`, `wide` are the layers whose activations have 16 bits.
    """
    rules = _integer_rules(bits)
    for output, operation in _around(content, wide):
        rules.add_static_config(f"^{re.escape(output)};", operation, 16, 8)
    return _run(content, rules.get_quantization_recipe(), dict(ranges))


def _integer_rules(bits: int) -> recipe_manager.RecipeManager:
    """What holds for every integer-only model with activations of `bits`."""
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(_STATIC_RECIPES[bits]())
    # Tables always in 8 bits: in 16 they would be half of the file.
    rules.add_static_config(".*", qtyping.TFLOperationName.GATHER, 8, 8)
    # Norms and residual sums always in 16 bits: in 8, one channel 40 times as wide as the others leaves those
    # no levels.
    for operation in _NORM_OPERATIONS:
        rules.add_static_config(".*", operation, 16, 8)
    for operation in (_MATMULS[0], qtyping.TFLOperationName.SUM):
        rules.add_static_config(f"{MEAN_SQUARE}/", operation, 16, 8)
    return rules


def _around(
    content: bytes, layers: Collection[str]
) -> Iterator[tuple[str, qtyping.TFLOperationName]]:
    """The first output and the kind of each operation that has 16 bits where these layers have.

    Those are matmuls and, so that nothing between is in 8 bits, what writes their inputs and reads their
    outputs, except for attention's. Only FULLY_CONNECTEDs: those that are CONV_2Ds stay in 8 bits, and so do
    the outputs of the model.
    """
    if not layers:
        return
    named = re.compile(f"(^|;)({'|'.join(map(re.escape, layers))})/")
    for subgraph in Graph.read(content, "the model").subgraphs:
        operations = [x for x in subgraph.operations if x.code in _KINDS]
        matmuls = [
            operation
            for operation in operations
            if _KINDS[operation.code] is _MATMULS[0]
            and named.search(subgraph.tensors[operation.outputs[0]].name)
        ]
        read = {index for matmul in matmuls for index in matmul.inputs}
        written = {index for matmul in matmuls for index in matmul.outputs}
        for operation in operations:
            if _KINDS[operation.code] in _ATTENTION or operation.outputs[0] in subgraph.outputs:
                continue
            if operation in matmuls or read & {*operation.outputs} or written & {*operation.inputs}:
                yield subgraph.tensors[operation.outputs[0]].name, _KINDS[operation.code]


def _add_rule(
    rules: recipe_manager.RecipeManager,
    regex: str,
    operation: qtyping.TFLOperationName,
    storage_type: str,
) -> None:
    if storage_type in MAX_CODES:
        rules.add_dynamic_config(regex, operation, BITS[storage_type])
    elif storage_type == "fp16":
        half = qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=half,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        rules.add_quantization_config(regex, operation, config, AlgorithmName.FLOAT_CASTING)
    else:
        rules.add_quantization_config(regex, operation, None, AlgorithmName.NO_QUANTIZE)


def _run(content: bytes, rules: qtyping.ModelQuantizationRecipe, ranges: dict | None) -> bytes:
    model = quantizer.Quantizer(content, rules)
    with _quiet():
        result = model.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the library's progress bars, not all of which can be turned off, and its debugging advice."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
