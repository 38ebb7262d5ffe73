"""Fine-tuning: data in, bundle out. The training loop is in `trainer.py`."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle, pretrained, source
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.checkpoint.sharing import without_private
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.example import texts_of
from sqb_tf.data.task import Task
from sqb_tf.heads.classification import ABSTAIN_BELOW
from sqb_tf.line_file import write_lines
from sqb_tf.model import heads
from sqb_tf.progress import log, warn
from sqb_tf.text.tokenizer import WordPieceTokenizer, learn_vocabulary
from sqb_tf.text.vocabulary import read_vocabulary
from sqb_tf.training.checks import check_finetune, check_request
from sqb_tf.training.determinism import reproducible
from sqb_tf.training.distillation import match_layers
from sqb_tf.training.dtype_policy import dtype_policy
from sqb_tf.training.options import VOCAB_SIZE, FinetuneOptions
from sqb_tf.training.run_directory import (
    CONTENT,
    LOGS,
    OPTIONS_SUM,
    locked_run,
    open_run_directory,
    options_sum,
    remove_run_directory,
)
from sqb_tf.training.teacher import Teacher, find_teacher
from sqb_tf.training.teacher_outputs import TeacherOutputs, teacher_outputs
from sqb_tf.training.trainer import FinetuneTrainer
from sqb_tf.training.training_data import TrainingData
from sqb_tf.training.vocabulary_trim import Trim, trim

# The vocabulary is learned from at most this many examples: their word counts are held in memory.
VOCABULARY_EXAMPLES = 500_000


def finetune(
    task: Task,
    output: str | Path,
    options: FinetuneOptions,
    resume: bool = False,
    save_every: int | None = None,
    command: str = "",
    data: TrainingData | None = None,
    samples: bool = True,
) -> dict[str, Any]:
    """Fine-tunes on `task` and writes the bundle of the best step to `output`.

    The run keeps its state in `OUTPUT.training` and removes it at the end. A run on CPU repeats exactly:
    equal options and data give equal weights.

    Args:
        task: the data.
        output: the bundle's directory.
        options: model, data and training options.
        resume: continue from the last state in `OUTPUT.training`, with the same data order.
        save_every: steps between two saved states; None: once a minute.
        command: the command line, for the bundle's record.
        data: what `check_finetune` returned for `task`, `output` and `options`; None: checked and read here.
        samples: whether the bundle keeps samples of the texts, the command line and paths, see `sharing.py`.

    Returns:
        The contents of the bundle's `metrics.json`.

    Raises:
        InputError: bad data or options, or a run to resume that has other ones.
    """
    output, start = Path(output), time.monotonic()
    check_request(output, save_every)
    if data is None:
        data = check_finetune(task, output, options)
    with locked_run(output):
        return _run(data, output, options, resume, save_every, command, start, samples)


def _run(
    data: TrainingData,
    output: Path,
    options: FinetuneOptions,
    resume: bool,
    save_every: int | None,
    command: str,
    start: float,
    samples: bool,
) -> dict[str, Any]:
    """Trains and writes the bundle; see `finetune`."""
    with reproducible(options.seed):
        with dtype_policy(options.precision):
            trainer, trimmed = _prepare(data, output, options, resume)
            summary = trainer.train(save_every)
        model, value = trainer.best()
        calibration = trainer.calibrate()
        settings = trainer.fit_head()
        test = trainer.evaluate_test()
        abstention = trainer.fit_abstention()
    if abstention is not None:
        settings[ABSTAIN_BELOW] = abstention.below
    _warn_if_untrained(trainer, value)
    metrics = {
        "metric": {"name": data.metric, "value": value},
        "test": test,
        "calibration": None if calibration is None else dataclasses.asdict(calibration),
        "best_epoch": summary.best_epoch,
        "best_step": summary.best_step,
        "learning_rate": trainer.peak_rate,
        "train_examples": trainer.data.num_examples,
        "dev_examples": summary.dev_examples,
        "parameters": model.count_params(),
        "abstention": None if abstention is None else dataclasses.asdict(abstention),
        "trimmed_vocabulary": None if trimmed is None else dataclasses.asdict(trimmed),
        "seconds": round(time.monotonic() - start, 1),
        "options": dataclasses.asdict(options),
        OPTIONS_SUM: options_sum(options),
        CONTENT: data.content,
    }
    contents = _contents(trainer, model, metrics, settings, command)
    bundle.write(output, contents if samples else without_private(contents))
    remove_run_directory(trainer.directory)
    return metrics


def _warn_if_untrained(trainer: FinetuneTrainer, value: float) -> None:
    """Says so if the model is no better than one that has learned nothing."""
    metric = trainer.data.metric
    baseline = trainer.head.baseline(metric, trainer.dev_references)
    if baseline is not None and value <= baseline[1]:
        answer, score = baseline
        warn(
            f"a dev {metric} of {value:.4f} is no better than {answer} ({score:.4f}): the model has learned "
            "nothing. Look at the data (sqb survey), train longer (--epochs), start from a pretrained model "
            "(--init), or try another --learning-rate"
        )


def _prepare(
    data: TrainingData, output: Path, options: FinetuneOptions, resume: bool
) -> tuple[FinetuneTrainer, Trim | None]:
    """The trainer of a new or resumed run of checked data and options, and what was trimmed."""
    if options.init in pretrained.CHECKPOINTS:
        log(
            f"starting from {options.init}, a checkpoint that ships; --preset starts from fresh weights"
        )
    init_model = None if options.init is None else source.load(options.init)
    config = options.new_config() if init_model is None else init_model.config
    continues = init_model is not None and data.is_of(init_model.info)
    rate = options.peak_rate(config, not continues)
    directory = open_run_directory(output, _identity(data, options, rate), resume)
    model, tokenizer = _build_model(data, options, directory, init_model)
    outputs, trimmed = None, None
    if options.trim_vocabulary is not None:
        model, tokenizer, trimmed = trim(
            model, tokenizer, data.task, len(data.labels), options.trimmed_size
        )
    if options.teacher is not None:
        teacher = find_teacher(options.teacher)
        outputs = _run_teacher(teacher, data, options, model.config, directory)
    return FinetuneTrainer(data, options, model, tokenizer, directory, rate, outputs), trimmed


def _identity(data: TrainingData, options: FinetuneOptions, rate: float) -> dict[str, Any]:
    """Everything that decides the run's result."""
    task = data.task
    return {
        "labels": data.labels,
        "examples": data.num_examples,
        CONTENT: data.content,
        "task": task.name,
        "data": str(task.data.resolve()),
        "columns": dataclasses.asdict(task.columns),
        "limit": task.limit,
        "test": None if task.test is None else str(task.test),
        **dataclasses.asdict(options),
        "learning_rate": rate,
    }


def _build_model(
    data: TrainingData, options: FinetuneOptions, directory: Path, init_model: LoadedModel | None
) -> tuple[Any, WordPieceTokenizer]:
    """The model to train and its tokenizer: those of `init`, or new ones."""
    head, labels = data.task.head, data.labels
    if init_model is None:
        vocabulary = _vocabulary(data.task, options, directory)
        tokenizer = WordPieceTokenizer(vocabulary, options.lowercase)
        return heads.build(head, options.new_config(len(vocabulary)), len(labels)), tokenizer
    if data.is_of(init_model.info):
        heads.order_labels(init_model, [init_model.labels.index(label) for label in labels])
        return init_model, init_model.tokenizer
    # For another task only the encoder's weights are kept; the head is new, as `check_finetune` tells.
    model = heads.build(head, init_model.config, len(labels))
    encoder = getattr(init_model, "backbone", init_model)
    model.backbone.set_weights(encoder.get_weights())
    return model, init_model.tokenizer


def _vocabulary(task: Task, options: FinetuneOptions, directory: Path) -> list[str]:
    """The vocabulary of `options`, or one learned from the training texts (once per run)."""
    if options.vocabulary is not None:
        return read_vocabulary(options.vocabulary)
    learned = directory / "vocab.txt"
    if not learned.is_file():
        size = options.vocab_size or VOCAB_SIZE
        log(f"learning a vocabulary of at most {size} tokens")
        examples = itertools.islice(task.split("train"), VOCABULARY_EXAMPLES)
        vocabulary = learn_vocabulary(texts_of(examples), size, options.lowercase)
        with staged_file(learned) as staged:
            write_lines(staged, vocabulary)
    return read_vocabulary(learned)


def _run_teacher(
    teacher: Teacher,
    data: TrainingData,
    options: FinetuneOptions,
    student: SqueezeBertConfig,
    directory: Path,
) -> TeacherOutputs:
    """The teacher's outputs for the training examples, computed in float32."""
    layers = match_layers(student, teacher) if options.hidden_weight else []
    with dtype_policy("float32"):
        return teacher_outputs(
            teacher, data.task, data.labels, data.num_examples, directory, layers
        )


def _contents(
    trainer: FinetuneTrainer,
    model: Any,
    metrics: dict[str, Any],
    settings: dict[str, Any],
    command: str,
) -> bundle.BundleContents:
    """What the bundle holds; `settings` are those of the head that dev decided."""
    data, tokenizer = trainer.data, trainer.preprocessor.tokenizer
    settings = data.settings | data.head.settings_of(model) | settings
    info = bundle.TaskInfo(
        task=data.task.name,
        kind=data.task.head,
        paired=data.task.takes_pairs,
        seq_length=trainer.options.seq_length,
        lowercase=tokenizer.lowercase,
        metric=metrics["metric"],
        data=str(data.task.data),
        command=command,
        settings=settings,
    )
    return bundle.BundleContents(
        model,
        tokenizer.vocabulary,
        data.labels,
        info,
        calibration=data.head.sample(data.calibration),
        verification=data.head.sample(data.verification),
        metrics=metrics,
        logs=trainer.directory / LOGS,
    )
