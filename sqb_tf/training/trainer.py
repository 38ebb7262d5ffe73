"""The training loop of fine-tuning: train, evaluate on dev, keep the best weights."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sqb_tf.checkpoint import bundle
from sqb_tf.data.example import Example
from sqb_tf.data.task import TEST
from sqb_tf.model import heads
from sqb_tf.model.keras_backend import KerasBackend
from sqb_tf.progress import log, warn
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.abstention import (
    Abstention,
    fit_others,
    fit_precision,
    read_others,
    wanted_precision,
)
from sqb_tf.training.callbacks import run_callbacks
from sqb_tf.training.distillation import distillation_losses, distillation_model
from sqb_tf.training.dtype_policy import dtype_policy
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pipeline import TrainingBatches, example_stream
from sqb_tf.training.quantization_aware import QuantizationAware
from sqb_tf.training.run_directory import LOGS
from sqb_tf.training.state import RunState
from sqb_tf.training.teacher_outputs import TeacherOutputs
from sqb_tf.training.temperature import Calibration, divide_logits, fit
from sqb_tf.training.tensorboard import TensorBoardCurves
from sqb_tf.training.training_data import TrainingData

# Files of the run directory.
STATE, BEST_WEIGHTS = "state.npz", "best.weights.h5"


@dataclasses.dataclass(frozen=True)
class TrainingSummary:
    """Where dev was best (`step` counts from the start of the run, `epoch` from 1), and dev's size."""

    best_epoch: int
    best_step: int
    dev_examples: int


class FinetuneTrainer:
    """Trains a model over the epochs, evaluates it on dev and keeps the best weights.

    Dev is evaluated within long epochs too, since the best step need not be at the end of one.

    Args:
        data: what to learn.
        options: the run's options.
        model: one of `sqb_tf.model.heads`.
        tokenizer: the model's.
        directory: the run directory.
        peak_rate: the highest learning rate.
        teacher: the outputs of a teacher to learn from, if any.
    """

    def __init__(
        self,
        data: TrainingData,
        options: FinetuneOptions,
        model: Any,
        tokenizer: WordPieceTokenizer,
        directory: Path,
        peak_rate: float,
        teacher: TeacherOutputs | None = None,
    ) -> None:
        self.peak_rate = peak_rate
        self.data, self.options, self.model, self.directory = data, options, model, directory
        self.task, self.head, self.teacher = data.task, data.head, teacher
        self.preprocessor = Preprocessor(tokenizer, options.seq_length)
        encoder = self.preprocessor.encoder
        self.units = self.head.training_units(self.task.split("train"), encoder)
        num_units = self.head.count_units(self.units, data.num_examples)
        self.steps_per_epoch = math.ceil(num_units / options.batch_size)
        self.total_steps = self.steps_per_epoch * options.epochs
        self.trained_model = self._compile()
        self.state = RunState(directory / STATE, self.trained_model)
        self.curves = TensorBoardCurves(self.state, directory / LOGS)
        self.quantization = None
        if options.quantize_aware is not None:
            self.quantization = QuantizationAware(model, options.quantize_aware)
        self.dev = self.task.split("dev")
        self.dev_references = self.head.references(list(self.dev))

    def _compile(self) -> keras.Model:
        """The compiled `training_model` of the head, or with a teacher its `distillation_model`."""
        options, trained_model = self.options, self.head.training_model(self.model)
        if self.teacher is None:
            losses = self.head.compile_arguments()
        else:
            trained_model = distillation_model(self.model, self.teacher, options.seed)
            losses = distillation_losses(self.task.head, options, self.teacher)
        schedule = LinearWarmupDecay(
            self.peak_rate, round(self.total_steps * options.warmup), self.total_steps
        )
        optimizer = adamw(schedule, options.weight_decay)
        trained_model.compile(optimizer, jit_compile=False, **losses)
        return trained_model

    def train(self, save_every: int | None) -> TrainingSummary:
        """Trains from the last saved state, if any, to the end of the run.

        Args:
            save_every: steps between two saved states; None: once a minute.
        """
        state = self.state
        if steps_done := state.restore():
            log(f"resuming at step {steps_done} of {self.total_steps}")
        callbacks = run_callbacks(state, self.total_steps, save_every, self._evaluate_if_due)
        callbacks.insert(-1, self.curves)
        if self.quantization is not None:
            callbacks.insert(0, self.quantization)
        batches = self._batches()
        self._evaluate_if_due()  # if the run was killed between a step and its evaluation
        for epoch in range(state.step // self.steps_per_epoch, self.options.epochs):
            if self._is_patience_over(epoch):
                log(f"stopped after epoch {epoch}: best was epoch {self._best_epoch}")
                break
            skip = state.step - epoch * self.steps_per_epoch
            with warnings.catch_warnings():
                # Heads on every token do not use the pooler.
                warnings.filterwarnings("ignore", "Gradients do not exist for variables .'pooler")
                self.trained_model.fit(
                    batches.epoch(epoch, skip),
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    steps_per_epoch=self.steps_per_epoch - skip,
                    shuffle=False,
                    callbacks=callbacks,
                    verbose=0,
                )
        return TrainingSummary(self._best_epoch, state.best_step, len(self.dev_references))

    @property
    def _best_epoch(self) -> int:
        return (self.state.best_step - 1) // self.steps_per_epoch + 1

    def _is_patience_over(self, epochs_done: int) -> bool:
        """Whether dev did not improve in the last `patience` epochs."""
        patience = self.options.patience
        return patience is not None and epochs_done >= self._best_epoch + patience

    def _batches(self) -> TrainingBatches:
        return TrainingBatches(
            example_stream(self.units, self.head, with_index=self.teacher is not None),
            self.preprocessor,
            self.head,
            self.options.batch_size,
            self.options.seed,
            None if self.teacher is None else self.teacher.targets,
            None if self.options.class_weights is None else self.data.class_weights(),
        )

    def _evaluate_if_due(self) -> None:
        """Evaluates dev at the end of an epoch and every `evaluate_every` steps; keeps the best weights."""
        state, step = self.state, self.state.step
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        if step == state.evaluated_step or step_in_epoch % self.options.evaluate_every:
            return
        position = f"epoch {epoch}/{self.options.epochs}"
        if step_in_epoch:
            position = f"step {step}/{self.total_steps}"
        quantized = self.quantization.applied() if self.quantization else contextlib.nullcontext()
        with quantized:
            scores = self.evaluate_dev()
            value = scores[self.data.metric]
            if value > state.best:
                state.best = value
                state.best_step = step
                # The rounded weights, as evaluated: conversion leaves them as they are.
                bundle.save_weights(self.model, self.directory / BEST_WEIGHTS)
        log(f"{position}: dev {self.data.metric} {value:.4f}")
        self.curves.write_dev(scores)
        state.evaluated_step = step
        state.save()

    def best(self) -> tuple[Any, float]:
        """The model at its best step and its metric on dev, both in float32, as its bundle computes."""
        bundle_computes_the_same = self.options.precision == "float32" and self.quantization is None
        if bundle_computes_the_same:
            bundle.load_weights(self.model, self.directory / BEST_WEIGHTS)
            return self.model, self.state.best
        with dtype_policy("float32"):
            settings = self.head.settings_of(self.model)
            self.model = heads.build(
                self.task.head, self.model.config, len(self.data.labels), settings
            )
        bundle.load_weights(self.model, self.directory / BEST_WEIGHTS)
        return self.model, self.evaluate_dev()[self.data.metric]

    def calibrate(self) -> Calibration | None:
        """Divides the logits so that the scores on dev are as often right as they say.

        None if nothing is divided: it was not asked for, the head has no classes, or dev does not tell.
        """
        if not (self.options.calibrate and self.head.one_class):
            return None
        calibration = fit(self._results(self.dev), self.dev_references)
        if calibration is not None:
            divide_logits(self.model.head, calibration.temperature)
        return calibration

    def fit_head(self) -> dict[str, Any]:
        """Fits on dev what of the head can be; returns these settings."""
        names = self.head.fitted_settings
        if names:
            results = self._results(self.dev)
            self.head = self.head.fitted(results, self.dev_references, self.data.metric)
        return {name: self.head.settings[name] for name in names}

    def fit_abstention(self) -> Abstention | None:
        """The score below which no label is given; None: it was not asked for."""
        asked = self.options.abstain
        if asked is None:
            return None
        results, wanted = self._results(self.dev), wanted_precision(asked)
        if wanted is None:
            texts = read_others(asked, self.task.columns.text)
            others = self._results(Example(text) for text in texts)
            return fit_others(results, self.dev_references, others)
        abstention = fit_precision(results, self.dev_references, wanted)
        if abstention is None:
            warn(
                f"abstain {asked}: not even the surest answers on dev are right so often, so every text gets "
                "a label"
            )
        return abstention

    def evaluate_dev(self) -> dict[str, float]:
        """The metric on dev, and the loss if results tell it; an error for outputs that are not finite."""
        results = self._results(self.dev)
        head = self.head.fitted(results, self.dev_references, self.data.metric)
        inputs = head.metric_inputs(results)
        scores = head.scores([self.data.metric], inputs, self.dev_references)
        loss = self.head.loss(results, self.dev_references)
        return scores if loss is None else {**scores, "loss": loss}

    def evaluate_test(self) -> dict[str, Any] | None:
        """The model's metrics on the split that it has never seen; None if there is none."""
        if self.task.test is None:
            return None
        test = list(self.task.split(TEST))
        names = dict.fromkeys((self.data.metric, *self.task.spec.metrics))
        inputs = self.head.metric_inputs(self._results(test))
        scores = self.head.scores(names, inputs, self.head.references(test))
        return {"examples": len(test), "metrics": scores}

    def _results(self, examples: Iterable[Example]) -> list[Any]:
        backend = KerasBackend(self.model, self.head, self.preprocessor.encoder, call=self._predict)
        return [result for _, result in backend.stream(e.texts for e in examples)]

    def _predict(self, inputs: Any) -> Any:
        """The model's outputs for a batch."""
        outputs = self.model.predict_on_batch(inputs)
        if not all(np.isfinite(values).all() for values in keras.tree.flatten(outputs)):
            raise self.state.diverged()
        return outputs
