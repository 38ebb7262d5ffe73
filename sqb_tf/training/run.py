"""The loop of a fine-tuning: train, evaluate on dev, keep the best."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sqb_tf import heads
from sqb_tf.checkpoint import bundle
from sqb_tf.preprocessing import Preprocessor
from sqb_tf.progress import say
from sqb_tf.tasks.metrics import scores
from sqb_tf.tasks.tagging import tags_of
from sqb_tf.tasks.task import Split, Task, targets
from sqb_tf.tokenizer import WordPieceTokenizer
from sqb_tf.training import distillation
from sqb_tf.training.callbacks import SaveState, ShowProgress, StopAtNaN
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pipeline import (
    Unlabelled,
    example_stream,
    prediction_batches,
    training_batches,
)
from sqb_tf.training.precision import computing_in
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
        options: FinetuneOptions,
        labels: list[str],
        tokenizer: WordPieceTokenizer,
        model: Any,
        num_examples: int,
        work: Path,
        teacher: TeacherOutputs | None = None,
    ) -> None:
        self.teacher = teacher
        self.task, self.options, self.model, self.work = task, options, model, work
        self.paired = task.columns.pair is not None
        self.preprocessor = Preprocessor(tokenizer, options.seq_length)
        self.labels, self.tagged = labels, task.kind == "token_classification"
        regression = task.kind == "regression"
        self.label_ids = None if regression else {label: i for i, label in enumerate(labels)}
        self.steps_per_epoch = math.ceil(num_examples / options.batch_size)
        self.total_steps = self.steps_per_epoch * options.epochs
        schedule = LinearWarmupDecay(
            options.peak_rate, round(self.total_steps * options.warmup), self.total_steps
        )
        self.learner = (
            model if teacher is None else distillation.learner(model, teacher, options.seed)
        )
        if teacher is not None:
            objective = distillation.objective(task.kind, options, teacher)
        elif regression:
            objective = {"loss": keras.losses.MeanSquaredError()}
        else:
            # Of tagged words the mean over those that have a weight; of texts all weigh the same.
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
            objective = {"loss": loss}
        optimizer = adamw(schedule, options.weight_decay)
        self.learner.compile(optimizer, jit_compile=False, **objective)
        self.state = RunState(work / STATE, self.learner)
        self.curves = TensorBoardCurves(self.state, work / "logs")
        self.dev = task.split("dev")
        self.dev_targets = targets(labels, list(self.dev), task.kind)

    def train(self, save_every: int | None) -> dict[str, Any]:
        """Trains what is left of the run; where dev was best, and how many examples it has."""
        state, options = self.state, self.options
        done = state.restore()
        if done:
            say(f"resuming at step {done} of {self.total_steps}")
        callbacks = [
            StopAtNaN(state),
            SaveState(state, save_every),
            ShowProgress(state, self.total_steps),
            self.curves,
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: self._judge_if_due()
            ),
        ]
        split = self.task.split("train")
        taught = self.teacher is not None
        examples = example_stream(split, self.label_ids, self.paired, self.tagged, numbered=taught)
        self._judge_if_due()  # if killed between a step and its judging
        for epoch in range(state.step // self.steps_per_epoch, options.epochs):
            skip = state.step - epoch * self.steps_per_epoch
            batches = training_batches(
                examples,
                self.preprocessor,
                options.batch_size,
                options.seed,
                epoch,
                self.paired,
                skip,
                self.tagged,
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
            "dev_examples": len(self.dev_targets),
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
        value = self.evaluate()
        say(f"{where}: dev {self.task.metric_name} {value:.4f}")
        self.curves.dev({self.task.metric_name: value})
        if value > state.best:
            state.best = value
            state.best_step = step
            bundle.save_weights(self.model, self.work / BEST_WEIGHTS)
        state.judged = step
        state.save()

    def best(self) -> tuple[Any, float]:
        """The model of the best point and its metric on dev, in float32, as its bundle computes."""
        value = self.state.best
        if self.options.precision == "float32":
            bundle.load_weights(self.model, self.work / BEST_WEIGHTS)
        else:
            with computing_in("float32"):
                self.model = heads.build(self.task.kind, self.model.config, len(self.labels))
            bundle.load_weights(self.model, self.work / BEST_WEIGHTS)
            value = self.evaluate()
        return self.model, value

    def evaluate(self) -> float:
        """The model's metric on dev."""
        if self.tagged:
            outputs = predict_tags(self.model, self.preprocessor, self.dev, self.labels)
            finite = outputs is not None
        else:
            outputs = predict(self.model, self.preprocessor, self.dev, self.paired)
            finite = np.isfinite(outputs).all()
        if not finite:
            raise self.state.diverged()
        name = self.task.metric_name
        return scores([name], outputs, self.dev_targets)[name]


def predict(
    model: keras.Model, preprocessor: Preprocessor, split: Split, paired: bool
) -> np.ndarray:
    """The model's outputs for every example, in order, float32 `[n, labels]`."""
    examples = example_stream(Unlabelled(split), None, paired)
    batches = prediction_batches(examples, preprocessor, PREDICTION_BATCH, paired)
    return model.predict(batches, verbose=0)


def predict_tags(
    model: keras.Model, preprocessor: Preprocessor, split: Split, labels: list[str]
) -> list[list[str]] | None:
    """The tags of every example's words, in order; None where an output is not finite."""
    examples, found = iter(split), []
    while texts := [e.text for e in itertools.islice(examples, PREDICTION_BATCH)]:
        scores = model.predict_on_batch(preprocessor(texts))
        if not np.isfinite(scores).all():
            return None
        places = preprocessor.word_places(texts)
        found += [tags_of(labels, *row) for row in zip(scores, places.numpy(), strict=True)]
    return found
