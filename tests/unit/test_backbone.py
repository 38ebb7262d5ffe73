"""SqueezeBertBackbone: shapes, the paper's size and formulae, mixed precision, compilation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import (
    random_inputs,
    randomize,
    reference_outputs,
    tiny_config,
)
from fixtures.tiers import tiered

from sqb_tf.config import ACTIVATIONS, SqueezeBertConfig
from sqb_tf.model.backbone import SqueezeBertBackbone


@pytest.fixture(scope="module")
def backbone(tiny_config):
    model = SqueezeBertBackbone(tiny_config)
    randomize(model)
    return model


def test_base_has_the_papers_number_of_parameters():
    config = SqueezeBertConfig.from_preset("squeezebert-base")
    hidden, wide = config.hidden_size, config.intermediate_size

    def projection(size_in: int, size_out: int, groups: int) -> int:
        return size_in * size_out // groups + size_out

    norm = 2 * hidden
    embeddings = (config.vocab_size + 512 + 2) * hidden + norm
    block = 3 * projection(hidden, hidden, 4) + projection(hidden, hidden, 1) + 2 * norm
    block += projection(hidden, wide, 4) + projection(wide, hidden, 4)
    by_hand = embeddings + 12 * block + projection(hidden, hidden, 1)
    assert by_hand == 51_089_664
    assert SqueezeBertBackbone(config).count_params() == by_hand


def test_shapes_for_any_batch_and_length(backbone):
    for batch, length in [(1, 2), (3, 9), (2, 64)]:
        outputs = backbone(random_inputs(backbone.config, batch, length))
        assert outputs["sequence_output"].shape == (batch, length, 32)
        assert outputs["pooled_output"].shape == (batch, 32)
    symbolic = backbone.output
    assert symbolic["sequence_output"].shape == (None, None, 32)
    assert symbolic["pooled_output"].shape == (None, 32)


def test_inputs_are_matched_by_name(backbone):
    assert {x.name for x in backbone.inputs} == {"input_word_ids", "input_mask", "input_type_ids"}
    assert {x.dtype for x in backbone.inputs} == {"int32"}
    inputs = random_inputs(backbone.config, 2, 9)
    reordered = dict(reversed(inputs.items()))
    np.testing.assert_array_equal(
        backbone(reordered)["pooled_output"], backbone(inputs)["pooled_output"]
    )


@pytest.mark.parametrize(
    "overrides",
    [{"hidden_act": name} for name in ACTIVATIONS]
    + [
        dict(q_groups=1, k_groups=2, v_groups=4, post_attention_groups=2),
        dict(num_attention_heads=2, intermediate_groups=8, output_groups=16),
        dict(num_hidden_layers=1, type_vocab_size=5, layer_norm_eps=1e-2),
        dict(token_mixer="separable_conv"),
        dict(token_mixer="separable_conv", mixer_kernel_size=1, post_attention_groups=4),
        dict(token_mixer="separable_conv", mixer_kernel_size=31),  # over 11 tokens
    ],
    ids=str,
)
def test_outputs_equal_the_papers_formulae(overrides):
    model = SqueezeBertBackbone(tiny_config(**overrides))
    randomize(model, seed=3)
    inputs = random_inputs(model.config, batch=3, length=11, seed=4)
    outputs, expected = model(inputs), reference_outputs(model, inputs)
    # Outputs are about 1 (layer norm, tanh): float32 has 7 digits, and a dozen matmuls lose one.
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)


def test_pooled_only_gives_the_same_pooled_output_with_less_work(backbone):
    """The same weights, outputs and gradients; the last block computes one token."""
    model = SqueezeBertBackbone(backbone.config, pooled_only=True)
    copy = SqueezeBertBackbone.from_config(model.get_config())
    inputs = random_inputs(backbone.config, 3, 9)
    results = []
    for each in (backbone, model, copy):
        each.set_weights(backbone.get_weights())
        with tf.GradientTape() as tape:
            pooled = each(inputs)["pooled_output"]
            loss = tf.reduce_sum(tf.sin(pooled))
        variables = [weight.value for weight in each.trainable_weights]
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        results.append([pooled, *gradients])
    for values in results[1:]:
        for actual, expected in zip(values, results[0], strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-5)
    assert set(model.output) == set(copy.output) == {"pooled_output"}
    hidden, mask_bias = tf.ones((3, 9, 32)), tf.zeros((3, 1, 1, 9))
    outputs, scores = model.blocks[-1](hidden, mask_bias, first_token_only=True)
    assert outputs.shape == (3, 1, 32) and scores.shape == (3, 4, 1, 9)


@pytest.mark.parametrize("pooled_only", [False, True])
def test_with_states_returns_the_outputs_of_every_block(backbone, pooled_only):
    config = backbone.config
    model = SqueezeBertBackbone(config, pooled_only=pooled_only)
    model.set_weights(backbone.get_weights())
    states = model.with_states()
    assert [w.path for w in states.weights] == [w.path for w in model.weights]
    inputs = random_inputs(config, 3, 9)
    outputs, expected = states(inputs), backbone(inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)
    assert len(outputs["hidden_states"]) == config.num_hidden_layers + 1
    np.testing.assert_array_equal(outputs["hidden_states"][-1], expected["sequence_output"])
    bias = model.mask_bias(inputs["input_mask"])
    for index, block in enumerate(model.blocks):
        hidden, scores = block(outputs["hidden_states"][index], bias)
        np.testing.assert_array_equal(hidden, outputs["hidden_states"][index + 1])
        np.testing.assert_array_equal(scores, outputs["attention_scores"][index])
        assert scores.shape == (3, config.num_attention_heads, 9, 9)


def test_config_round_trip_builds_the_same_model(backbone):
    copy = SqueezeBertBackbone.from_config(backbone.get_config())
    copy.set_weights(backbone.get_weights())
    inputs = random_inputs(backbone.config, 2, 9)
    np.testing.assert_array_equal(
        copy(inputs)["sequence_output"], backbone(inputs)["sequence_output"]
    )


def test_dropout_acts_in_training_only():
    model = SqueezeBertBackbone(
        tiny_config(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    )
    inputs = random_inputs(model.config, 2, 9)

    def pooled(training):
        return model(inputs, training=training)["pooled_output"].numpy()

    np.testing.assert_array_equal(pooled(False), pooled(False))
    assert np.abs(pooled(True) - pooled(True)).max() > 1e-3


@pytest.mark.parametrize(
    ("rate", "count"), [("hidden_dropout_prob", 2), ("attention_probs_dropout_prob", 1)]
)
def test_each_dropout_rate_is_used(rate, count):
    """`count` dropout layers of a one-layer model have the rate."""
    model = SqueezeBertBackbone(tiny_config(num_hidden_layers=1, **{rate: 0.25}))
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    assert len([layer for layer in layers if layer.rate == 0.25]) == count


@pytest.mark.parametrize(
    # One rounding error is 2^-11 or 2^-8 of a value of about 1; some 20 in sequence mostly average out.
    ("policy", "tolerance"),
    [("mixed_float16", 20 * 2**-11), ("mixed_bfloat16", 20 * 2**-8)],
)
def test_mixed_precision_computes_in_half_and_stays_close(backbone, policy, tolerance):
    inputs = random_inputs(backbone.config, 2, 9)
    keras.config.set_dtype_policy(policy)
    try:
        model = SqueezeBertBackbone(backbone.config)
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(backbone.get_weights())
    assert {weight.dtype for weight in model.weights} == {"float32"}
    outputs, expected = model(inputs), backbone(inputs)
    half = policy.removeprefix("mixed_")
    for name, values in outputs.items():
        assert values.dtype == half
        np.testing.assert_allclose(tf.cast(values, tf.float32), expected[name], atol=tolerance)


def test_xla_gives_the_same_outputs(backbone):
    inputs = {k: tf.constant(v) for k, v in random_inputs(backbone.config, 2, 9).items()}
    compiled = tf.function(lambda x: backbone(x, training=False), jit_compile=True)(inputs)
    for name, values in backbone(inputs).items():
        np.testing.assert_allclose(
            compiled[name], values, atol=1e-5
        )  # fused, so rounded differently


@pytest.mark.parametrize("hidden_act", tiered(list(ACTIVATIONS), ["gelu"]))
def test_the_stock_converter_needs_only_built_in_operations(hidden_act, tmp_path):
    """Users of `model.export` and `tf.lite.TFLiteConverter` need nothing from this project."""
    model = SqueezeBertBackbone(tiny_config(num_hidden_layers=1, hidden_act=hidden_act))
    model.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    assert len(converter.convert()) > 4 * model.count_params()
