"""Quantization-aware training: steps use a file's values, exact weights learn, the bundle converts."""

import json

import keras
import numpy as np
import pytest
from fixtures.commands import call, rejects
from fixtures.models import random_inputs, randomize, tiny_config

import sqb_tf
from sqb_tf.model.heads import SqueezeBertClassifier
from sqb_tf.quantization import MAX_CODES, QUANTIZE_AWARE, STORAGE, storage_type
from sqb_tf.training.fake_quantization import fake_quantize_activation, fake_quantize_weight
from sqb_tf.training.quantization_aware import QuantizationAware, projections
from sqb_tflite import convert
from sqb_tflite.conversion import gptq
from sqb_tflite.conversion.calibration import calibration_samples
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.recipes import Recipe, RecipeSpec
from sqb_tflite.runtime.runner import Runner


@pytest.fixture
def model() -> SqueezeBertClassifier:
    classifier = SqueezeBertClassifier(tiny_config(), 3)
    randomize(classifier, seed=1)
    return classifier


def read_weights(model) -> dict[str, np.ndarray]:
    return {w.path: keras.ops.convert_to_numpy(w) for w in model.trainable_variables}


@pytest.mark.parametrize(("bits", "levels"), [(4, 15), (8, 255)])
def test_weights_by_hand(bits, levels):
    weight = np.random.default_rng(0).normal(size=(1, 300, 5)).astype(np.float32)
    quantized = keras.ops.convert_to_numpy(fake_quantize_weight(weight, f"int{bits}", (0, 1)))
    for channel in range(5):
        values = np.unique(quantized[0, :, channel])
        assert len(values) <= levels
        codes = values / np.diff(values).min()
        np.testing.assert_allclose(codes, np.round(codes), atol=1e-2)
        limit = np.abs(weight[0, :, channel]).max() * (0.9 if bits == 4 else 1.0)
        inside = np.abs(weight[0, :, channel]) <= limit
        error = np.abs(quantized - weight)[0, :, channel]
        assert error[inside].max() <= 1.01 * limit / (levels - 1)


def test_a_gain_is_multiplied_in_before_rounding():
    rng = np.random.default_rng(0)
    weight, gain = (rng.normal(size=(1, 30, 5)).astype(np.float32) for _ in range(2))
    with_gain = fake_quantize_weight(weight, "int4", (0, 1), gain)
    product = fake_quantize_weight(weight * gain, "int4", (0, 1))
    np.testing.assert_allclose(with_gain * gain, product, atol=1e-6)


def nearest_codes(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """The nearest of the 256 values, 0 among them, of an asymmetric range."""
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    values = (np.arange(256) - zero) * scale
    return values[np.abs(x[..., None] - values).argmin(axis=-1)]


def test_activations_by_hand():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(6, 40)) + np.arange(-3, 3)[:, None]).astype(np.float32)
    by_token = np.stack([nearest_codes(row, min(row.min(), 0), max(row.max(), 0)) for row in x])
    quantized = keras.ops.convert_to_numpy(fake_quantize_activation(x, per_token=True))
    np.testing.assert_allclose(quantized, by_token, atol=1e-5)
    quantized = keras.ops.convert_to_numpy(fake_quantize_activation(x, per_token=False))
    np.testing.assert_allclose(quantized, nearest_codes(x, x.min(), x.max()), atol=1e-5)
    gain, offset = np.linspace(0.5, 40, 40).astype(np.float32), np.float32(3)
    quantized = keras.ops.convert_to_numpy(
        fake_quantize_activation(x * gain + offset, True, gain, offset)
    )
    np.testing.assert_allclose((quantized - offset) / gain, by_token, atol=1e-4)


@pytest.mark.parametrize("recipe", QUANTIZE_AWARE)
def test_kernels_have_the_bits_of_the_recipe(model, recipe):
    """After the multiplication by the gain of the norm before them, which the file folds in."""
    gains = {
        id(layer.kernel): None if norm is None else np.array(norm.gamma)
        for layer, norm in projections(model)
    }
    assert len(gains) == 2 * 6
    with QuantizationAware(model, recipe).applied():
        for weight in model.trainable_variables:
            if not weight.path.endswith("/kernel"):
                continue
            kernel, stored_as = np.array(weight), "int8"
            if id(weight) in gains:
                stored_as = storage_type(STORAGE[recipe].weights, "block_1/query")
                gain = gains[id(weight)]
                if gain is not None:
                    _, rows, outputs = kernel.shape
                    per_group = outputs * rows // len(gain)
                    first_inputs = np.arange(outputs)[None, :] // per_group * rows
                    kernel = kernel * gain[first_inputs + np.arange(rows)[:, None]]
            for channel in np.moveaxis(kernel, -1, 0):
                codes = channel.ravel() / np.abs(channel).max() * MAX_CODES[stored_as]
                np.testing.assert_allclose(codes, np.round(codes), atol=1e-3, err_msg=weight.path)


def test_the_forward_pass_is_that_of_the_file(bundle_dir, monkeypatch):
    """The outputs in training are 2.8 times nearer to an int8 file's than the exact model's are."""
    # Training does not include the correction of the mean error.
    monkeypatch.setattr(
        "sqb_tflite.conversion.converter.gptq.round_and_correct", lambda *args: None
    )
    loaded, rng = sqb_tf.load(bundle_dir), np.random.default_rng(0)
    for _, norm in projections(loaded):
        if norm is not None:  # some large, so that the gains folded into weights matter
            norm.gamma.assign(np.where(rng.random(norm.gamma.shape) < 0.1, 8.0, norm.gamma))
    runner = Runner(convert(loaded, "int8"))
    texts = [example.text for example in loaded.info.sample("verification")][:16]
    inputs = [{k: np.array(v) for k, v in loaded.preprocessor([text]).items()} for text in texts]

    def probabilities() -> np.ndarray:
        logits = [loaded(example, training=False) for example in inputs]
        return np.array(keras.ops.softmax(keras.ops.concatenate(logits), axis=-1))

    package = np.concatenate([runner(example)["probabilities"] for example in inputs])
    exact = probabilities()
    with QuantizationAware(loaded, "int8").applied():
        aware = probabilities()
    assert np.square(package - aware).mean() < np.square(package - exact).mean() / 4


def test_a_step_adds_the_gradient_at_rounded_weights_to_the_exact_weights(model):
    """With plain gradient descent, for which the test can compute the step."""
    inputs = random_inputs(model.config, batch=4, length=9)
    labels = np.array([0, 1, 2, 0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    exact = read_weights(model)
    callback = QuantizationAware(model, "int4")
    with callback.applied():
        rounded = read_weights(model)
        expected = gradients(model, inputs, labels, loss)
    restored = read_weights(model)
    assert all(np.array_equal(restored[path], exact[path]) for path in exact)
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=False)
    model.fit(
        inputs, labels, batch_size=4, epochs=1, shuffle=False, verbose=0, callbacks=[callback]
    )
    num_rounded = 0
    for path, value in read_weights(model).items():
        np.testing.assert_allclose(value, exact[path] - 0.5 * expected[path], atol=2e-6)
        num_rounded += not np.array_equal(rounded[path], exact[path])
    assert num_rounded == 2 * 6 + 2 + 3  # six projections per block, pooler and head, three tables


def gradients(model, inputs, labels, loss) -> dict[str, np.ndarray]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss(labels, model(inputs, training=False))
    tensors = tape.gradient(value, model.trainable_variables)
    dense = [tf.convert_to_tensor(g).numpy() for g in tensors]
    return {w.path: g for w, g in zip(model.trainable_variables, dense, strict=True)}


def test_every_recipe_that_training_simulates_can_be_converted():
    """Training rounds what the quantizer does: int8 or int4 weights, activations of 8 bits."""
    for name in QUANTIZE_AWARE:
        recipe = Recipe.named(name)
        assert recipe.storage is STORAGE[name]
        assert set(recipe.storage.weights.values()) <= {"int8", "int4"}
        assert recipe.activation_bits in (None, 8)


@pytest.mark.parametrize(("recipe", "words"), [("int8", 127), ("int4", 127), ("int4-all", 7)])
def test_positions_and_types_always_have_8_bits(model, recipe, words):
    """Within the range that the rounding chose: of 4 bits it is 0.9 of the widest value."""
    tables = [w for w in model.trainable_variables if w.path.endswith("/embeddings")]
    assert len(tables) == 3
    exact = {table.path: np.array(table) for table in tables}
    with QuantizationAware(model, recipe).applied():
        for table in tables:
            max_code = words if "/word_embeddings/" in table.path else 127
            share = 0.9 if max_code == 7 else 1.0
            scale = np.abs(exact[table.path]).max(axis=1, keepdims=True) * share / max_code
            codes = np.array(table) / scale
            np.testing.assert_allclose(codes, np.round(codes), atol=1e-3, err_msg=table.path)
            assert np.abs(codes).max() == pytest.approx(max_code, abs=1e-3)


def test_a_trained_bundle_converts_without_further_rounding(bundle_dir, data, tmp_path):
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
    # The bundle has the evaluated weights, and the conversion does not change them.
    loaded = sqb_tf.load(tmp_path / "aware")
    kernel = loaded.backbone.blocks[0].intermediate.kernel
    channel = keras.ops.convert_to_numpy(kernel)[0, :, 0]
    lowered = LoweredModel(loaded, "classification", 32)
    kernels = [dense.kernel.numpy() for dense in lowered.dense_layers]
    storage = RecipeSpec.read("int4-all").storage_types(lowered.layers)
    gptq.round_and_correct(lowered, calibration_samples(loaded, None, 4), storage)
    for dense, before in zip(lowered.dense_layers, kernels, strict=True):
        np.testing.assert_allclose(dense.kernel.numpy(), before, atol=1e-6, err_msg=dense.layer)
    plain = ["--data", data, "--init", bundle_dir, "--epochs", 2, "--seq-length", 32]
    assert call("finetune", *plain, "--output", tmp_path / "plain") == 0
    plain_kernel = sqb_tf.load(tmp_path / "plain").backbone.blocks[0].intermediate.kernel
    assert not np.allclose(keras.ops.convert_to_numpy(plain_kernel)[0, :, 0], channel, atol=1e-6)


@pytest.mark.slow
def test_in_bfloat16_weights_are_rounded_in_float32(bundle_dir, data, tmp_path):
    flags = ["--data", data, "--init", bundle_dir, "--epochs", 1, "--quantize-aware", "int4"]
    flags += ["--precision", "mixed_bfloat16", "--seq-length", 32, "--output", tmp_path / "out"]
    assert call("finetune", *flags) == 0
    block = sqb_tf.load(tmp_path / "out").backbone.blocks[1]
    kernel = keras.ops.convert_to_numpy(block.output_projection.kernel)  # no gain before it
    for channel in np.moveaxis(kernel, -1, 0):
        codes = channel.ravel() / np.abs(channel).max() * 7
        np.testing.assert_allclose(codes, np.round(codes), atol=1e-4)


def test_bad_flags_are_named(bundle_dir, data, tmp_path):
    flags = ["finetune", "--data", data, "--output", tmp_path / "out", "--quantize-aware"]
    rejects(
        "unknown quantize_aware 'int3': expected one of int8", *flags, "int3", "--init", bundle_dir
    )
    rejects("quantize_aware goes with init", *flags, "int4")
