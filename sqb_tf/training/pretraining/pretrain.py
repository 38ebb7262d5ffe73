"""Pretraining: shards in, bundle out, on TensorFlow or JAX. The training loop is in `pretrainer.py`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import keras

from sqb_tf.checkpoint import bundle, source
from sqb_tf.checkpoint.saving import fill_vocabulary
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.errors import InputError, unknown_name
from sqb_tf.heads import registry
from sqb_tf.model import heads
from sqb_tf.progress import log
from sqb_tf.training.checks import check_request, check_shards
from sqb_tf.training.determinism import reproducible
from sqb_tf.training.dtype_policy import dtype_policy
from sqb_tf.training.pretraining.options import PretrainOptions
from sqb_tf.training.pretraining.pretrainer import Pretrainer
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.run_directory import (
    OPTIONS_SUM,
    locked_run,
    open_run_directory,
    options_sum,
    remove_run_directory,
)


def pretrain(
    shards: Shards,
    output: str | Path,
    options: PretrainOptions,
    resume: bool = False,
    save_every: int | None = None,
    command: str = "",
    head: str = "masked_lm",
    samples: bool = True,
) -> dict[str, Any]:
    """Pretrains on `shards` and writes the bundle to `output`.

    The run keeps its state in `OUTPUT.training` and removes it at the end.

    Args:
        shards: the training and held-out instances.
        output: the bundle's directory.
        options: model and training options.
        resume: continue exactly from the last state in `OUTPUT.training`.
        save_every: steps between two saved states; None: once a minute.
        command: the command line, for the bundle's record.
        head: the bundle's head, one of `registry.TEXT_NAMES`.
        samples: whether the bundle keeps samples of the texts, the command line and paths, see `sharing.py`.

    Returns:
        The contents of the bundle's `metrics.json`: the held-out masked-LM loss in nats, its perplexity,
        `unigram_loss` (the held-out loss of predicting tokens by their frequency in train), and the curve.

    Raises:
        InputError: bad options; shards of another vocabulary than that of `init`, or too long for the
            model; a run to resume that has other ones.
    """
    output = Path(output)
    check_request(output, save_every)
    if head not in registry.TEXT_NAMES:
        raise unknown_name("head", head, registry.TEXT_NAMES)
    with locked_run(output):
        with reproducible(options.seed):
            with _device_scope(options), dtype_policy(options.precision):
                trainer = _prepare(shards, output, options, resume)
                trainer.train(save_every)
            model = heads.build(head, trainer.model.config)
        _copy_weights(trainer.model, model)
        metrics = _metrics(trainer, model)
        _write_bundle(output, trainer, model, head, metrics, command, samples)
        remove_run_directory(trainer.directory)
        return metrics


def _prepare(shards: Shards, output: Path, options: PretrainOptions, resume: bool) -> Pretrainer:
    """The trainer of a new or resumed run. Nothing is written before shards and config are checked."""
    init = None if options.init is None else source.read_info(options.init)
    config = _check_config(options, shards, init)
    directory = open_run_directory(output, _identity(shards, options), resume)
    model = heads.build("pretraining", config)
    if options.init is not None:
        _copy_weights(source.load_model(options.init), model)
    return Pretrainer(shards, options, model, directory)


def _check_config(
    options: PretrainOptions, shards: Shards, init: bundle.BundleInfo | None
) -> SqueezeBertConfig:
    """The model's config; an `InputError` if the shards do not fit it."""
    if init is None:
        config = options.new_config(len(shards.vocabulary))
    else:
        config = init.config
        check_shards(shards, init, str(options.init))
    if shards.index.seq_length > config.max_position_embeddings:
        raise InputError(
            f"{shards.directory}: instances of {shards.index.seq_length} tokens: the model has "
            f"{config.max_position_embeddings} positions (max_position_embeddings)"
        )
    return config


def _identity(shards: Shards, options: PretrainOptions) -> dict[str, Any]:
    """Everything that decides the run's result."""
    index = dataclasses.asdict(shards.index)
    return {
        "backend": keras.backend.backend(),
        "shards": {name: index[name] for name in ("seq_length", "lowercase", "source", "records")},
        **dataclasses.asdict(options),
    }


def _device_scope(options: PretrainOptions) -> contextlib.AbstractContextManager:
    """The scope in which the model's variables are created: with `mirrored` on every device."""
    if not options.mirrored:
        return contextlib.nullcontext()
    if keras.backend.backend() != "tensorflow":
        raise InputError("mirrored: needs the tensorflow backend: leave it out")
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


def _copy_weights(source: Any, target: Any) -> None:
    """Copies the encoder's weights, and those of the heads that both models have."""
    source_encoder, target_encoder = (
        getattr(model, "backbone", model) for model in (source, target)
    )
    target_encoder.set_weights(source_encoder.get_weights())
    heads.copy_heads(source, target)


def _metrics(trainer: Pretrainer, model: keras.Model) -> dict[str, Any]:
    """The contents of `metrics.json`."""
    loss = trainer.curve[-1]["masked_lm_loss"]
    return {
        "metric": {"name": "masked_lm_loss", "value": loss},
        "perplexity": math.exp(loss),
        "unigram_loss": trainer.unigram_loss,
        "below_unigram": 1 - loss / trainer.unigram_loss,
        "held_out_predictions": trainer.num_predictions,
        "train_instances": trainer.shards.count("train"),
        "parameters": model.count_params(),
        "seconds": round(trainer.state.seconds, 1),
        "curve": trainer.curve,
        "options": dataclasses.asdict(trainer.options),
        OPTIONS_SUM: options_sum(trainer.options),
    }


def _write_bundle(
    output: Path,
    trainer: Pretrainer,
    model: keras.Model,
    head: str,
    metrics: dict[str, Any],
    command: str,
    samples: bool,
) -> None:
    shards = trainer.shards
    task = bundle.TaskInfo(
        task=head,
        kind=head,
        seq_length=shards.index.seq_length,
        lowercase=shards.index.lowercase,
        metric=metrics["metric"],
        data=str(shards.directory),
        command=command,
    )
    vocabulary = fill_vocabulary(shards.vocabulary, model.config.vocab_size)
    trainer.write_bundle(output, model, vocabulary, task, metrics, samples)
