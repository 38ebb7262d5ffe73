"""The loop of a fine-tuning: train, evaluate on dev, keep the best."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sqb_tf.checkpoint import bundle
from sqb_tf.data.task import Task
from sqb_tf.heads.head_type import Outputs, Passage, TaskKind
from sqb_tf.model import heads
from sqb_tf.progress import log
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training import distillation
from sqb_tf.training.callbacks import SaveState, ShowProgress, StopAtNaN
from sqb_tf.training.dtype_policy import computing_in
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pipeline import example_stream, prediction_batches, training_batches
from sqb_tf.training.quantization_aware import QuantizationAware
from sqb_tf.training.state import RunState
from sqb_tf.training.teacher import TeacherOutputs
from sqb_tf.training.tensorboard import TensorBoardCurves

PREDICTION_BATCH = 64
# In the folder of a run's state.
STATE, BEST_WEIGHTS = "state.npz", "best.weights.h5"


class Run:
    """The loop over epochs: train, evaluate on dev, keep the best.

    Long epochs are evaluated within too, since the best point need not be at their end.
    """

    def __init__(
        self,
        task: Task,
        kind: TaskKind,
        options: FinetuneOptions,
        tokenizer: WordPieceTokenizer,
        model: Any,
        num_examples: int,
        work: Path,
        teacher: TeacherOutputs | None = None,
    ) -> None:
        self.teacher = teacher
        self.task, self.options, self.model, self.work = task, options, model, work
        self.kind = kind
        self.preprocessor = Preprocessor(tokenizer, options.seq_length)
        self.rows = kind.rows(task.split("train"), self.preprocessor)
        num_rows = kind.count(self.rows, num_examples)
        self.steps_per_epoch = math.ceil(num_rows / options.batch_size)
        self.total_steps = self.steps_per_epoch * options.epochs
        schedule = LinearWarmupDecay(
            options.peak_rate, round(self.total_steps * options.warmup), self.total_steps
        )
        if teacher is None:
            self.learner, objective = model, kind.compiled()
        else:
            self.learner = distillation.learner(model, teacher, options.seed)
            objective = distillation.objective(task.head, options, teacher)
        optimizer = adamw(schedule, options.weight_decay)
        self.learner.compile(optimizer, jit_compile=False, **objective)
        self.state = RunState(work / STATE, self.learner)
        self.curves = TensorBoardCurves(self.state, work / "logs")
        self.rounded = None
        if options.quantize_aware is not None:
            self.rounded = QuantizationAware(model, options.quantize_aware)
        self.dev = task.split("dev")
        self.dev_goals = kind.goals(list(self.dev))

    def train(self, save_every: int | None) -> dict[str, Any]:
        """Trains what is left of the run; where dev was best, and how many examples it has."""
        state, options = self.state, self.options
        done = state.restore()
        if done:
            log(f"resuming at step {done} of {self.total_steps}")
        callbacks = [
            *([self.rounded] if self.rounded else []),
            StopAtNaN(state),
            SaveState(state, save_every),
            ShowProgress(state, self.total_steps),
            self.curves,
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: self._judge_if_due()
            ),
        ]
        taught = self.teacher is not None
        examples = example_stream(self.rows, self.kind, numbered=taught)
        self._judge_if_due()  # if killed between a step and its judging
        for epoch in range(state.step // self.steps_per_epoch, options.epochs):
            skip = state.step - epoch * self.steps_per_epoch
            batches = training_batches(
                examples,
                self.preprocessor,
                self.kind,
                options.batch_size,
                options.seed,
                epoch,
                skip,
                self.teacher.targets if taught else None,
            )
            with warnings.catch_warnings():
                # Heads on every token leave the pooler as it is.
                warnings.filterwarnings("ignore", "Gradients do not exist for variables .'pooler")
                self.learner.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    steps_per_epoch=self.steps_per_epoch - skip,
                    shuffle=False,
                    callbacks=callbacks,
                    verbose=0,
                )
        return {
            "best_epoch": (state.best_step - 1) // self.steps_per_epoch + 1,
            "best_step": state.best_step,
            "dev_examples": len(self.dev_goals),
        }

    def _judge_if_due(self) -> None:
        """Evaluates dev at the end of an epoch and every `evaluate_every` steps; keeps the best weights."""
        state, step = self.state, self.state.step
        epoch, place = divmod(step, self.steps_per_epoch)
        if step == state.judged or place % self.options.evaluate_every:
            return
        where = (
            f"step {step}/{self.total_steps}" if place else f"epoch {epoch}/{self.options.epochs}"
        )
        with self.rounded.applied() if self.rounded else contextlib.nullcontext():
            value = self.evaluate()
            if value > state.best:
                state.best = value
                state.best_step = step
                # As judged: a file's rounding leaves weights as they are that are rounded already.
                bundle.save_weights(self.model, self.work / BEST_WEIGHTS)
        log(f"{where}: dev {self.task.metric_name} {value:.4f}")
        self.curves.dev({self.task.metric_name: value})
        state.judged = step
        state.save()

    def best(self) -> tuple[Any, float]:
        """The model of the best point and its metric on dev, in float32, as its bundle computes."""
        value, rounds = self.state.best, self.rounded is not None
        as_judged = self.options.precision == "float32" and not rounds
        if not as_judged:
            with computing_in("float32"):
                self.model = heads.build(self.task.head, self.model.config, len(self.kind.labels))
        bundle.load_weights(self.model, self.work / BEST_WEIGHTS)
        if not as_judged:
            value = self.evaluate()
        return self.model, value

    def evaluate(self) -> float:
        """The model's metric on dev."""
        rows = ((e.text, e.pair) for e in self.dev)
        found = self.kind.results(rows, self.preprocessor, self._outputs, PREDICTION_BATCH)
        name = self.task.metric_name
        return self.kind.scores([name], [result for _, result in found], self.dev_goals)[name]

    def _outputs(self, passages: Sequence[Passage]) -> Iterator[Outputs]:
        """The named outputs of each passage; an `InputError` where one is not finite."""
        paired = self.kind.paired
        for inputs in prediction_batches(passages, self.preprocessor, paired, PREDICTION_BATCH):
            found = self.model.predict_on_batch(self.kind.keras_inputs(inputs))
            found = found if isinstance(found, dict) else {"logits": found}
            if not all(np.isfinite(values).all() for values in found.values()):
                raise self.state.diverged()
            for row in zip(*found.values(), strict=True):
                yield dict(zip(found, row, strict=True))
