"""sqb_tf.training.optimizer: the schedule by hand, what decays, what is clipped."""

import keras
import numpy as np
import pytest
from helpers import randomize, tiny_config

from sqb_tf.heads import SqueezeBertClassifier
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (7, 0.5), (9, 1 / 6), (10, 0.0), (15, 0.0)],
)
def test_rate_rises_to_its_peak_and_falls_to_zero(step, expected):
    schedule = LinearWarmupDecay(2.0, warmup_steps=4, total_steps=10)
    assert float(schedule(step)) == pytest.approx(2 * expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (5, 0.5), (10, 0.0)])
def test_rate_without_warmup_starts_at_its_peak(step, expected):
    assert float(LinearWarmupDecay(1.0, 0, 10)(step)) == pytest.approx(expected)


def test_schedule_survives_the_optimizers_config():
    made = adamw(LinearWarmupDecay(0.1, 2, 8))
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert copy._learning_rate.get_config() == {"peak": 0.1, "warmup_steps": 2, "total_steps": 8}


def test_only_kernels_and_tables_decay():
    model = SqueezeBertClassifier(tiny_config())
    randomize(model)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    adamw(0.1, weight_decay=0.5).apply([np.zeros_like(b) for b in before], variables)
    kept = {"bias": 0, "gamma": 0, "beta": 0, "kernel": 0, "embeddings": 0}
    for variable, old in zip(variables, before, strict=True):
        name = variable.path.rsplit("/", 1)[1]
        kept[name] += 1
        # A gradient of 0 moves nothing; decay takes rate x decay = 5% off.
        left = 0.95 if name in ("kernel", "embeddings") else 1.0
        np.testing.assert_allclose(variable.numpy(), old * left, rtol=1e-6)
    assert all(kept.values())


def test_gradient_is_clipped_to_its_global_norm():
    variables = [keras.Variable(np.zeros(2)), keras.Variable(np.zeros(2))]
    optimizer = adamw(0.1)
    optimizer.apply([np.array([30.0, 0.0]), np.array([0.0, 40.0])], variables)
    moments = [np.asarray(optimizer._momentums[i]) for i in range(2)]
    # The norm of (30, 40) is 50: (0.6, 0.8) is left, of which 1 - beta1 = 0.1 goes in.
    np.testing.assert_allclose(moments, [[0.06, 0.0], [0.0, 0.08]], rtol=1e-5)
