"""Pretraining: shards in, bundle with the masked-LM head out, on TensorFlow or JAX."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.model import heads
from sqb_tf.model.heads import MaskedLMHead
from sqb_tf.progress import log
from sqb_tf.text.vocabulary import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    begins_word,
)
from sqb_tf.training.callbacks import SaveState, ShowProgress, StopAtNaN
from sqb_tf.training.dtype_policy import computing_in
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.pretraining.batches import Batches, IndexedBatches, dataset
from sqb_tf.training.pretraining.lamb import Lamb
from sqb_tf.training.pretraining.masking import Masking
from sqb_tf.training.pretraining.options import PretrainOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.run_directory import close_work, open_work
from sqb_tf.training.state import RunState

LM, ORDER = "masked_lm_logits", "sentence_order_logits"
# What a bundle may have on its encoder: each is there after pretraining, or needs no weights.
BUNDLE_HEADS = ("masked_lm", "pretraining", "embedding", "encoder")
STATE, CURVE = "state.npz", "curve.json"  # in the folder of a run's state
# Held-out inputs whose filled masks are shown, and how many of their tokens.
SHOWN, SHOWN_TOKENS = 2, 24


def pretrain(
    shards: Shards,
    output: str | Path,
    options: PretrainOptions,
    resume: bool = False,
    save_every: int | None = None,
    command: str = "",
    head: str = "masked_lm",
) -> dict[str, Any]:
    """Pretrains on `shards` and writes the bundle, with one of `BUNDLE_HEADS`, to `output`.

    The run keeps its state in `OUTPUT.training` and removes it at the end. With `resume` it goes on from the
    last state there, exactly; without, it starts anew.

    Returns:
        The contents of the bundle's `metrics.json`: the held-out masked-LM loss in nats, its perplexity,
        `unigram_loss`, what the frequencies of the training tokens alone reach there, and the curve.

    Raises:
        InputError: bad options; shards of another vocabulary than that of `init`, or too long for the
            model; a `resume` of a run with other ones.
    """
    output = Path(output)
    if save_every is not None and save_every < 1:
        raise InputError(f"save_every {save_every}: expected at least 1")
    if head not in BUNDLE_HEADS:
        raise InputError(f"head {head}: expected one of {', '.join(BUNDLE_HEADS)}")
    bundle.check_target(output)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # The same seed gives the same run only if no kernel sums in the order its threads finish.
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(options.seed)
    source = None if options.init is None else bundle.read_info(options.init)
    config = _config(options, shards, source)
    work = open_work(output, _identity(shards, options), resume)
    with _devices(options), computing_in(options.precision):
        model = heads.build("pretraining", config)
        if source is not None:
            _copy_weights(bundle.load_model(source), model)
        run = PretrainRun(shards, options, model, work)
        run.train(save_every)
    point = run.curve[-1]
    written = heads.build(head, config)
    _copy_weights(model, written)
    metrics = {
        "metric": {"name": "masked_lm_loss", "value": point["masked_lm_loss"]},
        "perplexity": math.exp(point["masked_lm_loss"]),
        "unigram_loss": run.unigram_loss,
        "below_unigram": 1 - point["masked_lm_loss"] / run.unigram_loss,
        "held_out_predictions": run.predictions,
        "train_instances": shards.count("train"),
        "parameters": written.count_params(),
        "seconds": round(run.state.seconds, 1),
        "curve": run.curve,
        "options": dataclasses.asdict(options),
    }
    contents = bundle.BundleContents(
        written,
        shards.vocabulary,
        [],
        bundle.TaskInfo(
            task=head,
            kind=head,
            paired=False,
            seq_length=shards.index.seq_length,
            lowercase=shards.index.lowercase,
            metric=metrics["metric"],
            data=str(shards.directory),
            command=command,
        ),
        calibration=[Example(text, None, None) for text in shards.texts("train")],
        verification=[Example(text, None, None) for text in shards.texts("dev")],
        metrics=metrics,
    )
    bundle.write(output, contents)
    close_work(work)
    return metrics


class PretrainRun:
    """The loop: train, evaluate on held-out text, show how masks are filled."""

    def __init__(
        self, shards: Shards, options: PretrainOptions, model: keras.Model, work: Path
    ) -> None:
        self.options, self.model, self.shards = options, model, shards
        masking = _masking(shards, options)
        self.batches = Batches(shards, masking, options)
        self.total = options.steps * options.accumulation  # in micro batches, as all steps here
        self.dev = self.batches.dev()
        targets, weights = (
            np.concatenate([batch[i][LM].ravel() for batch in self.dev]) for i in (1, 2)
        )
        self.predictions = int((weights > 0).sum())
        self.unigram_loss = _unigram_loss(shards, targets[weights > 0])
        warmup = round(options.steps * options.warmup)
        schedule = LinearWarmupDecay(options.peak_rate, warmup, options.steps, options.accumulation)
        losses = {
            name: keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            for name in (LM, ORDER)
        }
        model.compile(
            _optimizer(options, schedule),
            losses,
            loss_weights={LM: 1.0, ORDER: float(options.sentence_order)},
        )
        self.state = RunState(work / STATE, model)
        self.evaluator = _evaluator(model)
        self._curve_file = work / CURVE
        self.curve: list[dict[str, Any]] = []

    def train(self, save_every: int | None) -> None:
        """Trains what is left of the run."""
        options, done = self.options, self.state.restore()
        if done:
            self.curve = self._read_curve()
            log(f"resuming at step {done // options.accumulation} of {options.steps}")
        log(f"held-out loss of the tokens' frequencies alone: {self.unigram_loss:.4f}")
        self._judge_if_due()  # if killed between a step and its judging
        if done == self.total:
            return
        every = None if save_every is None else save_every * options.accumulation
        callbacks = [
            StopAtNaN(self.state),
            SaveState(self.state, every),
            ShowProgress(self.state, self.total),
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: self._judge_if_due()
            ),
        ]
        if keras.backend.backend() == "tensorflow":
            batches = dataset(self.batches, done, self.total)
        else:
            batches = IndexedBatches(self.batches, done, self.total)
        self.model.fit(batches, shuffle=False, callbacks=callbacks, verbose=0)

    def _judge_if_due(self) -> None:
        """Evaluates every `evaluate_every` steps and at the end."""
        state, accumulation = self.state, self.options.accumulation
        step, within = divmod(state.step, accumulation)
        due = state.step == self.total or (step and step % self.options.evaluate_every == 0)
        if within or not due or state.step == state.judged:
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
        state.judged = state.step
        state.save()
        self.model.reset_metrics()

    def _read_curve(self) -> list[dict[str, Any]]:
        """The points that the saved state knows of: a kill may have come between the two writes."""
        judged = self.state.judged // self.options.accumulation
        if not judged:
            return []
        try:
            points = json.loads(self._curve_file.read_text(encoding="utf-8"))
            return [point for point in points if point["step"] <= judged]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._curve_file}: cannot be read: {error}: start anew without --resume"
            ) from None

    def evaluate(self) -> dict[str, float]:
        """Held-out masked-LM loss (nats a prediction) and accuracies; shows some filled masks."""
        losses, right, orders = [], [], []
        for number, (inputs, targets, batch_weights) in enumerate(self.dev):
            outputs = self.evaluator.predict_on_batch({**inputs, "targets": targets[LM]})
            # Several devices are each given all of a batch: their outputs follow one another.
            outputs = {name: values[: len(targets[LM])] for name, values in outputs.items()}
            used = batch_weights[LM] > 0
            losses.append(outputs["losses"][used])
            right.append((outputs["best"] == targets[LM])[used])
            orders.append(outputs["order"] == targets[ORDER])
            if not number:
                self._show(inputs, targets[LM], outputs["best"], used)
        loss, accuracy, order = (float(np.concatenate(x).mean()) for x in (losses, right, orders))
        if not math.isfinite(loss):
            raise self.state.diverged()
        return {
            "masked_lm_loss": loss,
            "masked_lm_accuracy": accuracy,
            "sentence_order_accuracy": order,
        }

    def _show(self, inputs: Any, targets: Any, best: Any, used: Any) -> None:
        """Some held-out text with its masks filled: `[word]`, or `[wrong|right]`."""
        words = self.shards.vocabulary
        for row in range(min(SHOWN, len(used))):
            tokens = [words[i] for i in inputs["input_word_ids"][row]]
            places = inputs["masked_positions"][row][used[row]]
            for place, guess, token in zip(
                places, best[row][used[row]], targets[row][used[row]], strict=True
            ):
                token, guess = words[token], words[guess]
                tokens[place] = f"[{token}]" if guess == token else f"[{guess}|{token}]"
            first = max(0, int(places[0]) - 2)
            log("  " + " ".join(tokens[first : first + SHOWN_TOKENS]))


def _config(options: PretrainOptions, shards: Shards, source: Any) -> SqueezeBertConfig:
    """The model's config, checked to go with the shards."""
    if source is not None:
        config = source.config
        if (
            source.vocabulary != shards.vocabulary
            or source.task.lowercase != shards.index.lowercase
        ):
            raise InputError(
                f"{options.init}: its vocabulary is not that of the shards in {shards.directory}: make them "
                f"with --vocab {options.init}/vocab.txt"
            )
    else:
        size = len(shards.vocabulary)
        config = SqueezeBertConfig.for_training(options.preset, size, options.dropout)
    if shards.index.seq_length > config.max_position_embeddings:
        raise InputError(
            f"{shards.directory}: instances of {shards.index.seq_length} tokens: the model has "
            f"{config.max_position_embeddings} positions (max_position_embeddings)"
        )
    return config


def _identity(shards: Shards, options: PretrainOptions) -> dict[str, Any]:
    """What makes a run what it is."""
    made = dataclasses.asdict(shards.index)
    return {
        "backend": keras.backend.backend(),
        "shards": {name: made[name] for name in ("seq_length", "lowercase", "source", "records")},
        **dataclasses.asdict(options),
    }


def _devices(options: PretrainOptions) -> contextlib.AbstractContextManager:
    """Where the model's variables are made: on every device, or as ever."""
    if not options.mirrored:
        return contextlib.nullcontext()
    if keras.backend.backend() != "tensorflow":
        raise InputError("mirrored: is of the tensorflow backend: leave it out")
    if options.accumulation > 1:
        raise InputError(
            "mirrored: not with micro_batch_size: every device takes its part of a batch already"
        )
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    if options.batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"batch_size {options.batch_size}: expected a multiple of the "
            f"{strategy.num_replicas_in_sync} devices"
        )
    log(f"on {strategy.num_replicas_in_sync} devices")
    return strategy.scope()


def _optimizer(options: PretrainOptions, schedule: LinearWarmupDecay) -> keras.Optimizer:
    accumulate = options.accumulation if options.accumulation > 1 else None
    if options.optimizer == "adamw":
        return adamw(schedule, options.weight_decay, gradient_accumulation_steps=accumulate)
    optimizer = Lamb(
        schedule,
        weight_decay=options.weight_decay,
        epsilon=1e-6,
        global_clipnorm=1.0,
        gradient_accumulation_steps=accumulate,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _masking(shards: Shards, options: PretrainOptions) -> Masking:
    words = shards.vocabulary
    ids = {token: words.index(token) for token in (CLS, SEP, MASK, PAD)}
    ordinary = [i for i, word in enumerate(words) if word not in SPECIAL_TOKENS]
    return Masking(
        seq_length=shards.index.seq_length,
        cls_id=ids[CLS],
        sep_id=ids[SEP],
        mask_id=ids[MASK],
        pad_id=ids[PAD],
        begins_word=begins_word(words),
        replacements=np.array(ordinary),
        whole_words=options.whole_words,
        swaps=options.sentence_order,
    )


def _unigram_loss(shards: Shards, targets: np.ndarray) -> float:
    """The loss of predicting each token by how often it occurs in train, each seen once more, in nats."""
    counts = np.array(shards.index.unigrams, np.float64) + 1
    return float(-np.log(counts[targets] / counts.sum()).mean())


def _evaluator(model: keras.Model) -> keras.Model:
    """Inputs and `targets` -> losses and best tokens, `[n, predictions]`, and the best order, `[n]`."""
    inputs = dict(model.input)
    targets = keras.Input((None,), dtype="int32", name="targets")
    outputs = model(inputs)
    losses = ops.sparse_categorical_crossentropy(targets, outputs[LM], from_logits=True)
    return keras.Model(
        {**inputs, "targets": targets},
        {
            "losses": losses,
            "best": ops.argmax(outputs[LM], axis=-1),
            "order": ops.argmax(outputs[ORDER], axis=-1),
        },
    )


def _copy_weights(source: Any, target: Any) -> None:
    """The encoder's weights, and those of the heads that both models have."""
    encoders = [getattr(model, "backbone", model) for model in (source, target)]
    encoders[1].set_weights(encoders[0].get_weights())
    for name, kind in (("head", MaskedLMHead), ("order_head", keras.layers.Dense)):
        layers = [getattr(model, name, None) for model in (source, target)]
        if all(isinstance(layer, kind) for layer in layers):
            layers[1].set_weights(layers[0].get_weights())
