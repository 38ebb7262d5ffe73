"""What happens beside the training steps: progress, saved states, an end at the first NaN."""

from __future__ import annotations

import math
import time
from typing import Any

import keras

from sqb_tf.progress import Progress
from sqb_tf.training.state import RunState

# Seconds between two saved states: what a kill may cost.
SAVE_SECONDS = 60.0


class StopAtNaN(keras.callbacks.Callback):
    """Ends a run at the first loss that is not finite, before anything of it is saved."""

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self._state = state

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not math.isfinite(logs["loss"]):
            self._state.step += 1
            raise self._state.diverged()


class SaveState(keras.callbacks.Callback):
    """Counts steps and saves the run's state every `every` steps, or every `SAVE_SECONDS`."""

    def __init__(self, state: RunState, every: int | None = None) -> None:
        super().__init__()
        self._state, self._every, self._saved = state, every, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._state.step += 1
        if self._every:
            due = self._state.step % self._every == 0
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
        self._progress.update(self._state.step, f"loss {logs['loss']:.4f}")
