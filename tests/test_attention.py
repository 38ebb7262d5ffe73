"""sqb_tf.attention against products, softmax and dropout written one after the other."""

import numpy as np
import pytest
import tensorflow as tf

from sqb_tf.attention import context_of, scores_of

# Of products of numbers around 1 in the two float types; in bfloat16 probabilities are rounded between them.
TOLERANCE = {"float32": 2e-5, "bfloat16": 0.15}


def value_and_gradients(function, *tensors: tf.Tensor) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, "float32")))
    return [tf.cast(x, "float32").numpy() for x in (outputs, *tape.gradient(loss, tensors))]


def normal(*shape: int, seed: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, (seed, seed))


def theirs(scores: tf.Tensor, value: tf.Tensor, factors: tf.Tensor | None) -> tf.Tensor:
    probabilities = tf.nn.softmax(scores)
    return (probabilities if factors is None else probabilities * factors) @ value


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("queries", [1, 7])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scores_are_the_product_and_its_gradients(dtype, queries, jit_compile):
    query, key = normal(2, 3, queries, 8, seed=1), normal(2, 3, 7, 8, seed=2)
    ours = tf.function(scores_of, jit_compile=jit_compile)
    found = value_and_gradients(ours, tf.cast(query, dtype), tf.cast(key, dtype))
    expected = value_and_gradients(lambda q, k: tf.matmul(q, k, transpose_b=True), query, key)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rate", [None, 0.0, 0.5])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_context_is_softmax_dropout_and_product_with_their_gradients(dtype, rate, jit_compile):
    scores, value = 3 * normal(2, 3, 5, 7, seed=1), normal(2, 3, 7, 8, seed=2)
    factors = None
    if rate is not None:
        kept = tf.random.stateless_uniform(scores.shape, (3, 3)) >= rate
        factors = tf.cast(kept, "float32") / (1 - rate)
    of_type = None if factors is None else tf.cast(factors, dtype)
    ours = tf.function(lambda s, v: context_of(s, v, of_type), jit_compile=jit_compile)
    found = value_and_gradients(ours, tf.cast(scores, dtype), tf.cast(value, dtype))
    expected = value_and_gradients(lambda s, v: theirs(s, v, factors), scores, value)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE[dtype])
        assert np.abs(other).max() > 0.1
