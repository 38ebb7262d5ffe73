"""sqb_tf.training.temperature: a known temperature is found, and nothing else changes."""

import keras
import numpy as np
import pytest

from sqb_tf.heads.classification import Classification
from sqb_tf.heads.head import softmax
from sqb_tf.training.temperature import divide_logits, fit

LABELS = ["a", "b", "c"]


def results(logits: np.ndarray) -> list[Classification]:
    return [Classification.from_scores(LABELS, scores) for scores in softmax(logits)]


@pytest.fixture(scope="module")
def honest():
    """Logits, and labels that are drawn from their probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 3))
    draws = rng.random((len(logits), 1))
    labels = (softmax(logits).cumsum(-1) < draws).sum(-1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(honest, temperature):
    logits, labels = honest
    calibration = fit(results(logits * temperature), labels)
    assert calibration.temperature == pytest.approx(temperature, rel=0.03)
    assert calibration.error_after < 0.01  # 0.004 for 20,000 draws
    if temperature != 1:
        assert calibration.error_before > 0.1


@pytest.mark.parametrize(("wrong", "fitted"), [(4, False), (5, True)])
def test_a_model_that_is_never_wrong_keeps_its_scores(wrong, fitted):
    labels = np.array([0] * 100)
    logits = np.tile([4.0, 0.0, 0.0], (100, 1))
    logits[:wrong] = [0.0, 4.0, 0.0]
    assert (fit(results(logits), labels) is not None) == fitted


def test_the_layer_computes_divided_logits():
    layer = keras.layers.Dense(3)
    states = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    before = keras.ops.convert_to_numpy(layer(states))
    divide_logits(layer, 2.5)
    np.testing.assert_allclose(layer(states), before / 2.5, rtol=1e-5)
