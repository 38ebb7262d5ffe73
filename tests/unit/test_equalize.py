"""sqb_tflite.conversion.equalize: the same function, with more even channels."""

import numpy as np
import pytest
from fixtures.lowering import CONFIGS, EXACT, random_classifier, row
from fixtures.models import random_inputs, random_texts, softmax
from fixtures.tiers import tiered

import sqb_tf
from sqb_tflite.conversion.calibration import calibration_samples
from sqb_tflite.conversion.equalize import equalize
from sqb_tflite.conversion.lowering.layers import Dense
from sqb_tflite.conversion.lowering.model import LoweredModel


def uneven(config_overrides: dict):
    """A model with some channels inside attention 30 times larger than they need be."""
    model = random_classifier(**config_overrides)
    for block in model.backbone.blocks:
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
    changed = [
        not np.array_equal(old, dense.kernel.numpy())
        for old, dense in zip(before, lowered.dense_layers, strict=True)
    ]
    assert sum(changed) >= 2 * len(lowered.blocks)


def test_queries_and_keys_have_equal_ranges(bundle_dir):
    model = sqb_tf.load(bundle_dir)
    inputs = calibration_samples(model, random_texts(8), 32)
    lowered = LoweredModel(model, "classification", 32, integer=True)
    equalize(lowered, inputs)
    ranges: dict = {}

    def observe(dense, x):
        if not isinstance(dense, Dense):
            return
        outputs = np.abs(x.numpy() @ dense.kernel.numpy().T + dense.bias.numpy())
        ranges[dense] = np.maximum(ranges.get(dense, 0), outputs.max(axis=(0, 1)))

    with lowered.observed_by(observe):
        for sample in inputs:
            lowered(**sample)
    for block in lowered.blocks:
        query, key, _ = (
            np.concatenate([ranges[dense][rows] for dense, rows in part])
            for part in block.mixer.parts
        )
        np.testing.assert_allclose(query, key, rtol=1e-3)
