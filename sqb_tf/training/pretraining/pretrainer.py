"""The training loop of pretraining: train, evaluate on held-out text, show filled masks."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
from keras import ops

from sqb_tf.progress import log
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.pretraining.batches import Batches
from sqb_tf.training.pretraining.lamb import Lamb
from sqb_tf.training.pretraining.masking import Masking
from sqb_tf.training.pretraining.options import PretrainOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.text_trainer import TextTrainer

# The model's outputs.
LM, ORDER = "masked_lm_logits", "sentence_order_logits"
# Held-out inputs whose filled masks are shown, and how many tokens of each.
SHOWN_INPUTS, SHOWN_TOKENS = 2, 24


class Pretrainer(TextTrainer):
    """Trains a model on shards and evaluates it on their held-out instances.

    Attributes:
        curve: a point for each evaluation: the step, held-out losses and accuracies.
        unigram_loss: the held-out loss of predicting tokens by their frequency alone, in nats.
        num_predictions: held-out masked tokens.
    """

    def __init__(
        self, shards: Shards, options: PretrainOptions, model: keras.Model, directory: Path
    ) -> None:
        masking = Masking.for_shards(shards, options.whole_words, options.sentence_order)
        batches = Batches(shards, masking, options)
        self.dev = batches.dev()
        targets, weights = (
            np.concatenate([batch[i][LM].ravel() for batch in self.dev]) for i in (1, 2)
        )
        self.num_predictions = int((weights > 0).sum())
        self.unigram_loss = _unigram_loss(shards, targets[weights > 0])
        _compile(model, options)
        super().__init__(shards, model, batches, options, directory)
        self.evaluator = _build_evaluator(model)

    def train(self, save_every: int | None) -> None:
        """As `TextTrainer`."""
        log(f"held-out loss of token frequencies alone: {self.unigram_loss:.4f}")
        super().train(save_every)

    def describe(self, point: dict[str, float]) -> str:
        """What `evaluate` returned, in a line."""
        return (
            f"held-out loss {point['masked_lm_loss']:.4f} "
            f"(perplexity {math.exp(point['masked_lm_loss']):.1f}), "
            f"{point['masked_lm_accuracy']:.1%} of masks, "
            f"{point['sentence_order_accuracy']:.1%} of orders right"
        )

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
