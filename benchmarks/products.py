"""What bounds a package's speed: the operations of its matrix products, and how many LiteRT does a second.

A product whose weights are int8 runs in int8; all others, attention's own two among them, run in float32.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

KINDS = ("int8", "float32")


def operations(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Multiplications and additions in the products of a package for `inputs`, by `KINDS`."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # XNNPACK leaves the shapes of what it runs as they were, so without it.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    runner = interpreter.get_signature_runner()
    runner(**inputs)
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    found = dict.fromkeys(KINDS, 0.0)
    for operation in interpreter._get_ops_details():
        if operation["op_name"] not in ("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL"):
            continue
        given, weights = (tensors[i] for i in operation["inputs"][:2])
        (output,) = (tensors[i]["shape"] for i in operation["outputs"])
        if operation["op_name"] == "BATCH_MATMUL":
            # The first factor is transposed where its rows are not the output's.
            factors = given["shape"][-1 if given["shape"][-2] == output[-2] else -2]
        else:  # a channel's kernel
            factors = math.prod(weights["shape"][1:])
        kind = "int8" if weights["dtype"] == np.int8 else "float32"
        found[kind] += 2.0 * float(math.prod(output)) * float(factors)
    return found


def limits(runs: int = 20) -> dict[str, float]:
    """Operations a second of one large product in LiteRT, 1 thread, by `KINDS`."""
    return {kind: _limit(kind, runs) for kind in KINDS}


def least_ms(found: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Milliseconds of `operations` at the `limits`, were there nothing else to do."""
    return 1e3 * sum(found[kind] / limits[kind] for kind in KINDS)


def _limit(kind: str, runs: int) -> float:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    rows, size = 512, 2048
    kernel = tf.constant(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    module = tf.Module()
    module.function = tf.function(
        lambda x: tf.matmul(x, kernel, transpose_b=True),
        input_signature=[tf.TensorSpec([1, rows, size])],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.function.get_concrete_function()], module
    )
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        interpreter.invoke()
        taken.append(time.perf_counter() - start)
    return 2 * rows * size * size / statistics.median(taken)
