"""The matrix products of a training step alone: what bounds a step, whatever else it computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

Product = tuple[tuple[int, ...], tuple[int, ...]]  # the shapes of what is multiplied


def block_products(
    config: Any, batch_size: int, seq_length: int, first_token_only: bool
) -> Iterator[Product]:
    """Those of one block's forward pass, of the paper's token mixer: a product for each group."""
    asking = 1 if first_token_only else seq_length

    def projection(length: int, inputs: int, filters: int, groups: int) -> list[Product]:
        shapes = (batch_size * length, inputs // groups), (inputs // groups, filters // groups)
        return [shapes] * groups

    size, wide, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    yield from projection(asking, size, size, config.q_groups)
    yield from projection(seq_length, size, size, config.k_groups)
    yield from projection(seq_length, size, size, config.v_groups)
    each = batch_size, heads
    yield (*each, asking, config.head_size), (*each, config.head_size, seq_length)
    yield (*each, asking, seq_length), (*each, seq_length, config.head_size)
    yield from projection(asking, size, size, config.post_attention_groups)
    yield from projection(asking, size, wide, config.intermediate_groups)
    yield from projection(asking, wide, size, config.output_groups)


def products_step(
    config: Any, batch_size: int, seq_length: int, precision: str
) -> Callable[[], dict[str, float]]:
    """Runs every block's products, forward and both gradients of each, as our classifier's step does.

    As TensorFlow orders them, on arrays of the right shapes. Of the last block the first token alone, which
    is all that a classifier pools.
    """
    import tensorflow as tf

    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32

    def function_of(first_token_only: bool) -> Callable[[], Any]:
        arrays = []
        for left, right in block_products(config, batch_size, seq_length, first_token_only):
            shapes = left, right, (*left[:-1], right[-1])
            arrays.append([tf.cast(tf.random.normal(shape), dtype) for shape in shapes])

        @tf.function
        def multiply(arrays: Any) -> Any:
            return [
                (
                    tf.matmul(left, right),
                    tf.matmul(upstream, right, transpose_b=True),
                    tf.matmul(left, upstream, transpose_a=True),
                )
                for left, right, upstream in arrays
            ]

        return lambda: multiply(arrays)

    block, last = function_of(False), function_of(True)

    def step() -> dict[str, float]:
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(config.num_hidden_layers - 1):
            block()
        last()
        return {
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - cpu_start,
        }

    return step
