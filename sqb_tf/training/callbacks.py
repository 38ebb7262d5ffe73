"""What happens beside the training steps: progress, TensorBoard, the state to resume from."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sqb_tf.errors import InputError
from sqb_tf.files import writing
from sqb_tf.progress import Progress

# Seconds between two saved states: what a kill may cost.
SAVE_SECONDS = 60.0
# Steps between two points of the curves.
LOG_STEPS = 20


class RunState:
    """The exact state of a run on disk: weights, dropout seeds, optimizer, position, best metric.

    `step` counts the batches of all epochs; `judged` is the last one after which dev was evaluated,
    `best_step` the one after which it was best. A save is whole or not there at all: TensorFlow writes
    it under a new name and then renames the index.
    """

    def __init__(self, directory: Path, model: keras.Model) -> None:
        model.optimizer.build(model.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int64)
        self.best = tf.Variable(float("-inf"), dtype=tf.float64)
        self.best_step = tf.Variable(0, dtype=tf.int64)
        self.judged = tf.Variable(0, dtype=tf.int64)
        checkpoint = tf.train.Checkpoint(
            model=[v.value for v in model.variables],
            optimizer=[v.value for v in model.optimizer.variables],
            run=[self.step, self.best, self.best_step, self.judged],
        )
        self._directory, self._model = directory, model
        self._manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=2)

    def restore(self) -> int:
        """Loads the last saved state, if any; the number of steps done."""
        try:
            self._manager.restore_or_initialize()
        except (tf.errors.OpError, ValueError, IndexError) as error:
            raise InputError(
                f"{self._directory}: the saved state is damaged ({type(error).__name__}): start anew "
                "without --resume"
            ) from None
        return int(self.step)

    def save(self) -> None:
        """Saves the state as it is now; `InputError` instead where a weight is not a number."""
        if not all(
            bool(tf.reduce_all(tf.math.is_finite(w))) for w in self._model.trainable_weights
        ):
            raise self.diverged()
        with writing(self._directory, tf.errors.OpError):
            self._manager.save(checkpoint_number=int(self.step))

    def diverged(self) -> InputError:
        """What is said of a run whose numbers left the finite at this step."""
        return InputError(
            f"the training diverged: at step {int(self.step)} a loss, a weight or an output is not finite: "
            "start anew with a lower --learning-rate (the last state and the best weights before it stay "
            f"in {self._directory.parent})"
        )


class StopAtNaN(keras.callbacks.Callback):
    """Ends a run at the first loss that is not finite, before anything of it is saved."""

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self._state = state

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not math.isfinite(logs["loss"]):
            self._state.step.assign_add(1)
            raise self._state.diverged()


class SaveState(keras.callbacks.Callback):
    """Counts steps and saves the run's state every `every` steps, or every `SAVE_SECONDS`."""

    def __init__(self, state: RunState, every: int | None = None) -> None:
        super().__init__()
        self._state, self._every, self._saved = state, every, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = int(self._state.step.assign_add(1))
        if self._every:
            due = step % self._every == 0
        else:
            due = time.monotonic() - self._saved > SAVE_SECONDS
        if due:
            self._state.save()
            self._saved = time.monotonic()


class ShowProgress(keras.callbacks.Callback):
    """Progress with time left, on standard error."""

    def __init__(self, state: RunState, total_steps: int) -> None:
        super().__init__()
        self._state = state
        self._progress = Progress("training step", total_steps)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._progress.update(int(self._state.step), f"loss {logs['loss']:.4f}")


class TensorBoardCurves(keras.callbacks.Callback):
    """Loss and learning rate every `LOG_STEPS` steps; dev metrics by `dev`."""

    def __init__(self, state: RunState, directory: Path) -> None:
        super().__init__()
        self._state = state
        self._directory = directory
        with writing(directory, tf.errors.OpError):
            self._writer = tf.summary.create_file_writer(str(directory))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = int(self._state.step)
        if step % LOG_STEPS == 0:
            rate = float(self.model.optimizer.learning_rate)
            self._write({"train/loss": logs["loss"], "train/learning_rate": rate})

    def dev(self, metrics: dict[str, float]) -> None:
        """Writes `metrics` of the dev split at the current step."""
        self._write({f"dev/{name}": value for name, value in metrics.items()})

    def _write(self, scalars: dict[str, float]) -> None:
        with writing(self._directory, tf.errors.OpError):
            with self._writer.as_default(step=int(self._state.step)):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
