"""SqueezeBertClassifier: logits, learning, precision, saving."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from fixtures.models import random_inputs, randomize, tiny_config

from sqb_tf.errors import InputError
from sqb_tf.model.backbone import SqueezeBertBackbone
from sqb_tf.model.heads import SqueezeBertClassifier


@pytest.fixture(scope="module")
def classifier(tiny_config):
    model = SqueezeBertClassifier(tiny_config, num_labels=3)
    randomize(model)
    return model


def separable(count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs whose label is whether token 20 or token 21 follows [CLS]."""
    inputs = random_inputs(tiny_config(), count, 8)
    inputs["input_mask"][:] = 1
    labels = np.arange(count) % 2
    inputs["input_word_ids"][:, 1] = 20 + labels
    return inputs, labels


@pytest.mark.parametrize("num_labels", [1, 2, 5])
def test_logits_are_a_dense_layer_on_the_pooled_token(tiny_config, num_labels):
    model = SqueezeBertClassifier(tiny_config, num_labels)
    randomize(model)
    inputs = random_inputs(tiny_config, 3, 9)
    logits = model(inputs, training=False)
    assert logits.shape == (3, num_labels)
    pooled = model.backbone(inputs)["pooled_output"].numpy()
    expected = pooled @ model.head.kernel.numpy() + model.head.bias.numpy()
    np.testing.assert_allclose(
        logits, expected, atol=1e-5
    )  # a sum of 32 products of values up to 1


def test_classifier_needs_a_label(tiny_config):
    with pytest.raises(InputError, match="num_labels=0"):
        SqueezeBertClassifier(tiny_config, num_labels=0)


def test_config_round_trip_builds_the_same_model(classifier):
    copy = SqueezeBertClassifier.from_config(classifier.get_config())
    copy.set_weights(classifier.get_weights())
    inputs = random_inputs(classifier.config, 2, 9)
    np.testing.assert_array_equal(copy(inputs), classifier(inputs))


def test_saved_models_load_in_another_process_without_custom_objects(classifier, tmp_path):
    inputs = random_inputs(classifier.config, 2, 9)
    classifier.save(tmp_path / "classifier.keras")
    classifier.backbone.save(tmp_path / "backbone.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = """
import keras, numpy
from sqb_tf import SqueezeBertBackbone, SqueezeBertClassifier
inputs = dict(numpy.load("inputs.npz"))
classifier = keras.saving.load_model("classifier.keras")
backbone = keras.saving.load_model("backbone.keras")
assert type(classifier) is SqueezeBertClassifier
assert type(backbone) is SqueezeBertBackbone
numpy.savez(
    "outputs.npz",
    logits=classifier(inputs, training=False),
    pooled=backbone(inputs, training=False)["pooled_output"],
)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    outputs = np.load(tmp_path / "outputs.npz")
    # Outputs are about 1; another process may split sums among its threads differently.
    np.testing.assert_allclose(outputs["logits"], classifier(inputs), atol=1e-5)
    pooled = classifier.backbone(inputs)["pooled_output"]
    np.testing.assert_allclose(outputs["pooled"], pooled, atol=1e-5)


def test_fit_learns_a_separable_set():
    keras.utils.set_random_seed(0)
    model = SqueezeBertClassifier(tiny_config(num_hidden_layers=1), num_labels=2)
    inputs, labels = separable(64)
    model.compile(
        keras.optimizers.Adam(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = model.fit(inputs, labels, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert losses[0] > 0.3  # from ln 2 on
    assert losses[-1] < 0.1
    answers = model.predict(inputs, verbose=0).argmax(-1)
    np.testing.assert_array_equal(answers, labels)


def test_fit_learns_a_regression():
    keras.utils.set_random_seed(0)
    model = SqueezeBertClassifier(tiny_config(num_hidden_layers=1), num_labels=1)
    inputs, labels = separable(64)
    targets = 1.0 + 2.0 * labels
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.MeanSquaredError())
    losses = model.fit(inputs, targets, batch_size=16, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.1 < 1.0 < losses[0]  # the variance of the targets is 1


@pytest.mark.filterwarnings("error::UserWarning")  # as Keras refuses XLA
def test_xla_step_equals_the_plain_step():
    """One training step with and without XLA gives the same loss and the same change of weights."""
    inputs, labels = separable(16)
    trained = []
    for jit_compile in (False, True):
        model = SqueezeBertClassifier(tiny_config(num_hidden_layers=1), num_labels=2)
        randomize(model)
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile,
        )
        assert model.jit_compile is jit_compile
        before = model.get_weights()
        loss = model.train_on_batch(inputs, labels)
        steps = [b - a for a, b in zip(before, model.get_weights(), strict=True)]
        trained.append((loss, steps))
    (loss, steps), (xla_loss, xla_steps) = trained
    assert max(np.abs(step).max() for step in steps) > 1e-2
    np.testing.assert_allclose(xla_loss, loss, rtol=1e-5)
    for xla_step, step in zip(xla_steps, steps, strict=True):
        np.testing.assert_allclose(xla_step, step, atol=1e-5)


@pytest.mark.parametrize(
    # As in test_backbone, times 2 for a head that sums 32 pooled values of random sign.
    ("policy", "tolerance"),
    [("mixed_float16", 40 * 2**-11), ("mixed_bfloat16", 40 * 2**-8)],
)
def test_mixed_precision_gives_float32_logits_and_trains(classifier, policy, tolerance):
    inputs = random_inputs(classifier.config, 4, 9)
    keras.config.set_dtype_policy(policy)
    try:
        model = SqueezeBertClassifier(classifier.config, num_labels=3)
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(classifier.get_weights())
    logits = model(inputs, training=False)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, classifier(inputs), atol=tolerance)

    model.compile(
        keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    labels = np.array([0, 1, 2, 0])
    losses = [float(model.train_on_batch(inputs, labels)) for _ in range(4)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_backbone_weights_are_the_classifiers(classifier):
    assert isinstance(classifier.backbone, SqueezeBertBackbone)
    ours = {id(weight) for weight in classifier.trainable_weights}
    theirs = {id(weight) for weight in classifier.backbone.trainable_weights}
    head = {id(weight) for weight in classifier.head.weights}
    assert ours == theirs | head
