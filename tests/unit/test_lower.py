"""The lowered model: the inference functions equal the Keras model, whatever the config."""

import numpy as np
import pytest
import tensorflow as tf
from fixtures.lowering import CONFIGS, EXACT, random_classifier, row
from fixtures.models import (
    random_inputs,
    softmax,
)
from fixtures.tiers import tiered

from sqb_tflite.conversion.lowering.layers import Dense, regroup
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.recipes import LOWERINGS


@pytest.fixture(scope="module")
def model():
    return random_classifier()


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("overrides", tiered(CONFIGS, [*CONFIGS[:7], CONFIGS[-2]]), ids=str)
def test_probabilities_equal_keras(overrides, lowering):
    model = random_classifier(**overrides)
    lowered = LoweredModel(model, "classification", 64, lowering=lowering)
    inputs = random_inputs(model.config, batch=3, length=13)  # both types, padded rows
    assert inputs["input_mask"].min() == 0
    expected = softmax(model(inputs, training=False).numpy())
    assert np.ptp(expected, axis=0).max() > 1e-2  # different texts have different answers
    for index in range(3):
        outputs = lowered(**row(inputs, index))
        assert outputs.keys() == {"probabilities"}
        np.testing.assert_allclose(outputs["probabilities"][0], expected[index], atol=EXACT)


@pytest.mark.parametrize("overrides", CONFIGS[:1] + CONFIGS[6:7], ids=str)
def test_regression_scores_equal_keras(overrides):
    model = random_classifier(num_labels=1, **overrides)
    lowered = LoweredModel(model, "regression", 64)
    inputs = random_inputs(model.config, batch=3, length=13)
    expected = model(inputs, training=False).numpy()
    for index in range(3):
        outputs = lowered(**row(inputs, index))
        assert outputs.keys() == {"logits"}
        np.testing.assert_allclose(outputs["logits"][0], expected[index], atol=EXACT)


@pytest.mark.filterwarnings("ignore:You are using a softmax")  # over the one token there is
@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_every_length_equals_keras(model, length):
    lowered = LoweredModel(model, "classification", 64)
    inputs = random_inputs(model.config, batch=1, length=length)
    expected = softmax(model(inputs, training=False).numpy())
    np.testing.assert_allclose(lowered(**row(inputs, 0))["probabilities"], expected, atol=EXACT)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_traced_functions_equal_keras_at_fixed_and_dynamic_length(model, lowering):
    lowered = LoweredModel(model, "classification", 32, lowering=lowering)
    inputs = random_inputs(model.config, batch=2, length=16)
    expected = softmax(model(inputs, training=False).numpy())
    for signature in (lowered.signature(None), lowered.signature(16)):
        for index in range(2):
            outputs = signature(**row(inputs, index))["probabilities"]
            np.testing.assert_allclose(outputs[0], expected[index], atol=EXACT)


@pytest.mark.parametrize("length", [13, 40, 100])
def test_long_text_keeps_its_first_tokens_and_its_last(model, length):
    lowered = LoweredModel(model, "classification", 12)
    rng = np.random.default_rng(0)
    inputs = {
        "input_word_ids": rng.integers(0, model.config.vocab_size, (1, length), np.int32),
        "input_mask": np.ones((1, length), np.int32),
        "input_type_ids": rng.integers(0, 2, (1, length), np.int32),
    }
    kept = {name: np.delete(values, slice(11, -1), axis=1) for name, values in inputs.items()}
    assert kept["input_word_ids"].shape == (1, 12)
    assert kept["input_word_ids"][0, -1] == inputs["input_word_ids"][0, -1]
    expected = softmax(model(kept, training=False).numpy())
    for call in (lowered, lowered.signature(None)):
        np.testing.assert_allclose(call(**row(inputs, 0))["probabilities"], expected, atol=EXACT)


def test_length_of_the_limit_is_not_truncated(model):
    lowered = LoweredModel(model, "classification", 12)
    inputs = random_inputs(model.config, batch=1, length=12)
    expected = softmax(model(inputs, training=False).numpy())
    for call in (lowered, lowered.signature(None), lowered.signature(12)):
        np.testing.assert_allclose(call(**row(inputs, 0))["probabilities"], expected, atol=EXACT)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("overrides", tiered(CONFIGS, [*CONFIGS[:7], CONFIGS[-2]]), ids=str)
def test_observer_sees_every_dense_layer_once(overrides, lowering):
    model = random_classifier(**overrides)
    lowered = LoweredModel(model, "classification", 64, lowering=lowering)
    seen: list[Dense] = []
    for dense in lowered.dense_layers:
        dense.observer = lambda dense, x: seen.append((dense, x.shape[-1]))
    lowered(**row(random_inputs(model.config, batch=1, length=7), 0))
    assert len(seen) == len(lowered.dense_layers)
    assert {id(dense) for dense, _ in seen} == {id(dense) for dense in lowered.dense_layers}
    assert all(dense.kernel.shape[1] == width for dense, width in seen)


def test_every_kernel_weight_is_in_a_dense_layer_once(model):
    lowered = LoweredModel(model, "classification", 64)
    ours = sum(int(tf.size(dense.kernel)) for dense in lowered.dense_layers)
    theirs = sum(w.value.shape.num_elements() for w in model.weights if w.path.endswith("kernel"))
    assert ours == theirs


def test_groups_of_the_paper_are_fused(model):
    """Layers of 4 independent quarters: one matmul per group for query, key and value together."""
    first, last = LoweredModel(model, "classification", 64).blocks
    assert [dense.kernel.shape for dense in first.mixer.sources[0].groups_dense] == [(24, 8)] * 4
    # The last block computes the first token only: keys and values of all tokens, one query.
    assert [len(source.groups_dense) for source in last.mixer.sources] == [4, 4]
    assert last.mixer.sources[1].groups_dense[0].kernel.shape == (16, 8)


@pytest.mark.parametrize(("have", "want"), [(1, 4), (4, 1), (4, 2), (2, 8), (4, 4)])
def test_regrouping_keeps_the_channels(have, want):
    x = np.arange(2 * 16, dtype=np.float32).reshape(1, 2, 16)
    chunks = regroup([tf.constant(part) for part in np.split(x, have, axis=-1)], want)
    assert [chunk.shape[-1] for chunk in chunks] == [16 // want] * want
    np.testing.assert_array_equal(np.concatenate(chunks, axis=-1), x)
