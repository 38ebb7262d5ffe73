"""Quantization-aware training: steps see rounded weights, the exact ones learn, the bundle converts."""

import json

import keras
import numpy as np
import pytest
from commands import call, rejects
from helpers import random_inputs, randomize, tiny_config

import sqb_tf
from sqb_tf.heads import SqueezeBertClassifier
from sqb_tf.training.quantization_aware import RoundedWeights, rounded
from tflite.recipes import chosen, resolve


@pytest.fixture
def model() -> SqueezeBertClassifier:
    made = SqueezeBertClassifier(tiny_config(), 3)
    randomize(made, seed=1)
    return made


def values(model) -> dict[str, np.ndarray]:
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.trainable_variables}


@pytest.mark.parametrize(("bits", "levels"), [(4, 15), (8, 255)])
def test_rounding_by_hand(bits, levels):
    weight = np.random.default_rng(0).normal(size=(1, 300, 5)).astype(np.float32)
    found = keras.ops.convert_to_numpy(rounded(weight, bits, (0, 1)))
    for channel in range(5):
        grid = np.unique(found[0, :, channel])
        assert len(grid) <= levels
        steps = grid / np.diff(grid).min()
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)
        widest = np.abs(weight[0, :, channel]).max() * (0.9 if bits == 4 else 1.0)
        inside = np.abs(weight[0, :, channel]) <= widest
        error = np.abs(found - weight)[0, :, channel]
        assert error[inside].max() <= 1.01 * widest / (levels - 1)


def test_a_step_is_the_gradient_at_rounded_weights_added_to_exact_ones(model):
    """By plain gradient descent, where that can be computed apart."""
    inputs = random_inputs(model.config, batch=4, length=9)
    labels = np.array([0, 1, 2, 0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    exact = values(model)
    callback = RoundedWeights(model, "int4")
    with callback.applied():
        at = values(model)
        expected = gradients(model, inputs, labels, loss)
    after_judging = values(model)
    assert all(np.array_equal(after_judging[path], exact[path]) for path in exact)
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=False)
    model.fit(
        inputs, labels, batch_size=4, epochs=1, shuffle=False, verbose=0, callbacks=[callback]
    )
    moved = 0
    for path, value in values(model).items():
        np.testing.assert_allclose(value, exact[path] - 0.5 * expected[path], atol=2e-6)
        moved += not np.array_equal(at[path], exact[path])
    assert moved == 2 * 6 + 2 + 3  # six projections a block, pooler and head, three tables


def gradients(model, inputs, labels, loss) -> dict[str, np.ndarray]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss(labels, model(inputs, training=False))
    found = tape.gradient(value, model.trainable_variables)
    dense = [tf.convert_to_tensor(g).numpy() for g in found]
    return {w.path: g for w, g in zip(model.trainable_variables, dense, strict=True)}


def test_names_are_those_of_the_recipes():
    from sqb_tf.training.options import QUANTIZE_AWARE

    for name, (kernel_bits, table_bits) in QUANTIZE_AWARE.items():
        layers = ["block_0/intermediate", "embeddings"]
        kinds = resolve(chosen(name)[1], layers)
        assert tuple(kinds[layer] for layer in layers) == (f"int{kernel_bits}", f"int{table_bits}")


def test_a_trained_bundle_goes_on_and_converts(bundle_dir, data, tmp_path):
    flags = ["--data", data, "--init", bundle_dir, "--epochs", 2, "--quantize-aware", "int4-all"]
    flags += ["--seq-length", 32]
    assert call("finetune", *flags, "--output", tmp_path / "aware") == 0
    package = tmp_path / "aware.tflite"
    assert (
        call(
            "convert",
            "--model",
            tmp_path / "aware",
            "--quantize",
            "int4-all",
            "--allow-loss",
            "--output",
            package,
        )
        == 0
    )
    metrics = json.loads((tmp_path / "aware" / "metrics.json").read_text())
    assert metrics["options"]["quantize_aware"] == "int4-all"
    # Exact weights are kept: those of a file of 8 or 4 bits are made by its conversion.
    kernel = sqb_tf.load(tmp_path / "aware").backbone.blocks[0].intermediate.kernel
    channel = keras.ops.convert_to_numpy(kernel)[0, :, 0]
    assert len(np.unique(channel)) == len(channel)
    plain = ["--data", data, "--init", bundle_dir, "--epochs", 2, "--seq-length", 32]
    assert call("finetune", *plain, "--output", tmp_path / "plain") == 0
    other = sqb_tf.load(tmp_path / "plain").backbone.blocks[0].intermediate.kernel
    assert not np.allclose(keras.ops.convert_to_numpy(other)[0, :, 0], channel, atol=1e-6)


def test_bad_flags_are_named(bundle_dir, data, tmp_path):
    flags = ["finetune", "--data", data, "--output", tmp_path / "out", "--quantize-aware"]
    rejects("quantize_aware int3: expected one of int8", *flags, "int3", "--init", bundle_dir)
    rejects("quantize_aware goes with init", *flags, "int4")
