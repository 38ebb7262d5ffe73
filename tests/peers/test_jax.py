"""The model on Keras' JAX backend, without TensorFlow: the same outputs, the same training step."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from fixtures.commands import ROOT
from fixtures.models import as_dict, random_inputs, randomize, tiny_config
from peers.jax_backend.case import load_case

from sqb_tf.heads import registry
from sqb_tf.model import heads

JAX = Path(os.environ.get("SQB_JAX_PYTHON", ROOT / ".venv-jax/bin/python"))
SCRIPT = ROOT / "tests" / "peers" / "jax_backend" / "train_step.py"
LABELS = {"classification": 3, "token_classification": 4}
BATCH, CHOICES, LENGTH = 6, 2, 9
# Heads that read the mean of the tokens, and the tokens.
SEPARABLE = {"separable classification": "classification", "separable encoder": "encoder"}
CONVOLUTIONS = tiny_config(token_mixer="separable_conv")
every_case = pytest.mark.parametrize("name", [*registry.NAMES, *SEPARABLE])

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not JAX.exists(), reason=f"{JAX} is missing: `make test` makes JAX's environment"
    ),
]


def head_inputs(head: str) -> dict[str, np.ndarray]:
    inputs = random_inputs(tiny_config(), BATCH, LENGTH)
    if head == "multiple_choice":
        return {k: x.reshape(BATCH // CHOICES, CHOICES, LENGTH) for k, x in inputs.items()}
    if head == "pretraining":
        inputs["masked_positions"] = np.tile(np.arange(4, dtype=np.int32), (BATCH, 1))
    return inputs


@pytest.fixture(scope="module")
def jax_results(tmp_path_factory) -> Path:
    """A folder with JAX's results for every head, and for a classifier with dropout."""
    folder = tmp_path_factory.mktemp("jax")
    rng = np.random.default_rng(0)
    cases = {head: (head, tiny_config()) for head in registry.NAMES}
    cases |= {name: (head, CONVOLUTIONS) for name, head in SEPARABLE.items()}
    cases["dropout"] = ("classification", tiny_config(hidden_dropout_prob=0.5))
    for name, (head, config) in cases.items():
        model = heads.build(head, config, LABELS.get(head, 1))
        randomize(model)
        model.save_weights(folder / f"{name}.weights.h5")
        inputs = head_inputs(head)
        arrays = {f"inputs/{key}": values for key, values in inputs.items()}
        for key, values in as_dict(model(inputs)).items():
            arrays[f"targets/{key}"] = rng.normal(size=values.shape).astype(np.float32)
        np.savez(folder / f"{name}.npz", **arrays)
        case = {
            "head": head,
            "labels": LABELS.get(head, 1),
            "config": dataclasses.asdict(config),
        }
        (folder / f"{name}.json").write_text(json.dumps(case))
    process = subprocess.run([JAX, SCRIPT, folder], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return folder


@every_case
def test_outputs_and_a_training_step_are_tensorflows(name, jax_results):
    results = dict(np.load(jax_results / f"{name}.result.npz"))
    model, inputs, targets = load_case(jax_results, name)
    for key, values in as_dict(model(inputs)).items():
        scale = max(1, np.abs(values).max())  # 1, but about 20 for the logits of a vocabulary
        np.testing.assert_allclose(results[f"outputs/{key}"], values, atol=1e-5 * scale)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    loss = model.train_on_batch(inputs, targets)
    # The total loss comes first; the order of the outputs' losses differs between the backends.
    np.testing.assert_allclose(np.ravel(results["loss"])[0], np.ravel(loss)[0], rtol=1e-5)
    weights = {key.partition("/")[2] for key in results if key.startswith("weights/")}
    assert weights == {weight.path for weight in model.trainable_weights}
    start = load_case(jax_results, name)[0].trainable_weights
    largest_step = 0.0
    for weight, before in zip(model.trainable_weights, start, strict=True):
        step = np.abs(weight.numpy() - before.numpy()).max()
        largest_step = max(largest_step, step)
        np.testing.assert_allclose(
            results[f"weights/{weight.path}"], weight, atol=1e-5 * max(1, step), err_msg=weight.path
        )
    assert largest_step > 1e-3


@every_case
def test_weights_of_jax_are_loaded_to_the_bit(name, jax_results):
    model, *_ = load_case(jax_results, name)
    model.load_weights(jax_results / f"{name}.result.weights.h5")
    results = np.load(jax_results / f"{name}.result.npz")
    for weight in model.trainable_weights:
        np.testing.assert_array_equal(weight, results[f"weights/{weight.path}"])


def test_dropout_works_in_jax(jax_results):
    """The loss is finite and differs from the loss without dropout."""
    results = np.load(jax_results / "dropout.result.npz")
    model, inputs, targets = load_case(jax_results, "dropout")
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    without = model.train_on_batch(inputs, targets)
    assert np.isfinite(results["loss"]) and abs(results["loss"] - without) > 1e-3
