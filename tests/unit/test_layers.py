"""sqb_tf.model.layers: GroupedConv1D against Conv1D, embeddings, the mask."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import (
    random_inputs,
    randomize,
    tiny_config,
    value_and_gradients,
)

from sqb_tf.model.backbone import SqueezeBertBackbone
from sqb_tf.model.layers import (
    Embeddings,
    EncoderBlock,
    GroupedConv1D,
    MaskBias,
    SelfAttention,
)

# Sums of at most 32 products of values around 1: float32 rounding, 6e-8 of each, stays far below.
ROUNDING = 1e-5


def build_both(channels: int, **arguments) -> tuple[GroupedConv1D, keras.layers.Conv1D, tf.Tensor]:
    """Our layer and Keras' with equal random weights, and inputs for them."""
    ours, theirs = GroupedConv1D(**arguments), keras.layers.Conv1D(**arguments)
    for layer in (ours, theirs):
        layer.build((None, None, channels))
        randomize(layer, seed=1)
    x = np.random.default_rng(0).normal(size=(3, 7, channels)).astype(np.float32)
    return ours, theirs, tf.constant(x)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(filters=24, kernel_size=1),
        dict(filters=24, kernel_size=1, groups=2),
        dict(filters=8, kernel_size=1, groups=4),
        dict(filters=16, kernel_size=1, groups=16),
        dict(filters=24, kernel_size=1, groups=4, activation="gelu"),
        dict(filters=24, kernel_size=1, groups=4, use_bias=False),
        dict(filters=24, kernel_size=3, groups=4),
        dict(filters=24, kernel_size=1, groups=4, strides=2),
        dict(filters=24, kernel_size=3, groups=4, padding="causal", dilation_rate=2),
        dict(filters=24, kernel_size=3, groups=2, padding="same", activation="relu"),
    ],
    ids=str,
)
def test_grouped_conv_equals_conv_and_its_gradients(arguments):
    ours, theirs, x = build_both(16, **arguments)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    assert ours.compute_output_shape(x.shape) == theirs(x).shape
    results = (value_and_gradients(layer, [x], layer.trainable_weights) for layer in (ours, theirs))
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=ROUNDING, rtol=ROUNDING)


def test_grouped_conv_leaves_channels_first_to_conv():
    arguments = dict(filters=8, kernel_size=1, data_format="channels_first")
    layer = GroupedConv1D(**arguments)
    x = keras.Input((4, None))
    assert layer(x).shape == keras.layers.Conv1D(**arguments)(x).shape == (None, 8, None)


def test_grouped_conv_is_a_conv_and_rejects_what_conv_rejects():
    assert isinstance(GroupedConv1D(8, 1, groups=4), keras.layers.Conv1D)
    with pytest.raises(ValueError, match="groups"):
        GroupedConv1D(6, 1, groups=4)
    with pytest.raises(ValueError, match="channels"):
        GroupedConv1D(8, 1, groups=4).build((None, None, 6))


def test_grouped_conv_round_trips_through_its_config():
    ours, _, x = build_both(
        16, filters=24, kernel_size=1, groups=4, activation="gelu", name="query"
    )
    copy = keras.layers.deserialize(keras.layers.serialize(ours))
    assert type(copy) is GroupedConv1D
    assert copy.get_config() == ours.get_config()
    copy.set_weights(ours.get_weights())
    np.testing.assert_array_equal(copy(x), ours(x))


@pytest.mark.parametrize("layer_class", [Embeddings, SelfAttention, EncoderBlock])
def test_configured_layer_round_trips_through_its_config(layer_class, tiny_config):
    layer = layer_class(tiny_config, name="layer")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(copy) is layer_class
    assert copy.config == tiny_config
    assert copy.name == "layer"


@pytest.mark.parametrize("mixer", ["self_attention", "separable_conv"])
def test_the_model_ignores_the_users_image_data_format(mixer):
    """`keras.json` may have channels_first, for images of another project."""
    config = tiny_config(token_mixer=mixer)
    keras.config.set_image_data_format("channels_first")
    try:
        hidden = SqueezeBertBackbone(config)(random_inputs(config, 2, 5))["sequence_output"]
        assert hidden.shape == (2, 5, config.hidden_size)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_embeddings_differ_by_position_and_type():
    config = tiny_config(max_position_embeddings=6)
    layer = Embeddings(config)
    ids = np.full((1, 6), 7)
    outputs = layer(ids, np.zeros((1, 6), int)).numpy()[0]
    assert len(np.unique(outputs.round(3), axis=0)) == 6
    second_type = layer(ids, np.ones((1, 6), int)).numpy()[0]
    assert (np.abs(outputs - second_type).max(-1) > 1e-3).all()  # layer norm scales to about 1


def test_embeddings_reject_more_tokens_than_positions():
    layer = Embeddings(tiny_config(max_position_embeddings=6))
    assert layer(np.ones((1, 6), int), np.zeros((1, 6), int)).shape == (1, 6, 32)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        layer(np.ones((1, 7), int), np.zeros((1, 7), int))


def test_mask_bias_is_zero_at_tokens_and_large_at_padding():
    bias = MaskBias()(np.array([[1, 1, 0]])).numpy()
    assert bias.shape == (1, 1, 1, 3)
    np.testing.assert_array_equal(bias[0, 0, 0], [0, 0, -1e4])


def test_attention_gives_no_weight_to_padding(tiny_config):
    layer = SelfAttention(tiny_config)
    x = np.random.default_rng(0).normal(size=(1, 5, 32)).astype(np.float32)
    _, scores = layer(x, MaskBias()(np.array([[1, 1, 1, 0, 0]])))
    probabilities = tf.nn.softmax(scores)
    assert probabilities.shape == (1, 4, 5, 5)
    np.testing.assert_array_equal(probabilities[..., 3:], 0)
    np.testing.assert_allclose(np.sum(probabilities, -1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{}, {"intermediate_groups": 2}, {"intermediate_groups": 1, "output_groups": 1}]
)
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hidden_act", ["gelu", "relu"])
def test_feed_forward_is_its_two_layers(change, lora, training, hidden_act):
    block = EncoderBlock(tiny_config(hidden_act=hidden_act, **change))
    block.build((None, None, 32))
    if lora:
        block.intermediate.enable_lora(2)
    randomize(block)
    x = tf.random.stateless_normal((2, 5, 32), (0, 0))
    first, second = block.intermediate, block.output_projection
    functions = lambda x: block._feed_forward(x, training), lambda x: second(first(x))
    weights = first.trainable_weights + second.trainable_weights
    results = (value_and_gradients(function, [x], weights) for function in functions)
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=5 * ROUNDING)
    assert np.abs(second(first(x))).max() > 0.1


def test_masked_tokens_do_not_affect_other_tokens(tiny_config):
    model = SqueezeBertBackbone(tiny_config)
    randomize(model)
    inputs = random_inputs(tiny_config, batch=3, length=12)
    changed = {**inputs}
    padding = inputs["input_mask"] == 0
    changed["input_word_ids"] = np.where(padding, 5, inputs["input_word_ids"])
    changed["input_type_ids"] = np.where(padding, 1, inputs["input_type_ids"])
    assert (changed["input_word_ids"] != inputs["input_word_ids"]).any()
    actual, expected = model(changed), model(inputs)
    np.testing.assert_array_equal(actual["pooled_output"], expected["pooled_output"])
    np.testing.assert_array_equal(
        actual["sequence_output"].numpy()[~padding], expected["sequence_output"].numpy()[~padding]
    )


def test_outputs_do_not_depend_on_the_padded_length(tiny_config):
    model = SqueezeBertBackbone(tiny_config)
    randomize(model)
    short = random_inputs(tiny_config, batch=1, length=9)
    long = {name: np.pad(values, [(0, 0), (0, 20)]) for name, values in short.items()}
    actual, expected = model(long), model(short)
    # Outputs are about 1 (layer norm); sums over 29 positions instead of 9 round differently.
    np.testing.assert_allclose(
        actual["sequence_output"][:, :9], expected["sequence_output"], atol=ROUNDING
    )
    np.testing.assert_allclose(actual["pooled_output"], expected["pooled_output"], atol=ROUNDING)
