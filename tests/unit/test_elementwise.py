"""sqb_tf.model.elementwise: activations, dropout and layer normalization against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import randomize, value_and_gradients

from sqb_tf.model.elementwise import (
    SQRT_HALF,
    Dropout,
    LayerNormalization,
    activation,
    gelu,
    random_bits,
    random_integers,
    scaled_gelu,
)

# Units in the last place of the two dtypes, relative to 1.
ROUNDING = {"float32": 1e-6, "bfloat16": 2**-8}


def normal(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, (seed, seed))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_gelu_and_gradient_equal_keras(dtype, jit_compile):
    x = tf.cast(tf.linspace(-12.0, 12.0, 10_001), dtype)

    def theirs(x):
        return keras.activations.gelu(tf.cast(x, "float32"), approximate=False)

    ours = tf.function(activation("gelu"), jit_compile=jit_compile)
    assert ours(x).dtype == dtype
    results = value_and_gradients(ours, [x]), value_and_gradients(theirs, [x])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=ROUNDING[dtype], atol=4 * ROUNDING[dtype])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_scaled_gelu_is_gelu_with_scaled_input_and_output(dtype, jit_compile):
    x = tf.cast(tf.linspace(-12.0, 12.0, 10_001), dtype)
    ours = tf.function(scaled_gelu, jit_compile=jit_compile)
    assert ours(x).dtype == dtype

    def by_gelu(x):
        # Cast to the dtype, as the gradients are of the outputs in it.
        return tf.cast(gelu(tf.cast(x, "float32") / SQRT_HALF) / SQRT_HALF, dtype)

    results = value_and_gradients(ours, [x]), value_and_gradients(by_gelu, [x])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=ROUNDING[dtype], atol=4 * ROUNDING[dtype])


def test_other_activations_equal_keras():
    x = normal(100)
    assert activation("relu") is keras.activations.relu
    for name in ("gelu_new", "gelu_pytorch_tanh"):
        expected = keras.activations.gelu(x, approximate=True)
        np.testing.assert_array_equal(activation(name)(x), expected)
        assert np.abs(activation("gelu")(x) - expected).max() > 1e-5


@pytest.mark.parametrize("dtype", ROUNDING)
def test_layer_norm_and_gradients_equal_keras(dtype):
    policy = "float32" if dtype == "float32" else "mixed_bfloat16"
    # A mean far from 0, where a difference of squares would lose precision.
    x = tf.cast(normal(3, 5, 64) * 3 + 20, dtype)
    results = []
    for layer_class in (LayerNormalization, keras.layers.LayerNormalization):
        layer = layer_class(epsilon=1e-6, dtype=policy)
        layer.build(x.shape)
        randomize(layer, seed=3)
        results.append(value_and_gradients(layer, [x], layer.trainable_weights))
    for actual, expected in zip(*results, strict=True):
        # Gradients of gain and bias are sums over 15 tokens.
        np.testing.assert_allclose(actual, expected, atol=60 * ROUNDING[dtype], rtol=1e-4)


def test_layer_norm_of_equal_values_is_the_bias():
    layer = LayerNormalization(epsilon=1e-12)
    outputs = layer(tf.fill((2, 8), 7.0))
    np.testing.assert_array_equal(outputs, np.zeros((2, 8)))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(
    ("rate", "bits"), [(0.001, 16), (0.01, 16), (0.1, 8), (0.2, 8), (0.5, 8), (0.9, 8), (0.99, 16)]
)
def test_dropout_drops_its_share_and_keeps_the_mean(rate, bits, dtype):
    size, rounded_rate = 1_000_000, round(rate * 2**bits) / 2**bits
    assert random_bits(rate) == bits and abs(rounded_rate - rate) <= min(rate, 1 - rate) / 50
    x = tf.ones((size,), dtype)
    outputs = Dropout(rate, seed=1, dtype=tf.as_dtype(dtype).name)(x, training=True)
    values = np.unique(tf.cast(outputs, "float32"))
    np.testing.assert_allclose(values, [0, 1 / (1 - rounded_rate)], rtol=2**-8)
    kept = np.count_nonzero(tf.cast(outputs, "float32"))
    # Within 5 standard deviations of a binomial.
    assert abs(kept - size * (1 - rounded_rate)) < 5 * (size * rate * (1 - rate)) ** 0.5


@pytest.mark.parametrize("rate", [0, 1, 1e-9, 1 - 1e-9])
def test_rates_that_need_more_bits_are_left_to_keras(rate):
    assert random_bits(rate) is None


def test_dropout_is_independent_between_neighbours_rows_and_calls():
    layer = Dropout(0.5, seed=2)
    first, second = (layer(tf.ones((1000, 1000)), training=True).numpy() - 1 for _ in range(2))
    pairs = [(first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
    for signs, neighbours in pairs:
        # The mean of a million products of two signs has a standard deviation of 0.001.
        assert abs((signs * neighbours).mean()) < 0.005


def dropped(layer: int, call: int, count: int = 400_000) -> np.ndarray:
    """The mask of a rate of 26/256, scaled to mean 0 and deviation 1: `[4, count]`, a row for each byte."""
    integers = np.asarray(random_integers(count, np.array([layer, call], "uint32")))
    mask = (integers.view("uint8").reshape(count, 4).T < 26).astype("float32")
    return (mask - mask.mean()) / mask.std()


@pytest.mark.parametrize("seed", [(0, 0), (1, 0), (1, 1), (2**32 - 1, 12345)])
def test_bytes_of_random_integers_are_uniform(seed):
    count = 1_000_000
    integers = np.asarray(random_integers(count, np.array(seed, "uint32")))
    assert integers.dtype == np.uint32
    for byte in integers.view("uint8").reshape(count, 4).T:
        squares = (np.bincount(byte, minlength=256) - count / 256) ** 2 / (count / 256)
        # Chi-square with 255 degrees of freedom: the variance is twice as much.
        assert abs(squares.sum() - 255) < 5 * 510**0.5


def test_random_integers_of_calls_layers_and_bytes_are_independent():
    masks = np.concatenate([dropped(layer, call) for layer in (1, 2, 77) for call in range(8)])
    sigmas = masks @ masks.T / masks.shape[1] ** 0.5
    pairs = sigmas[np.triu_indices(len(masks), 1)]
    # 4,560 pairs with a deviation of 1; the largest is expected to be about 4.
    assert abs(pairs.std() - 1) < 0.05 and np.abs(pairs).max() < 5


def test_random_integers_at_different_indices_are_independent():
    sequence = dropped(3, 1).T.ravel()
    spectrum = np.abs(np.fft.rfft(sequence, 2 * len(sequence))) ** 2
    sigmas = np.fft.irfft(spectrum)[1 : len(sequence) // 2] / len(sequence) ** 0.5
    # With growing distance, up to half the sequence, there are fewer pairs: the deviation of all is 0.87.
    assert abs(sigmas.std() - 0.87) < 0.02 and np.abs(sigmas).max() < 6


def test_the_gradient_of_dropout_is_the_mask():
    layer = Dropout(0.3, seed=3)
    x = normal(50, 20)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
    gradient = tape.gradient(outputs, x)
    np.testing.assert_allclose(outputs, x * gradient, rtol=1e-6)
    assert 0.2 < np.mean(gradient == 0) < 0.4


def test_equal_seeds_repeat_dropout():
    def twice(seed):
        layer = Dropout(0.5, seed=seed)
        return np.stack([layer(tf.ones(100), training=True) for _ in range(2)])

    np.testing.assert_array_equal(twice(1), twice(1))
    assert (twice(1) != twice(2)).any()
    assert (twice(1)[0] != twice(1)[1]).any()


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (2, 2), (0, 4)])
def test_dropout_takes_any_number_of_elements(shape, jit_compile):
    layer = Dropout(0.5, seed=4)
    signature = [tf.TensorSpec([None] * len(shape), "float32")]
    drop = tf.function(lambda x: layer(x, training=True), signature, jit_compile=jit_compile)
    assert drop(tf.ones(shape)).shape == shape


@pytest.mark.parametrize("arguments", [dict(rate=0), dict(rate=1e-9), dict(rate=0.5)], ids=str)
def test_dropout_does_nothing_without_training_or_rate(arguments):
    x = normal(4, 4)
    layer = Dropout(**arguments)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    if arguments["rate"] == 0:
        np.testing.assert_array_equal(layer(x, training=True), x)


def test_dropout_of_whole_rows_equals_keras():
    ours, theirs = (
        layer_class(0.5, noise_shape=(100, 1), seed=5)(tf.ones((100, 8)), training=True)
        for layer_class in (Dropout, keras.layers.Dropout)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_rate_of_one_drops_all():
    np.testing.assert_array_equal(Dropout(1.0)(tf.ones(10), training=True), np.zeros(10))
