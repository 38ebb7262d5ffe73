"""One training step of every head under Keras' JAX backend: train_step.py FOLDER.

Runs in an environment without TensorFlow. For each head FOLDER has `NAME.json` (head, labels, config), the
weights `NAME.weights.h5`, and `NAME.npz` with inputs and a target for each output. The results are written
there: `NAME.result.npz` (outputs, the loss, and each weight after a step of SGD) and
`NAME.result.weights.h5`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import keras
import numpy as np
from case import load_case


def train(folder: Path, name: str) -> None:
    """Trains one head."""
    model, inputs, targets = load_case(folder, name)
    outputs = model(inputs, training=False)
    outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
    results = {f"outputs/{key}": np.asarray(values) for key, values in outputs.items()}
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError(), jit_compile=True)
    results["loss"] = np.asarray(model.train_on_batch(inputs, targets))
    for weight in model.trainable_weights:
        results[f"weights/{weight.path}"] = np.asarray(weight)
    model.save_weights(folder / f"{name}.result.weights.h5")
    np.savez(folder / f"{name}.result.npz", **results)


def main() -> None:
    """Runs the command; see the module's docstring."""
    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("*.json")):
        train(folder, path.stem)
    assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules


if __name__ == "__main__":
    main()
