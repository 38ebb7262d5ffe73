"""sqb_tf.training.optimizer: the schedule, weight decay and clipping, computed by hand."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import randomize, tiny_config

from sqb_tf.model.heads import SqueezeBertClassifier
from sqb_tf.training.optimizer import FusedAdamW, LinearWarmupDecay, adamw


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
    optimizer = adamw(LinearWarmupDecay(0.1, 2, 8))
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy._learning_rate.get_config() == optimizer._learning_rate.get_config()
    assert copy._learning_rate.get_config()["total_steps"] == 8


def test_only_kernels_and_tables_decay():
    model = SqueezeBertClassifier(tiny_config())
    randomize(model)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    adamw(0.1, weight_decay=0.5).apply([np.zeros_like(b) for b in before], variables)
    counts = {"bias": 0, "gamma": 0, "beta": 0, "kernel": 0, "embeddings": 0}
    for variable, old in zip(variables, before, strict=True):
        name = variable.path.rsplit("/", 1)[1]
        counts[name] += 1
        # A gradient of 0 changes nothing; decay subtracts rate x decay = 5%.
        factor = 0.95 if name in ("kernel", "embeddings") else 1.0
        np.testing.assert_allclose(variable.numpy(), old * factor, rtol=1e-6)
    assert all(counts.values())


def test_gradient_is_clipped_to_its_global_norm():
    variables = [keras.Variable(np.zeros(2)), keras.Variable(np.zeros(2))]
    optimizer = adamw(0.1)
    optimizer.apply([np.array([30.0, 0.0]), np.array([0.0, 40.0])], variables)
    moments = [np.asarray(optimizer._momentums[i]) for i in range(2)]
    # The norm of (30, 40) is 50, so it is clipped to (0.6, 0.8); the moment adds 1 - beta1 = 0.1 of it.
    np.testing.assert_allclose(moments, [[0.06, 0.0], [0.0, 0.08]], rtol=1e-5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_updates_equal_keras_adamw(weight_decay):
    generator = np.random.default_rng(0)
    start = [generator.normal(size=s).astype("float32") for s in ((3, 4), (4,), (5, 4))]
    results = []
    for optimizer_class in (FusedAdamW, keras.optimizers.AdamW):
        variables = [keras.Variable(value, name=f"w{i}") for i, value in enumerate(start)]
        optimizer = optimizer_class(LinearWarmupDecay(0.1, 2, 5), weight_decay=weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["w1"])
        generator = np.random.default_rng(1)
        for _ in range(4):
            grads = [tf.constant(generator.normal(size=s.shape).astype("float32")) for s in start]
            optimizer.apply(grads, variables)
        results.append([v.numpy() for v in variables])
    for actual, expected, initial in zip(*results, start, strict=True):
        assert not np.allclose(actual, initial, atol=0.1)
        # 1 - beta2 is computed in float32: 0.00100004.
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_fused_update_is_one_op():
    """The reason for the class: Keras' update is many ops, the square root among them."""
    variable = keras.Variable(np.ones(3, "float32"))
    optimizer = FusedAdamW(0.1, weight_decay=0.0)
    optimizer.build([variable])
    graph = tf.function(lambda g: optimizer.apply([g])).get_concrete_function(tf.ones(3)).graph
    op_types = [op.type for op in graph.get_operations()]
    assert op_types.count("ResourceApplyAdam") == 1 and "Sqrt" not in op_types


def test_amsgrad_is_left_to_keras():
    results = []
    for optimizer_class in (FusedAdamW, keras.optimizers.AdamW):
        variable = keras.Variable(np.ones(3, "float32"))
        optimizer = optimizer_class(0.1, amsgrad=True)
        for gradient in (3.0, -1.0, 0.5):
            optimizer.apply([tf.fill([3], gradient)], [variable])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)


def test_rows_looked_up_twice_are_summed_before_clipping_and_squaring():
    looked_up = tf.IndexedSlices(tf.constant([[3.0], [1.0], [5.0]]), tf.constant([2, 0, 2]), (3, 1))
    results = []
    for gradient in (looked_up, tf.convert_to_tensor(looked_up)):
        variable, optimizer = keras.Variable(np.ones((3, 1), "float32")), adamw(0.1)
        optimizer.apply([gradient], [variable])
        results.append(np.asarray(optimizer._velocities[0]))
    np.testing.assert_array_equal(*results)
    # (1, 0, 8) divided by its norm, squared; the moment adds 1 - beta2 = 0.02 of it.
    np.testing.assert_allclose(results[0], [[0.02 / 65], [0.0], [1.28 / 65]], rtol=1e-4)


# Two CPU replicas; each must be updated with the summed gradient.
REPLICAS = """
import keras, numpy as np, tensorflow as tf
from sqb_tf.training.optimizer import FusedAdamW

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    variable = keras.Variable(np.ones(3, "float32"))
    optimizer = FusedAdamW(0.1, weight_decay=0.1)
    optimizer.build([variable])
tf.function(lambda: strategy.run(lambda: optimizer.apply([tf.ones(3)])))()
for replica in strategy.experimental_local_results(variable.value):
    # Decay subtracts 1%, and Adam's first step is the rate.
    np.testing.assert_allclose(replica, 0.99 - 0.1, rtol=1e-4)
"""


def test_replicas_stay_equal():
    """In a separate process: devices must be set up before TensorFlow is used."""
    process = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
