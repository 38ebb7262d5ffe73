"""sqb_tflite.conversion.equalize: the same function, with more even channels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from fixtures.lowering import CONFIGS, EXACT, random_classifier, row
from fixtures.models import random_inputs, random_texts, softmax
from fixtures.tiers import tiered

import sqb_tf
from sqb_tflite.conversion.calibration import calibration_samples
from sqb_tflite.conversion.equalize import equalize, mean_square_of_classes
from sqb_tflite.conversion.lowering.layers import Dense, MeanSquareOfClasses
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.quantize import observe_ranges, with_ranges


def uneven(config_overrides: dict):
    """A model with outlier channels in every norm's input, and channels of attention 30 times too large."""
    model = random_classifier(**config_overrides)
    words = model.backbone.embeddings.word_embeddings.embeddings
    words.assign(words.numpy() * np.where(np.arange(words.shape[1]) == 3, 60.0, 1.0))
    for block in model.backbone.blocks:
        for layer in (block.post_attention, block.output_projection):
            outliers = np.arange(layer.filters) % 16 == 5
            layer.kernel.assign(layer.kernel.numpy() * np.where(outliers, 60.0, 1.0))
        attention = block.attention
        scale = np.where(np.arange(attention.query.filters) % 4 == 1, 30.0, 1.0)
        for layer, by in ((attention.query, scale), (attention.key, 1 / scale)):
            layer.kernel.assign(layer.kernel.numpy() * by)
            layer.bias.assign(layer.bias.numpy() * by)
    return model


ATTENDING = [config for config in CONFIGS if "token_mixer" not in config]


@pytest.mark.parametrize("overrides", tiered(ATTENDING, ATTENDING[:4]), ids=str)
def test_equalized_model_is_the_model(overrides):
    model = uneven(overrides)
    inputs = random_inputs(model.config, batch=4, length=13)
    expected = softmax(model(inputs, training=False).numpy())
    lowered = LoweredModel(model, "classification", 64, integer=True)
    before = [dense.kernel.numpy() for dense in lowered.dense_layers]
    equalize(lowered, [row(inputs, index) for index in range(4)])
    for index in range(4):
        actual = lowered(**row(inputs, index))["probabilities"][0]
        np.testing.assert_allclose(actual, expected[index], atol=2 * EXACT)
    assert all(norm.mean_square is not None for norm in lowered.norms)
    changed = [
        not np.array_equal(old, dense.kernel.numpy())
        for old, dense in zip(before, lowered.dense_layers, strict=True)
    ]
    assert sum(changed) >= 2 * len(lowered.blocks)


def calibrated(bundle_dir) -> tuple[list, LoweredModel]:
    """A trained model without outliers, equalized, and the inputs that it was equalized on."""
    model = sqb_tf.load(bundle_dir)
    inputs = calibration_samples(model, random_texts(8), 32)
    lowered = LoweredModel(model, "classification", 32, integer=True)
    equalize(lowered, inputs)
    return inputs, lowered


def part_ranges(lowered, inputs) -> list[list[np.ndarray]]:
    """The range of each channel of every block's queries, keys and values."""
    ranges: dict = {}

    def observe(layer, x):
        if isinstance(layer, Dense):
            outputs = np.abs(x.numpy() @ layer.kernel.numpy().T + layer.bias.numpy())
            ranges[layer] = np.maximum(ranges.get(layer, 0), outputs.max(axis=(0, 1)))

    with lowered.observed_by(observe):
        for sample in inputs:
            lowered(**sample)
    return [
        [
            np.concatenate([ranges[dense][rows] for dense, rows in part])
            for part in block.mixer.parts
        ]
        for block in lowered.blocks
    ]


def test_queries_and_keys_have_equal_ranges(bundle_dir):
    inputs, lowered = calibrated(bundle_dir)
    for query, key, _ in part_ranges(lowered, inputs):
        np.testing.assert_allclose(query, key, rtol=1e-3)


def test_values_are_as_wide_as_the_keys_beside_them(bundle_dir):
    """One matmul computes both, and its output has one scale: a MiniLM's values had a sixth of its range."""
    inputs, lowered = calibrated(bundle_dir)
    for block, ranges in zip(lowered.blocks, part_ranges(lowered, inputs), strict=True):
        _, key, value = ranges
        assert np.isclose(value.max(), key.max(), rtol=1e-3), block.mixer.sources[0].layer


def test_squares_of_classes_have_the_mean_of_all():
    """Each row of weights holds one value, which int8 with a scale per row is exact for."""
    rng = np.random.default_rng(0)
    ranges = np.where(np.arange(48) % 7 == 2, 200.0, 3.0).astype(np.float32)
    x = (rng.uniform(-1, 1, (1, 5, 48)) * ranges).astype(np.float32)
    mean_square = MeanSquareOfClasses(ranges)
    expected = np.square(x).mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(mean_square(x), expected, rtol=1e-5)
    assert np.abs(x * mean_square.scale).max() <= 1
    assert [np.unique(row[row != 0]).size for row in mean_square.weights.numpy()] == [1, 1]


def in_integers(function: Callable, x: np.ndarray, folder: Path) -> np.ndarray:
    """`function` of each of `x`, from a file with 16-bit activations."""
    spec = tf.TensorSpec(x.shape[1:], tf.float32, name="x")
    module = tf.Module()
    module.function = function
    signature = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    ranges = observe_ranges(content, 16, {"serving_default": [{"x": each} for each in x]})
    content = with_ranges(content, 16, ranges)
    run = Interpreter(model_content=content).get_signature_runner()
    (from_scale, _), (to_scale, _) = (
        details["quantization"]
        for details in (run.get_input_details()["x"], run.get_output_details()["y"])
    )
    codes = [run(x=np.round(each / from_scale).astype(np.int16))["y"] for each in x]
    return np.stack(codes) * to_scale


def test_an_outlier_leaves_the_squares_of_other_channels_levels(tmp_path):
    """One channel of one token is 200, as pretrained models have it; all others are 0.4."""
    x = np.random.default_rng(0).normal(0, 0.4, (4, 1, 8, 96)).astype(np.float32)
    x[:, :, 3, 5] = 200.0
    of_classes = mean_square_of_classes(np.abs(x).max(axis=(0, 1, 2)))
    expected = np.square(x).mean(axis=-1, keepdims=True)

    def error(function: Callable, folder: str) -> float:
        """The root mean square of relative errors in tokens without the outlier."""
        errors = in_integers(function, x, tmp_path / folder) / expected - 1
        return float(np.sqrt(np.square(np.delete(errors, 3, axis=2)).mean()))

    assert error(of_classes, "classes") < 0.03
    assert error(lambda x: tf.reduce_mean(x * x, axis=-1, keepdims=True), "one") > 0.1


def test_norms_without_outliers_stay_as_they_are(bundle_dir):
    _, lowered = calibrated(bundle_dir)
    assert [norm.mean_square for norm in lowered.norms] == [None] * len(lowered.norms)
