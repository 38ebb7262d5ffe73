"""Every head: its formula, fitting, saving, mixed precision, XLA; nothing leaks from padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import as_dict, random_inputs, randomize, tiny_config
from fixtures.tiers import every_mixer, tiered

from sqb_tf.errors import InputError
from sqb_tf.model import heads

BATCH, LENGTH, CHOICES = 6, 9, 3
CLASSES = {
    "classifier": (heads.SqueezeBertClassifier, dict(num_labels=3)),
    "token_classifier": (heads.SqueezeBertTokenClassifier, dict(num_labels=5)),
    "span_labeler": (heads.SqueezeBertSpanLabeler, {}),
    "multiple_choice": (heads.SqueezeBertMultipleChoice, {}),
    "masked_lm": (heads.SqueezeBertMaskedLM, {}),
    "pretrainer": (heads.SqueezeBertPretrainer, {}),
    "embedder": (heads.SqueezeBertEmbedder, {}),
    "embedder, first": (heads.SqueezeBertEmbedder, dict(pooling="first")),
}
every_head = pytest.mark.parametrize("head", CLASSES)
# Logits are sums of 32 products of values around 1.
ROUNDING = 1e-5


def build(head: str, **overrides):
    model_class, arguments = CLASSES[head]
    model = model_class(tiny_config(**overrides), **arguments)
    randomize(model)
    return model


def head_inputs(head: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of the head, as random as `random_inputs`."""
    config = tiny_config()
    if head == "multiple_choice":
        flat = random_inputs(config, BATCH * CHOICES, LENGTH, seed)
        return {name: x.reshape(BATCH, CHOICES, LENGTH) for name, x in flat.items()}
    inputs = random_inputs(config, BATCH, LENGTH, seed)
    if head == "pretrainer":
        positions = np.random.default_rng(seed).integers(0, LENGTH, (BATCH, 4), np.int32)
        inputs["masked_positions"] = positions
    return inputs


def assert_same(actual, expected, atol: float = 0.0) -> None:
    actual, expected = as_dict(actual), as_dict(expected)
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, atol=atol, rtol=0, err_msg=name)


def by_formula(head: str, model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The head's outputs from its backbone's, in numpy."""

    def dense(x, layer):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    def backbone(inputs):
        return {k: v.numpy() for k, v in model.backbone(inputs, training=False).items()}

    if head == "classifier":
        return {"output": dense(backbone(inputs)["pooled_output"], model.head)}
    if head == "multiple_choice":
        columns = [
            dense(backbone({k: v[:, i] for k, v in inputs.items()})["pooled_output"], model.head)
            for i in range(CHOICES)
        ]
        return {"output": np.concatenate(columns, axis=1)}
    positions = inputs.get("masked_positions")
    states = backbone({k: v for k, v in inputs.items() if k != "masked_positions"})
    sequence = states["sequence_output"]
    if head == "token_classifier":
        return {"output": dense(sequence, model.head)}
    if head == "span_labeler":
        logits = dense(sequence, model.head)
        return {"start_logits": logits[:, :, 0], "end_logits": logits[:, :, 1]}
    if head == "embedder, first":
        return {"output": unit(sequence[:, 0])}
    if head == "embedder":
        rows = zip(sequence, inputs["input_mask"], strict=True)
        return {"output": unit(np.stack([row[mask == 1].mean(0) for row, mask in rows]))}
    x = dense(sequence, model.head.transform)  # its activation is the exact gelu
    x = keras.activations.gelu(x, approximate=False).numpy()
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * model.head.norm.gamma.numpy() + model.head.norm.beta.numpy()
    table = model.backbone.embeddings.word_embeddings.embeddings.numpy()
    logits = x @ table.T + model.head.bias.numpy()
    if head == "masked_lm":
        return {"output": logits}
    return {
        "masked_lm_logits": np.take_along_axis(logits, positions[:, :, None], axis=1),
        "sentence_order_logits": dense(states["pooled_output"], model.order_head),
    }


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@every_mixer
@every_head
def test_outputs_are_the_formula(head, mixer):
    model, inputs = build(head, token_mixer=mixer), head_inputs(head)
    outputs = model(inputs, training=False)
    assert {x.dtype for x in as_dict(outputs).values()} == {tf.float32}
    # The vocabulary's logits have larger terms: 32 products of normally distributed values.
    assert_same(outputs, by_formula(head, model, inputs), atol=3 * ROUNDING)


@every_mixer
@every_head
def test_symbolic_shapes_are_the_real_ones(head, mixer):
    model, inputs = build(head, token_mixer=mixer), head_inputs(head)
    symbolic = as_dict(model.output)
    for name, values in as_dict(model(inputs)).items():
        assert len(symbolic[name].shape) == len(values.shape)
        for promised, size in zip(symbolic[name].shape, values.shape, strict=True):
            assert promised in (None, size)


@every_mixer
@every_head
def test_saves_and_loads(head, mixer, tmp_path):
    model, inputs = build(head, token_mixer=mixer), head_inputs(head)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert_same(loaded(inputs), model(inputs))
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = build(head, token_mixer=mixer)
    fresh.set_weights([np.zeros(w.shape, w.dtype) for w in fresh.weights])
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert_same(fresh(inputs), model(inputs))


@every_mixer
@every_head
def test_padding_changes_nothing(head, mixer):
    """Other ids behind the mask, or more padding, leave the outputs of the real tokens alone."""
    model, inputs = build(head, token_mixer=mixer), head_inputs(head)
    mask = inputs["input_mask"]
    if "masked_positions" in inputs:
        lengths = mask.sum(-1, keepdims=True)
        inputs["masked_positions"] = inputs["masked_positions"] % lengths
    repadded = dict(inputs)
    repadded["input_word_ids"] = np.where(mask == 1, inputs["input_word_ids"], 7).astype(np.int32)
    longer = {
        k: v if k == "masked_positions" else np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, 3)])
        for k, v in repadded.items()
    }
    expected = as_dict(model(inputs))
    for changed in (repadded, longer):
        for name, values in as_dict(model(changed)).items():
            values, reference = values.numpy(), expected[name].numpy()
            if head in ("token_classifier", "span_labeler", "masked_lm"):
                values, reference = values[:, :LENGTH][mask == 1], reference[mask == 1]
            np.testing.assert_allclose(values, reference, atol=3 * ROUNDING)


@every_mixer
@every_head
def test_all_padding_has_no_nan(head, mixer):
    model, inputs = build(head, token_mixer=mixer), head_inputs(head)
    inputs["input_mask"][0] = 0
    with tf.GradientTape() as tape:
        outputs = as_dict(model(inputs))
        loss = tf.add_n([tf.reduce_sum(tf.sin(values)) for values in outputs.values()])
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    used = [g for g in gradients if g is not None]
    assert np.isfinite(loss) and len(used) >= len(gradients) - 2  # a pooler may be unused
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in used)


@every_mixer
@every_head
def test_fits(head, mixer):
    """The loss of a learnable target falls far below that of guessing."""
    keras.utils.set_random_seed(0)
    model_class, arguments = CLASSES[head]
    model = model_class(
        tiny_config(num_hidden_layers=1, initializer_range=0.1, token_mixer=mixer), **arguments
    )
    inputs = head_inputs(head)
    rng = np.random.default_rng(0)
    targets = {
        name: rng.integers(0, values.shape[-1], values.shape[:-1])
        for name, values in as_dict(model(inputs)).items()
    }
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if "pretrainer" in head:  # the token to predict depends on the position only
        targets["masked_lm_logits"] = inputs["masked_positions"] + 5
    if "embedder" in head:
        vectors = rng.normal(size=model(inputs).shape)
        targets = {"output": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)}
        loss = keras.losses.CosineSimilarity()
    single = list(targets) == ["output"]
    model.compile(keras.optimizers.Adam(1e-2), loss if single else dict.fromkeys(targets, loss))
    targets = targets["output"] if single else targets
    losses = model.fit(inputs, targets, batch_size=BATCH, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < (-0.9 if "embedder" in head else losses[0] / 5)


@every_mixer
@every_head
def test_mixed_precision_gives_close_float32_outputs(head, mixer):
    model, inputs = build(head, token_mixer=mixer), head_inputs(head)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build(head, token_mixer=mixer)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(model.get_weights())
    assert {weight.dtype for weight in mixed.trainable_weights} == {"float32"}
    expected = as_dict(model(inputs))
    for name, values in as_dict(mixed(inputs)).items():
        assert values.dtype == "float32"
        # Some 40 roundings of 2^-8 of values about 1; the vocabulary's logits are about 6.
        spread = max(1.0, float(np.std(expected[name])))
        np.testing.assert_allclose(values, expected[name], atol=40 * 2**-8 * spread)
        assert np.abs(values - expected[name]).max() > 0


@every_mixer
@pytest.mark.parametrize("head", tiered(list(CLASSES), ["classifier", "span_labeler"]))
def test_xla_gives_the_same_outputs(head, mixer):
    model = build(head, token_mixer=mixer)
    inputs = {name: tf.constant(values) for name, values in head_inputs(head).items()}
    compiled = tf.function(lambda x: model(x, training=False), jit_compile=True)
    assert_same(compiled(inputs), model(inputs), atol=5 * ROUNDING)


def test_pretrainer_has_the_masked_lms_weights():
    model, whole = build("pretrainer"), build("masked_lm")
    whole.backbone.set_weights(model.backbone.get_weights())
    whole.head.set_weights(model.head.get_weights())
    inputs = head_inputs("pretrainer")
    positions = inputs.pop("masked_positions")
    logits = np.take_along_axis(whole(inputs).numpy(), positions[:, :, None], axis=1)
    actual = model({**inputs, "masked_positions": positions})["masked_lm_logits"]
    np.testing.assert_allclose(actual, logits, atol=ROUNDING)


@pytest.mark.parametrize("head", ["masked_lm", "pretrainer"])
def test_tied_embeddings_are_one_weight(head):
    model = build(head)
    table = model.backbone.embeddings.word_embeddings.embeddings
    vocabulary_sized = [w for w in model.weights if table.shape[0] in w.shape]
    assert len(vocabulary_sized) == 2  # the table and the bias
    # A change of the table changes what is looked up and what is predicted.
    inputs = head_inputs(head)
    before = as_dict(model(inputs))
    table.assign(table * 2)
    after = as_dict(model(inputs))
    name = next(iter(before))
    assert np.abs(after[name] - before[name]).max() > 1


def test_embeddings_have_length_one():
    for head in ("embedder", "embedder, first"):
        lengths = np.linalg.norm(build(head)(head_inputs(head)), axis=-1)
        np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="num_labels=0"):
        heads.SqueezeBertTokenClassifier(tiny_config(), num_labels=0)
    with pytest.raises(InputError, match="pooling='max': expected one of mean, first"):
        heads.SqueezeBertEmbedder(tiny_config(), pooling="max")
