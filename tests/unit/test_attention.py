"""sqb_tf.model.attention against separate matmuls, softmax and dropout."""

import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import value_and_gradients

from sqb_tf.model.attention import attention_context, attention_scores

# For matmuls of values around 1 in the two dtypes; in bfloat16 the probabilities between them are rounded.
TOLERANCE = {"float32": 5e-6, "bfloat16": 0.05}


def tolerance(dtype: str) -> float:
    """`TOLERANCE`, three times that where TensorFlow truncates to bfloat16, as on CPUs without AVX-512.

    Such errors are twice as large as those of rounding, and of one sign, so that sums do not cancel them.
    """
    row = tf.constant([[1.0, 1.5 * 2**-8]], dtype)  # in bfloat16 the sum is nearest to 1 + 2**-7
    truncates = float(tf.matmul(row, tf.ones((2, 1), dtype))[0, 0]) == 1
    return TOLERANCE[dtype] * (3 if truncates else 1)


def normal(*shape: int, seed: int, dtype: str) -> tf.Tensor:
    """Random float32 values that `dtype` represents exactly."""
    return tf.cast(tf.cast(tf.random.stateless_normal(shape, (seed, seed)), dtype), "float32")


def assert_equal(ours, theirs, tensors: list[tf.Tensor], dtype: str) -> None:
    """`ours` in `dtype` equals `theirs` in float32, and so do the gradients."""
    results = value_and_gradients(ours, [tf.cast(x, dtype) for x in tensors])
    for actual, expected in zip(results, value_and_gradients(theirs, tensors), strict=True):
        np.testing.assert_allclose(actual, expected, atol=tolerance(dtype))
        assert np.abs(expected).max() > 0.1


def theirs(scores: tf.Tensor, value: tf.Tensor, factors: tf.Tensor | None) -> tf.Tensor:
    probabilities = tf.nn.softmax(scores)
    return (probabilities if factors is None else probabilities * factors) @ value


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("queries", [1, 7])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scores_and_gradients_are_those_of_a_matmul(dtype, queries, jit_compile):
    tensors = [normal(2, 3, length, 8, seed=length, dtype=dtype) for length in (queries, 5)]
    ours = tf.function(attention_scores, jit_compile=jit_compile)
    assert_equal(ours, lambda q, k: tf.matmul(q, k, transpose_b=True), tensors, dtype)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rate", [None, 0.0, 0.5])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_context_and_gradients_are_those_of_softmax_dropout_and_matmul(dtype, rate, jit_compile):
    scores = 2 * normal(2, 3, 5, 7, seed=1, dtype=dtype)
    value, factors, cast_factors = normal(2, 3, 7, 8, seed=2, dtype=dtype), None, None
    if rate is not None:
        kept = tf.random.stateless_uniform(scores.shape, (3, 3)) >= rate
        factors = tf.cast(kept, "float32") / (1 - rate)
        cast_factors = tf.cast(factors, dtype)
    ours = tf.function(lambda s, v: attention_context(s, v, cast_factors), jit_compile=jit_compile)
    assert_equal(ours, lambda s, v: theirs(s, v, factors), [scores, value], dtype)
