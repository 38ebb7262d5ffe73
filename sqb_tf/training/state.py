"""The exact state of a run on disk, from which it resumes after a kill."""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from sqb_tf.atomic_write import check_room, staged_file
from sqb_tf.errors import InputError


class RunState:
    """Weights, dropout seeds, optimizer, position and best metric of a run, on every Keras backend.

    Attributes:
        step: batches trained on, over all epochs.
        evaluated_step: the last step after which dev was evaluated.
        best_step: the step after which the dev metric was best.
        best: that metric.

    A save is atomic: it is written under another name, then renamed over the previous one. It leaves out
    `constants`, variables that training does not change.
    """

    def __init__(
        self, path: Path, model: keras.Model, constants: Sequence[keras.Variable] = ()
    ) -> None:
        model.optimizer.build(model.trainable_variables)
        self.step, self.evaluated_step, self.best_step, self.best = 0, 0, 0, -math.inf
        self._path, self._model, self._started_at = path, model, time.monotonic()
        ids = {id(variable) for variable in constants}
        variables = [*model.variables, *model.optimizer.variables]
        self._variables = [variable for variable in variables if id(variable) not in ids]

    def restore(self) -> int:
        """Loads the last saved state, if any; returns the number of steps done.

        Raises:
            InputError: the saved state is damaged or another model's.
        """
        if not self._path.is_file():
            return 0
        try:
            with np.load(self._path) as saved:
                arrays = [saved[str(i)] for i in range(len(self._variables))]
                step, evaluated_step, best_step, best, seconds = saved["run"].tolist()
            for variable, array in zip(self._variables, arrays, strict=True):
                variable.assign(array)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self._path}: the saved state is damaged ({type(error).__name__}): start again "
                "without --resume"
            ) from None
        self.step, self.evaluated_step, self.best_step = map(int, (step, evaluated_step, best_step))
        self.best, self._started_at = best, time.monotonic() - seconds
        return self.step

    def save(self) -> None:
        """Saves the current state.

        Raises:
            InputError: a weight is not finite (nothing is written), or the disk is full.
        """
        self.sync()
        arrays = {str(i): np.asarray(v) for i, v in enumerate(self._variables)}
        if not all(np.isfinite(w).all() for w in self._model.trainable_weights):
            raise self.diverged()
        run = [self.step, self.evaluated_step, self.best_step, self.best, self.seconds]
        with staged_file(self._path) as staged:
            check_room(staged.parent, sum(a.nbytes + 512 for a in arrays.values()))
            with staged.open("wb") as file:
                np.savez(file, run=run, **arrays)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before a resumed state was saved."""
        return time.monotonic() - self._started_at

    def sync(self) -> None:
        """Updates the model's variables within `fit`: JAX trains copies and writes them back at the end."""
        if keras.backend.backend() == "jax" and getattr(self._model, "_jax_state", None):
            self._model.jax_state_sync()

    def diverged(self) -> InputError:
        """The error for a loss, weight or output that is not finite at this step."""
        return InputError(
            f"the training diverged: at step {self.step} a loss, a weight or an output is not finite: "
            "start again with a lower --learning-rate (the last state and the best weights before it stay "
            f"in {self._path.parent})"
        )
