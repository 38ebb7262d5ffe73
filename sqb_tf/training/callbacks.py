"""Keras callbacks of every run: stopping at a NaN, saving state, progress, evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras

from sqb_tf.progress import Progress
from sqb_tf.training.state import RunState

# Seconds between two saved states: the most training time that a kill can cost.
SAVE_SECONDS = 60.0


def run_callbacks(
    state: RunState,
    total_steps: int,
    save_every: int | None,
    evaluate_if_due: Callable[[], None],
) -> list[keras.callbacks.Callback]:
    """The callbacks that fine-tuning and pretraining share, in the order in which they must run.

    Args:
        state: the run's state; `SaveState` counts its steps.
        total_steps: batches of the whole run, for the progress line.
        save_every: steps between two saved states; None: every `SAVE_SECONDS`.
        evaluate_if_due: called after every step.
    """
    return [
        TerminateOnNonFinite(state),
        SaveState(state, save_every),
        ShowProgress(state, total_steps),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: evaluate_if_due()),
    ]


class TerminateOnNonFinite(keras.callbacks.Callback):
    """Raises the run's `InputError` at the first loss that is not finite, before it is saved."""

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
        self._state, self._every, self._saved_at = state, every, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._state.step += 1
        if self._every:
            due = self._state.step % self._every == 0
        else:
            due = time.monotonic() - self._saved_at > SAVE_SECONDS
        if due:
            self._state.save()
            self._saved_at = time.monotonic()


class ShowProgress(keras.callbacks.Callback):
    """Progress with the time left and the loss, on standard error."""

    def __init__(self, state: RunState, total_steps: int) -> None:
        super().__init__()
        self._state = state
        self._progress = Progress("training step", total_steps)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._progress.update(self._state.step, f"loss {logs['loss']:.4f}")
