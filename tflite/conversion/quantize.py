"""Float flatbuffers -> quantized ones, by ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.utils import qsv_utils

from .lowering.model import EMBEDDINGS

_PRODUCTS = (qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.CONV_2D)
_EMBEDDING_LOOKUP = qtyping.TFLOperationName.EMBEDDING_LOOKUP
_BITS = {"int8": 8, "int4": 4}
_NORM_OPERATIONS = [
    qtyping.TFLOperationName(name) for name in ("ADD", "SUB", "MUL", "MEAN", "RSQRT")
]
_INTEGERS = {8: recipe.static_wi8_ai8, 16: recipe.static_wi8_ai16}


def quantize_weights(content: bytes, kinds: Mapping[str, str]) -> bytes:
    """Stores each layer's weights as `kinds` says; activations stay float, the runtime quantizes them.

    Kernels have a scale for each output channel, embedding tables for each row: the range of its values.
    Depthwise convolutions stay float (`lowered_layers.Squeeze`).
    """
    rules = recipe_manager.RecipeManager()
    # What gives an output of the model is named after it, not after its layer: only the head's last does.
    head = kinds.get("head/decoder", kinds.get("head", "float32"))
    _add(rules, ".*", _PRODUCTS[0], head)
    _add(rules, ".*", _EMBEDDING_LOOKUP, kinds[EMBEDDINGS])
    for kind in dict.fromkeys(kinds.values()):
        names = "|".join(re.escape(layer) for layer, its in kinds.items() if its == kind)
        # A fused operation is named after all that it was: "block_0/x/MatMul;block_0/x/add".
        for product in _PRODUCTS:
            _add(rules, f"(^|;)({names})/", product, kind)
    return _run(content, rules.get_quantization_recipe(), None)


def quantize_activations(
    content: bytes, bits: int, samples: Mapping[str, Sequence[Mapping[str, np.ndarray]]]
) -> bytes:
    """Integers only: int8 weights, activations of `bits` (8, 16), ranges from each signature's `samples`."""
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(_INTEGERS[bits]())
    # Tables in 8 bits always: in 16 they would be half of the file.
    rules.add_static_config(".*", qtyping.TFLOperationName.GATHER, 8, 8)
    # Norms and residual sums in 16 bits always: in 8, a channel 40 times the others leaves those nothing.
    for operation in _NORM_OPERATIONS:
        rules.add_static_config(".*", operation, 16, 8)
    # The widest range seen: the library's default, a moving average, clips.
    with _quiet():
        ranges = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
        ranges.calibrate(samples, rules)
    return _run(content, rules.get_quantization_recipe(), ranges.get_model_qsvs())


def _add(
    rules: recipe_manager.RecipeManager, regex: str, operation: qtyping.TFLOperationName, kind: str
) -> None:
    if kind in _BITS:
        rules.add_dynamic_config(regex, operation, _BITS[kind])
    elif kind == "fp16":
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
    made = quantizer.Quantizer(content, rules)
    with _quiet():
        result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars, of which not all have a switch, and its advice on debugging."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
