"""What bounds a package's speed: the operations of its matrix products, and how many LiteRT does a second.

A product whose weights are int8 runs in int8; all others, attention's own two among them, run in float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("int8", "float32")
# Of the large product that stands for the limit.
ROWS, SIZE = 512, 2048


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
    """Operations a second of one large product in LiteRT, 1 thread, by `KINDS`, in turns.

    By the fastest run: a median of two seconds was once half of what packages reached the whole hour after.
    """
    interpreters = {kind: _product(kind) for kind in KINDS}
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(runs + 1):  # the first warms up
        for kind, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            taken[kind].append(time.perf_counter() - start)
    return {kind: 2 * ROWS * SIZE * SIZE / min(times) for kind, times in taken.items()}


def least_ms(found: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Milliseconds of `operations` at the `limits`, were there nothing else to do."""
    return 1e3 * sum(found[kind] / limits[kind] for kind in KINDS)


def _product(kind: str) -> Any:
    """An interpreter of a product of `[ROWS, SIZE]` and weights of `[SIZE, SIZE]`, as recipes store them."""
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
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
