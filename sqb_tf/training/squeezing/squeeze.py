"""Squeezing: a teacher and shards in, bundle out, on TensorFlow or JAX. The loop is in `squeezer.py`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle, source
from sqb_tf.checkpoint.bundle import BundleInfo
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.heads import registry
from sqb_tf.model import heads
from sqb_tf.model.backbone import SqueezeBertBackbone
from sqb_tf.progress import warn
from sqb_tf.training.checks import check_request, check_shards, check_student
from sqb_tf.training.determinism import reproducible
from sqb_tf.training.dtype_policy import dtype_policy
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.run_directory import (
    OPTIONS_SUM,
    locked_run,
    open_run_directory,
    options_sum,
    remove_run_directory,
)
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tf.training.squeezing.squeezer import Squeezer, principal_directions
from sqb_tf.training.squeezing.student import copy_weights, taught_layers

# A file of the run directory.
DIRECTIONS = "directions.npy"


def squeeze(
    shards: Shards,
    output: str | Path,
    options: SqueezeOptions,
    resume: bool = False,
    save_every: int | None = None,
    command: str = "",
    samples: bool = True,
) -> dict[str, Any]:
    """Squeezes `options.teacher` on the text of `shards` and writes the student's bundle to `output`.

    The bundle keeps the teacher's head and its weights if the head needs no labels; else it has no head, nor
    has a narrower student if the head has weights. Embeddings and pooler stay the teacher's; those of a
    narrower student are projected, and its embeddings learn. The run keeps its state in `OUTPUT.training` and
    removes it at the end.

    Args:
        shards: the training and held-out instances, in the teacher's vocabulary.
        output: the bundle's directory.
        options: teacher, student and training options.
        resume: continue exactly from the last state in `OUTPUT.training`.
        save_every: steps between two saved states; None: once a minute.
        command: the command line, for the bundle's record.
        samples: whether the bundle keeps samples of the texts, the command line and paths, see `sharing.py`.

    Returns:
        The contents of the bundle's `metrics.json`: the last layer's held-out error, and the curve.

    Raises:
        InputError: bad options; shards of another vocabulary than the teacher's, or too long for it; a run to
            resume that has other options.
    """
    output = Path(output)
    check_request(output, save_every)
    info = source.read_info(options.teacher)
    config = check_student(options, info)
    check_shards(shards, info, options.teacher)
    with locked_run(output):
        with reproducible(options.seed):
            teacher = source.load_model(options.teacher)
            init = None if options.init is None else source.load_model(options.init)
            directory = open_run_directory(
                output, _identity(shards, options, teacher, init), resume
            )
            layers = taught_layers(config.num_hidden_layers, info.config.num_hidden_layers)
            with dtype_policy(options.precision):
                frozen = frozen_encoder(teacher)
                directions = None
                if config.hidden_size < info.config.hidden_size:
                    directions = _directions(
                        directory,
                        lambda: principal_directions(
                            frozen, layers, shards, options, config.hidden_size
                        ),
                    )
                student = first_student(config, frozen, init, layers, directions)
                pooling = getattr(teacher, "pooling", None)
                squeezer = Squeezer(
                    shards, options, student, frozen, layers, pooling, directory, directions
                )
            squeezer.train(save_every)
            model = _finish(squeezer, config, teacher, info)
        metrics = _metrics(squeezer, model, layers)
        _write_bundle(output, squeezer, model, info, metrics, command, samples)
        remove_run_directory(squeezer.directory)
        return metrics


def _identity(shards: Shards, options: SqueezeOptions, teacher: Any, init: Any) -> dict[str, Any]:
    """Everything that decides the run's result, the teacher's weights too: a state leaves them out."""
    index = dataclasses.asdict(shards.index)
    return {
        "teacher_weights": _digest(teacher),
        "init_weights": None if init is None else _digest(init),
        "backend": keras.backend.backend(),
        "shards": {name: index[name] for name in ("seq_length", "lowercase", "source", "records")},
        **dataclasses.asdict(options),
    }


def _digest(model: Any) -> str:
    digest = hashlib.sha256()
    for array in _encoder(model).get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()


def frozen_encoder(model: Any) -> Any:
    """The encoder of a model with any head, frozen and without dropout."""
    encoder = _encoder(model)
    frozen = SqueezeBertBackbone(_without_dropout(encoder.config), name="teacher")
    frozen.set_weights(encoder.get_weights())
    frozen.trainable = False
    return frozen


def first_student(
    config: SqueezeBertConfig,
    teacher: Any,
    init: Any,
    layers: list[int],
    directions: np.ndarray | None = None,
) -> Any:
    """The student's encoder with its first weights, without dropout; only its blocks learn.

    Of a narrower student the embeddings learn too.

    Args:
        config: the student's architecture.
        teacher: the teacher's encoder.
        init: the student to train on; None: blocks of the teacher.
        layers: the teacher's layers that the student learns from, of `taught_layers`.
        directions: those of a narrower student, see `copy_weights`.
    """
    student = SqueezeBertBackbone(_without_dropout(config), name="student")
    if init is None:
        copy_weights(student, teacher, layers, directions)
    else:
        student.set_weights(_encoder(init).get_weights())
    student.pooler.trainable = False
    student.embeddings.trainable = directions is not None
    return student


def _directions(directory: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """A run's directions, computed once: an eigenvector's sign may differ on another machine."""
    path = directory / DIRECTIONS
    if not path.is_file():
        with staged_file(path) as staged, staged.open("wb") as file:
            np.save(file, compute())
    return np.load(path)


def _without_dropout(config: SqueezeBertConfig) -> SqueezeBertConfig:
    return dataclasses.replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def _encoder(model: Any) -> Any:
    return getattr(model, "backbone", model)


def _finish(squeezer: Squeezer, config: SqueezeBertConfig, teacher: Any, info: BundleInfo) -> Any:
    """The student with its teacher's head, or none."""
    kind = info.task.kind
    has_weights = len(teacher.weights) > len(_encoder(teacher).weights)
    if kind in registry.TASK_NAMES:
        kind = "encoder"
        warn(f"the bundle has no {info.task.kind} head: the teacher's has learned from labels")
    elif config.hidden_size < info.config.hidden_size and has_weights:
        kind = "encoder"
        warn(f"the bundle has no {info.task.kind} head: its weights are as wide as the teacher")
    model = heads.build(kind, config, settings=info.task.settings)
    _encoder(model).set_weights(squeezer.student.get_weights())
    heads.copy_heads(teacher, model)
    return model


def _metrics(squeezer: Squeezer, model: Any, layers: list[int]) -> dict[str, Any]:
    """The contents of `metrics.json`."""
    return {
        "metric": {"name": "hidden_error", "value": squeezer.curve[-1]["hidden_errors"][-1]},
        "taught_layers": layers,
        "train_instances": squeezer.shards.count("train"),
        "parameters": model.count_params(),
        "seconds": round(squeezer.state.seconds, 1),
        "curve": squeezer.curve,
        "options": dataclasses.asdict(squeezer.options),
        OPTIONS_SUM: options_sum(squeezer.options),
    }


def _write_bundle(
    output: Path,
    squeezer: Squeezer,
    model: Any,
    teacher: BundleInfo,
    metrics: dict[str, Any],
    command: str,
    samples: bool,
) -> None:
    kind = registry.names_of_model(model)[0]
    task = bundle.TaskInfo(
        task=kind,
        kind=kind,
        seq_length=teacher.task.seq_length,
        lowercase=teacher.task.lowercase,
        metric=metrics["metric"],
        data=str(squeezer.shards.directory),
        command=command,
        settings=teacher.task.settings if kind == teacher.task.kind else {},
    )
    squeezer.write_bundle(output, model, teacher.vocabulary, task, metrics, samples)
