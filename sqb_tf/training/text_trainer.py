"""The training loop of runs on shards of text: train, evaluate on held-out text, keep a curve, resume."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.checkpoint.sharing import without_private
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.json_schema import read_json_file
from sqb_tf.progress import log
from sqb_tf.training.callbacks import run_callbacks
from sqb_tf.training.options import TextRunOptions
from sqb_tf.training.pretraining.batches import Batches, IndexedBatches, dataset
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.run_directory import LOGS
from sqb_tf.training.state import RunState

# Files of the run directory.
STATE, CURVE = "state.npz", "curve.json"


class TextTrainer(abc.ABC):
    """Trains a compiled model on batches of shards and evaluates it on their held-out instances.

    Attributes:
        callbacks: run after the loop's own.
        curve: a point for each evaluation: the step, and what `evaluate` returned.
        state: the run's state. Its steps are micro batches.
    """

    def __init__(
        self,
        shards: Shards,
        model: keras.Model,
        batches: Batches,
        options: TextRunOptions,
        directory: Path,
        constants: Sequence[keras.Variable] = (),
    ) -> None:
        """`constants` are variables that training does not change."""
        self.shards, self.model, self.batches = shards, model, batches
        self.options, self.directory = options, directory
        self.total_steps = options.steps * options.accumulation  # in micro batches
        self.state = RunState(directory / STATE, model, constants)
        self.callbacks: list[keras.callbacks.Callback] = []
        self.curve: list[dict[str, Any]] = []

    @abc.abstractmethod
    def evaluate(self) -> dict[str, float]:
        """What the model reaches on the held-out instances.

        Raises:
            InputError: it is not finite.
        """

    @abc.abstractmethod
    def describe(self, point: dict[str, float]) -> str:
        """What `evaluate` returned, in a line."""

    def train(self, save_every: int | None) -> None:
        """Trains from the last saved state, if any, to the end of the run.

        Args:
            save_every: steps between two saved states; None: once a minute.
        """
        options, micro_steps_done = self.options, self.state.restore()
        if micro_steps_done:
            self.curve = self._read_curve()
            log(f"resuming at step {micro_steps_done // options.accumulation} of {options.steps}")
        self._evaluate_if_due()  # if the run was killed between a step and its evaluation
        if micro_steps_done == self.total_steps:
            return
        every = None if save_every is None else save_every * options.accumulation
        callbacks = run_callbacks(self.state, self.total_steps, every, self._evaluate_if_due)
        if keras.backend.backend() == "tensorflow":
            batches = dataset(self.batches, micro_steps_done, self.total_steps)
        else:
            batches = IndexedBatches(self.batches, micro_steps_done, self.total_steps)
        callbacks += self.callbacks
        self.model.fit(batches, shuffle=False, callbacks=callbacks, verbose=0)

    def write_bundle(
        self,
        output: Path,
        model: Any,
        vocabulary: Sequence[str],
        task: bundle.TaskInfo,
        metrics: Mapping[str, Any],
        samples: bool,
    ) -> None:
        """Writes what the run made of the text: `model`, with or `without_private` parts."""
        logs = self.directory / LOGS
        texts = {
            split: [Example(text, None, None) for text in self.shards.texts(split)]
            for split in ("train", "dev")
        }
        contents = bundle.BundleContents(
            model,
            vocabulary,
            [],
            task,
            calibration=texts["train"],
            verification=texts["dev"],
            metrics=metrics,
            logs=logs if logs.is_dir() else None,
        )
        bundle.write(output, contents if samples else without_private(contents))

    def _evaluate_if_due(self) -> None:
        """Evaluates every `evaluate_every` steps and at the end."""
        state = self.state
        step, micro_step = divmod(state.step, self.options.accumulation)
        due = state.step == self.total_steps or (step and step % self.options.evaluate_every == 0)
        if micro_step or not due or state.step == state.evaluated_step:
            return
        state.sync()
        point = {"step": step, **self.evaluate()}
        self.curve = [*self.curve, point]
        log(f"step {step}/{self.options.steps}: {self.describe(point)}")
        curve = self.directory / CURVE
        with staged_file(curve) as staged:
            staged.write_text(json.dumps(self.curve), encoding="utf-8")
        state.evaluated_step = state.step
        state.save()
        self.model.reset_metrics()

    def _read_curve(self) -> list[dict[str, Any]]:
        """The points up to the saved state: a kill between the two writes leaves one more in the file."""
        curve = self.directory / CURVE
        evaluated_step = self.state.evaluated_step // self.options.accumulation
        if not evaluated_step:
            return []
        try:
            points = read_json_file(curve, list[dict[str, Any]])
            return [point for point in points if point["step"] <= evaluated_step]
        except (InputError, KeyError, TypeError) as error:
            raise InputError(
                f"{curve}: cannot be read: {error}: start again without --resume"
            ) from None
