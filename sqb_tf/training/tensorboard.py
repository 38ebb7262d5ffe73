"""TensorBoard curves of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sqb_tf.atomic_write import writing
from sqb_tf.training.state import RunState

# Steps between two points of the training curves.
LOG_STEPS = 20


class TensorBoardCurves(keras.callbacks.Callback):
    """Writes loss and learning rate every `LOG_STEPS` steps, and dev metrics through `write_dev`."""

    def __init__(self, state: RunState, directory: Path) -> None:
        super().__init__()
        self._state = state
        self._directory = directory
        with writing(directory, tf.errors.OpError):
            self._writer = tf.summary.create_file_writer(str(directory))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = self._state.step
        if step % LOG_STEPS == 0:
            rate = float(self.model.optimizer.learning_rate)
            self._write({"train/loss": logs["loss"], "train/learning_rate": rate})

    def write_dev(self, metrics: Mapping[str, float]) -> None:
        """Writes the dev split's `metrics` at the current step."""
        self._write({f"dev/{name}": value for name, value in metrics.items()})

    def _write(self, scalars: Mapping[str, float]) -> None:
        with writing(self._directory, tf.errors.OpError):
            with self._writer.as_default(step=self._state.step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
