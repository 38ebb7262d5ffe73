"""What bounds a package's speed: the operations of its matmuls, and LiteRT's peak rate.

A matmul with int8 weights runs in int8; all others, including attention's own two, run in float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = ("int8", "float32")
# Shape of the large matmul whose rate is the limit.
ROWS, SIZE = 512, 2048


def operations(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Multiplications and additions in the matmuls of a package for `inputs`, by `DTYPES`."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without XNNPACK, which does not update the shapes of the operations it runs.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    runner = interpreter.get_signature_runner()
    runner(**inputs)
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    counts = dict.fromkeys(DTYPES, 0.0)
    for operation in interpreter._get_ops_details():
        if operation["op_name"] not in ("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL"):
            continue
        left, weights = (tensors[i] for i in operation["inputs"][:2])
        (output,) = (tensors[i]["shape"] for i in operation["outputs"])
        if operation["op_name"] == "BATCH_MATMUL":
            # The first factor is transposed if its rows are not the output's.
            factors = left["shape"][-1 if left["shape"][-2] == output[-2] else -2]
        else:  # the kernel of one channel
            factors = math.prod(weights["shape"][1:])
        dtype = "int8" if weights["dtype"] == np.int8 else "float32"
        counts[dtype] += 2.0 * float(math.prod(output)) * float(factors)
    return counts


def limits(runs: int = 20) -> dict[str, float]:
    """Operations per second of one large matmul in LiteRT, 1 thread, by `DTYPES`, interleaved.

    By the fastest run: the median over two seconds was once half of the rate that packages reached later.
    """
    interpreters = {dtype: _matmul(dtype) for dtype in DTYPES}
    times: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for _ in range(runs + 1):  # the first warms up
        for dtype, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            times[dtype].append(time.perf_counter() - start)
    return {dtype: 2 * ROWS * SIZE * SIZE / min(values) for dtype, values in times.items()}


def least_ms(counts: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Milliseconds that `operations` take at the `limits` rates."""
    return 1e3 * sum(counts[dtype] / limits[dtype] for dtype in DTYPES)


def _matmul(dtype: str) -> Any:
    """An interpreter of a matmul: `[ROWS, SIZE]` by weights `[SIZE, SIZE]`, stored as in recipes."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    kernel = tf.constant(np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32))
    module = tf.Module()
    module.function = tf.function(
        lambda x: tf.matmul(x, kernel, transpose_b=True),
        input_signature=[tf.TensorSpec([1, ROWS, SIZE])],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.function.get_concrete_function()], module
    )
    if dtype == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
