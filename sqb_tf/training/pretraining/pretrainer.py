"""The training loop of pretraining: train, evaluate on held-out text, show filled masks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sqb_tf.atomic_write import staged_file
from sqb_tf.errors import InputError
from sqb_tf.progress import log
from sqb_tf.training.callbacks import run_callbacks
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.pretraining.batches import Batches, IndexedBatches, dataset
from sqb_tf.training.pretraining.lamb import Lamb
from sqb_tf.training.pretraining.masking import Masking
from sqb_tf.training.pretraining.options import PretrainOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.state import RunState

# The model's outputs.
LM, ORDER = "masked_lm_logits", "sentence_order_logits"
# Files of the run directory.
STATE, CURVE = "state.npz", "curve.json"
# Held-out inputs whose filled masks are shown, and how many tokens of each.
SHOWN_INPUTS, SHOWN_TOKENS = 2, 24


class Pretrainer:
    """Trains a model on shards and evaluates it on their held-out instances.

    Attributes:
        curve: a point for each evaluation: the step, held-out losses and accuracies.
        unigram_loss: the held-out loss of predicting tokens by their frequency alone, in nats.
        num_predictions: held-out masked tokens.
        state: the run's state. Its steps are micro batches.
    """

    def __init__(
        self, shards: Shards, options: PretrainOptions, model: keras.Model, directory: Path
    ) -> None:
        self.options, self.model, self.shards = options, model, shards
        self.directory = directory
        masking = Masking.for_shards(shards, options.whole_words, options.sentence_order)
        self.batches = Batches(shards, masking, options)
        self.total_steps = options.steps * options.accumulation  # in micro batches
        self.dev = self.batches.dev()
        targets, weights = (
            np.concatenate([batch[i][LM].ravel() for batch in self.dev]) for i in (1, 2)
        )
        self.num_predictions = int((weights > 0).sum())
        self.unigram_loss = _unigram_loss(shards, targets[weights > 0])
        _compile(model, options)
        self.state = RunState(directory / STATE, model)
        self.evaluator = _build_evaluator(model)
        self._curve_file = directory / CURVE
        self.curve: list[dict[str, Any]] = []

    def train(self, save_every: int | None) -> None:
        """Trains from the last saved state, if any, to the end of the run.

        Args:
            save_every: steps between two saved states; None: once a minute.
        """
        options, micro_steps_done = self.options, self.state.restore()
        if micro_steps_done:
            self.curve = self._read_curve()
            log(f"resuming at step {micro_steps_done // options.accumulation} of {options.steps}")
        log(f"held-out loss of token frequencies alone: {self.unigram_loss:.4f}")
        self._evaluate_if_due()  # if the run was killed between a step and its evaluation
        if micro_steps_done == self.total_steps:
            return
        every = None if save_every is None else save_every * options.accumulation
        callbacks = run_callbacks(self.state, self.total_steps, every, self._evaluate_if_due)
        if keras.backend.backend() == "tensorflow":
            batches = dataset(self.batches, micro_steps_done, self.total_steps)
        else:
            batches = IndexedBatches(self.batches, micro_steps_done, self.total_steps)
        self.model.fit(batches, shuffle=False, callbacks=callbacks, verbose=0)

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
        log(
            f"step {step}/{self.options.steps}: held-out loss {point['masked_lm_loss']:.4f} "
            f"(perplexity {math.exp(point['masked_lm_loss']):.1f}), "
            f"{point['masked_lm_accuracy']:.1%} of masks, "
            f"{point['sentence_order_accuracy']:.1%} of orders right"
        )
        with staged_file(self._curve_file) as staged:
            staged.write_text(json.dumps(self.curve), encoding="utf-8")
        state.evaluated_step = state.step
        state.save()
        self.model.reset_metrics()

    def _read_curve(self) -> list[dict[str, Any]]:
        """The points up to the saved state: a kill between the two writes leaves one more in the file."""
        evaluated_step = self.state.evaluated_step // self.options.accumulation
        if not evaluated_step:
            return []
        try:
            points = json.loads(self._curve_file.read_text(encoding="utf-8"))
            return [point for point in points if point["step"] <= evaluated_step]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._curve_file}: cannot be read: {error}: start again without --resume"
            ) from None

    def evaluate(self) -> dict[str, float]:
        """Held-out masked-LM loss (nats per prediction) and accuracies; shows some filled masks."""
        losses, correct, orders = [], [], []
        for index, (inputs, targets, batch_weights) in enumerate(self.dev):
            outputs = self.evaluator.predict_on_batch({**inputs, "targets": targets[LM]})
            # Each of several devices computes the whole batch; their outputs are concatenated.
            outputs = {name: values[: len(targets[LM])] for name, values in outputs.items()}
            used = batch_weights[LM] > 0
            losses.append(outputs["losses"][used])
            correct.append((outputs["tokens"] == targets[LM])[used])
            orders.append(outputs["orders"] == targets[ORDER])
            if not index:
                self._show(inputs, targets[LM], outputs["tokens"], used)
        loss, accuracy, order_accuracy = (
            float(np.concatenate(x).mean()) for x in (losses, correct, orders)
        )
        if not math.isfinite(loss):
            raise self.state.diverged()
        return {
            "masked_lm_loss": loss,
            "masked_lm_accuracy": accuracy,
            "sentence_order_accuracy": order_accuracy,
        }

    def _show(
        self,
        inputs: dict[str, np.ndarray],
        targets: np.ndarray,
        predictions: np.ndarray,
        used: np.ndarray,
    ) -> None:
        """Prints some held-out text with its masks filled: `[word]`, or `[predicted|expected]`."""
        vocabulary = self.shards.vocabulary
        for row in range(min(SHOWN_INPUTS, len(used))):
            tokens = [vocabulary[i] for i in inputs["input_word_ids"][row]]
            positions = inputs["masked_positions"][row][used[row]]
            for position, predicted_id, expected_id in zip(
                positions, predictions[row][used[row]], targets[row][used[row]], strict=True
            ):
                predicted, expected = vocabulary[predicted_id], vocabulary[expected_id]
                tokens[position] = f"[{expected}]"
                if predicted != expected:
                    tokens[position] = f"[{predicted}|{expected}]"
            first = max(0, int(positions[0]) - 2)
            log("  " + " ".join(tokens[first : first + SHOWN_TOKENS]))


def _compile(model: keras.Model, options: PretrainOptions) -> None:
    warmup_steps = round(options.steps * options.warmup)
    schedule = LinearWarmupDecay(
        options.peak_rate, warmup_steps, options.steps, options.accumulation
    )
    losses = {
        name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in (LM, ORDER)
    }
    model.compile(
        _optimizer(options, schedule),
        losses,
        loss_weights={LM: 1.0, ORDER: float(options.sentence_order)},
    )


def _optimizer(options: PretrainOptions, schedule: LinearWarmupDecay) -> keras.Optimizer:
    accumulation = options.accumulation if options.accumulation > 1 else None
    if options.optimizer == "adamw":
        return adamw(schedule, options.weight_decay, gradient_accumulation_steps=accumulation)
    optimizer = Lamb(
        schedule,
        weight_decay=options.weight_decay,
        epsilon=1e-6,
        global_clipnorm=1.0,
        gradient_accumulation_steps=accumulation,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _unigram_loss(shards: Shards, targets: np.ndarray) -> float:
    """The loss in nats of predicting tokens by their frequency in train, with 1 added to each count."""
    counts = np.array(shards.index.unigrams, np.float64) + 1
    return float(-np.log(counts[targets] / counts.sum()).mean())


def _build_evaluator(model: keras.Model) -> keras.Model:
    """Inputs and `targets` -> `losses` and best `tokens`, `[n, predictions]`, and best `orders`, `[n]`."""
    inputs = dict(model.input)
    targets = keras.Input((None,), dtype="int32", name="targets")
    outputs = model(inputs)
    losses = ops.sparse_categorical_crossentropy(targets, outputs[LM], from_logits=True)
    return keras.Model(
        {**inputs, "targets": targets},
        {
            "losses": losses,
            "tokens": ops.argmax(outputs[LM], axis=-1),
            "orders": ops.argmax(outputs[ORDER], axis=-1),
        },
    )
