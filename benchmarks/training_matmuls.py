"""The matmuls of a training step alone: a lower bound for the step, whatever else it computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Matmul = tuple[tuple[int, ...], tuple[int, ...]]  # the shapes of the two factors


def block_matmuls(
    config: Any, batch_size: int, seq_length: int, first_token_only: bool
) -> Iterator[Matmul]:
    """The matmuls of one block's forward pass with the paper's token mixer: one for each group."""
    queries = 1 if first_token_only else seq_length

    def projection(length: int, inputs: int, filters: int, groups: int) -> list[Matmul]:
        shapes = (batch_size * length, inputs // groups), (inputs // groups, filters // groups)
        return [shapes] * groups

    size, wide, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    yield from projection(queries, size, size, config.q_groups)
    yield from projection(seq_length, size, size, config.k_groups)
    yield from projection(seq_length, size, size, config.v_groups)
    each = batch_size, heads
    yield (*each, queries, config.head_size), (*each, config.head_size, seq_length)
    yield (*each, queries, seq_length), (*each, seq_length, config.head_size)
    yield from projection(queries, size, size, config.post_attention_groups)
    yield from projection(queries, size, wide, config.intermediate_groups)
    yield from projection(queries, wide, size, config.output_groups)


def matmuls_step(
    config: Any, batch_size: int, seq_length: int, precision: str
) -> Callable[[], dict[str, float]]:
    """Runs every block's matmuls, forward and both gradients of each, as a step of our classifier does.

    In TensorFlow's order, on arrays of the same shapes. The last block has only the first token, since a
    classifier pools no other.
    """
    size = batch_size, seq_length
    block = _compiled(block_matmuls(config, *size, first_token_only=False), precision)
    last = _compiled(block_matmuls(config, *size, first_token_only=True), precision)
    return _timed([*[block] * (config.num_hidden_layers - 1), last])


def squeezing_matmuls_step(
    teacher: Any, student: Any, batch_size: int, seq_length: int, precision: str
) -> Callable[[], dict[str, float]]:
    """Runs the matmuls of a step of squeezing: the teacher's forward, the student's as `matmuls_step` does.

    Both have every token in every block. The first block's inputs need no gradient in a step: 1% too much for
    a student of 3 layers and 2 groups.
    """
    size = batch_size, seq_length
    frozen = _compiled(
        block_matmuls(teacher, *size, first_token_only=False), precision, gradients=False
    )
    taught = _compiled(block_matmuls(student, *size, first_token_only=False), precision)
    return _timed([*[frozen] * teacher.num_hidden_layers, *[taught] * student.num_hidden_layers])


def _compiled(
    matmuls: Iterator[Matmul], precision: str, gradients: bool = True
) -> Callable[[], Any]:
    """A function that multiplies random factors of the shapes, and with `gradients` computes theirs."""
    import tensorflow as tf

    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32
    arrays = []
    for left, right in matmuls:
        shapes = left, right, (*left[:-1], right[-1])
        arrays.append([tf.cast(tf.random.normal(shape), dtype) for shape in shapes])

    @tf.function
    def multiply(arrays: Any) -> Any:
        products = []
        for left, right, upstream in arrays:
            products.append(tf.matmul(left, right))
            if gradients:
                products.append(tf.matmul(upstream, right, transpose_b=True))
                products.append(tf.matmul(left, upstream, transpose_a=True))
        return products

    return lambda: multiply(arrays)


def _timed(parts: Sequence[Callable[[], Any]]) -> Callable[[], dict[str, float]]:
    """A step that runs the parts in turn."""

    def step() -> dict[str, float]:
        start, cpu_start = time.perf_counter(), time.process_time()
        for part in parts:
            part()
        return {
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - cpu_start,
        }

    return step
