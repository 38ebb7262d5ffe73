"""The exact state of a run on disk, to go on from after a kill."""

from __future__ import annotations

import math
import time
import zipfile
from pathlib import Path

import keras
import numpy as np

from sqb_tf.atomic_write import check_room, staged_file
from sqb_tf.errors import InputError


class RunState:
    """Weights, dropout seeds, optimizer, position and best metric of a run, on every Keras backend.

    `step` counts the batches of all epochs; `judged` is the last one after which dev was evaluated,
    `best_step` the one after which its metric was `best`. A save is whole or not there at all: it is written
    under a new name, which then takes the place of the last one.
    """

    def __init__(self, path: Path, model: keras.Model) -> None:
        model.optimizer.build(model.trainable_variables)
        self.step, self.judged, self.best_step, self.best = 0, 0, 0, -math.inf
        self._path, self._model, self._began = path, model, time.monotonic()
        self._variables = [*model.variables, *model.optimizer.variables]

    def restore(self) -> int:
        """Loads the last saved state, if any; the number of steps done."""
        if not self._path.is_file():
            return 0
        try:
            with np.load(self._path) as saved:
                arrays = [saved[str(i)] for i in range(len(self._variables))]
                step, judged, best_step, best, seconds = saved["run"].tolist()
            for variable, array in zip(self._variables, arrays, strict=True):
                variable.assign(array)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{self._path}: the saved state is damaged ({type(error).__name__}): start anew "
                "without --resume"
            ) from None
        self.step, self.judged, self.best_step = int(step), int(judged), int(best_step)
        self.best, self._began = best, time.monotonic() - seconds
        return self.step

    def save(self) -> None:
        """Saves the state as it is now; `InputError` instead where a weight is not a number."""
        self.sync()
        arrays = {str(i): np.asarray(v) for i, v in enumerate(self._variables)}
        if not all(np.isfinite(w).all() for w in self._model.trainable_weights):
            raise self.diverged()
        run = [self.step, self.judged, self.best_step, self.best, self.seconds]
        with staged_file(self._path) as staged:
            check_room(staged.parent, sum(a.nbytes + 512 for a in arrays.values()))
            with staged.open("wb") as file:
                np.savez(file, run=run, **arrays)

    @property
    def seconds(self) -> float:
        """How long the run has taken, what was done before a resumed state was saved included."""
        return time.monotonic() - self._began

    def sync(self) -> None:
        """Brings the model up to date within `fit`: JAX keeps what it trains apart until its end."""
        if keras.backend.backend() == "jax" and getattr(self._model, "_jax_state", None):
            self._model.jax_state_sync()

    def diverged(self) -> InputError:
        """What is said of a run whose numbers left the finite at this step."""
        return InputError(
            f"the training diverged: at step {self.step} a loss, a weight or an output is not finite: "
            "start anew with a lower --learning-rate (the last state and the best weights before it stay "
            f"in {self._path.parent})"
        )
