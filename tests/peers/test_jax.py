"""The model under Keras' JAX backend, without TensorFlow: the same outputs, the same training step."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from fixtures.commands import ROOT
from fixtures.models import random_inputs, randomize, tiny_config

from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.task_specs import KINDS
from sqb_tf.model import heads

JAX = Path(os.environ.get("SQB_JAX_PYTHON", ROOT / ".venv-jax/bin/python"))
SCRIPT = ROOT / "tests" / "peers" / "jax_backend" / "train_step.py"
LABELS = {"classification": 3, "token_classification": 4}
BATCH, CHOICES, LENGTH = 6, 2, 9
# Heads on the mean of the tokens, and on the tokens.
SEPARABLE = {"separable classification": "classification", "separable encoder": "encoder"}
CONVOLUTIONS = tiny_config(token_mixer="separable_conv")
every_case = pytest.mark.parametrize("name", [*KINDS, *SEPARABLE])

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not JAX.exists(), reason=f"{JAX} is missing: `make test` makes JAX's environment"
    ),
]


def head_inputs(kind: str) -> dict[str, np.ndarray]:
    inputs = random_inputs(tiny_config(), BATCH, LENGTH)
    if kind == "multiple_choice":
        return {k: x.reshape(BATCH // CHOICES, CHOICES, LENGTH) for k, x in inputs.items()}
    if kind == "pretraining":
        inputs["masked_positions"] = np.tile(np.arange(4, dtype=np.int32), (BATCH, 1))
    return inputs


def as_dict(outputs) -> dict[str, np.ndarray]:
    return outputs if isinstance(outputs, dict) else {"output": outputs}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Path:
    """A folder with what JAX made of every head, and of a classifier with dropout."""
    folder = tmp_path_factory.mktemp("jax")
    rng = np.random.default_rng(0)
    cases = {kind: (kind, tiny_config()) for kind in KINDS}
    cases |= {name: (kind, CONVOLUTIONS) for name, kind in SEPARABLE.items()}
    cases["dropout"] = ("classification", tiny_config(hidden_dropout_prob=0.5))
    for name, (kind, config) in cases.items():
        model = heads.build(kind, config, LABELS.get(kind, 1))
        randomize(model)
        model.save_weights(folder / f"{name}.weights.h5")
        inputs = head_inputs(kind)
        arrays = {f"inputs/{key}": values for key, values in inputs.items()}
        for key, values in as_dict(model(inputs)).items():
            arrays[f"targets/{key}"] = rng.normal(size=values.shape).astype(np.float32)
        np.savez(folder / f"{name}.npz", **arrays)
        described = {
            "kind": kind,
            "labels": LABELS.get(kind, 1),
            "config": dataclasses.asdict(config),
        }
        (folder / f"{name}.json").write_text(json.dumps(described))
    done = subprocess.run([JAX, SCRIPT, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def in_tensorflow(folder: Path, name: str):
    """The same model before its step, its inputs and its targets."""
    made = json.loads((folder / f"{name}.json").read_text())
    config = SqueezeBertConfig.from_dict(made["config"])
    model = heads.build(made["kind"], config, made["labels"])
    model.load_weights(folder / f"{name}.weights.h5")
    arrays = dict(np.load(folder / f"{name}.npz"))
    inputs = {key.partition("/")[2]: x for key, x in arrays.items() if key.startswith("inputs/")}
    targets = {key.partition("/")[2]: x for key, x in arrays.items() if key.startswith("targets/")}
    return model, inputs, targets["output"] if list(targets) == ["output"] else targets


@every_case
def test_outputs_and_a_training_step_are_tensorflows(name, found):
    results = dict(np.load(found / f"{name}.found.npz"))
    model, inputs, targets = in_tensorflow(found, name)
    for key, values in as_dict(model(inputs)).items():
        scale = max(1, np.abs(values).max())  # 1, but about 20 of a vocabulary's logits
        np.testing.assert_allclose(results[f"outputs/{key}"], values, atol=1e-5 * scale)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    loss = model.train_on_batch(inputs, targets)
    # Of several outputs the total comes first; theirs are ordered otherwise.
    np.testing.assert_allclose(np.ravel(results["loss"])[0], np.ravel(loss)[0], rtol=1e-5)
    weights = {key.partition("/")[2] for key in results if key.startswith("weights/")}
    assert weights == {weight.path for weight in model.trainable_weights}
    start = in_tensorflow(found, name)[0].trainable_weights
    moved = 0.0
    for weight, before in zip(model.trainable_weights, start, strict=True):
        step = np.abs(weight.numpy() - before.numpy()).max()
        moved = max(moved, step)
        np.testing.assert_allclose(
            results[f"weights/{weight.path}"], weight, atol=1e-5 * max(1, step), err_msg=weight.path
        )
    assert moved > 1e-3


@every_case
def test_weights_come_back_to_the_bit(name, found):
    model, *_ = in_tensorflow(found, name)
    model.load_weights(found / f"{name}.found.weights.h5")
    results = np.load(found / f"{name}.found.npz")
    for weight in model.trainable_weights:
        np.testing.assert_array_equal(weight, results[f"weights/{weight.path}"])


def test_dropout_works_in_jax(found):
    """Its loss is another one than without, and finite."""
    results = np.load(found / "dropout.found.npz")
    model, inputs, targets = in_tensorflow(found, "dropout")
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    without = model.train_on_batch(inputs, targets)
    assert np.isfinite(results["loss"]) and abs(results["loss"] - without) > 1e-3
