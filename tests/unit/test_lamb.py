"""LAMB against the algorithm in the paper."""

import keras
import numpy as np
import pytest

from sqb_tf.training.optimizer import adamw
from sqb_tf.training.pretraining.lamb import Lamb

RATE, DECAY, BETA_1, BETA_2, EPSILON = 0.01, 0.1, 0.9, 0.999, 1e-6


def reference(weights: list, gradients: list, decayed: list[bool]) -> list:
    """You et al. 2020, algorithm 2, in float64."""
    weights = [w.astype(np.float64) for w in weights]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step, step_gradients in enumerate(gradients, 1):
        for i, g in enumerate(step_gradients):
            m[i] = BETA_1 * m[i] + (1 - BETA_1) * g
            v[i] = BETA_2 * v[i] + (1 - BETA_2) * g**2
            update = m[i] / (1 - BETA_1**step)
            update = update / (np.sqrt(v[i] / (1 - BETA_2**step)) + EPSILON)
            ratio = 1.0
            if decayed[i]:
                update = update + DECAY * weights[i]
                ratio = np.linalg.norm(weights[i]) / np.linalg.norm(update)
            weights[i] = weights[i] - RATE * ratio * update
    return weights


def lamb(**kwargs) -> Lamb:
    optimizer = Lamb(RATE, weight_decay=DECAY, epsilon=EPSILON, **kwargs)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def test_follows_the_paper():
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)]
    gradients = [[rng.normal(size=w.shape).astype(np.float32) for w in start] for _ in range(5)]
    kernel, bias = (keras.Variable(w, name=n) for w, n in zip(start, ("kernel", "bias")))
    optimizer = lamb()
    for step_gradients in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step_gradients], [kernel, bias])
    expected = reference(start, gradients, [True, False])
    np.testing.assert_allclose(kernel, expected[0], rtol=1e-5)
    np.testing.assert_allclose(bias, expected[1], rtol=1e-5)


def test_a_variable_of_zeros_is_updated():
    variable = keras.Variable(np.zeros(3, np.float32), name="kernel")
    lamb().apply([keras.ops.ones(3)], [variable])
    np.testing.assert_allclose(variable, -RATE, rtol=1e-3)


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    hidden = keras.layers.Embedding(9, 6)(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(hidden)))


@pytest.mark.parametrize("make", [lamb, lambda **kwargs: adamw(RATE, **kwargs)])
def test_accumulated_gradients_are_those_of_the_whole_batch(make):
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(0, 9, (24, 4), np.int32), rng.normal(size=(24, 2))
    results = []
    for parts in (1, 4):
        model = small_model()
        accumulate = {} if parts == 1 else {"gradient_accumulation_steps": parts}
        model.compile(make(**accumulate), "mse")
        start = model.get_weights()
        for step in range(3):
            rows = slice(step * 8, step * 8 + 8)
            for x, y in zip(np.split(ids[rows], parts), np.split(targets[rows], parts)):
                model.train_on_batch(x, y)
        results.append(model.get_weights())
        assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(start, results[-1]))
    for whole, accumulated in zip(*results, strict=True):
        np.testing.assert_allclose(accumulated, whole, rtol=1e-4, atol=1e-6)
