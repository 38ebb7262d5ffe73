"""Fine-tuning a sequence classifier (or regressor): data in, bundle out."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import random
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sqb_tf import heads
from sqb_tf.checkpoint import bundle
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.files import staged_file, writing
from sqb_tf.preprocessing import Preprocessor, check_seq_length
from sqb_tf.progress import say
from sqb_tf.tasks.delimited import Example
from sqb_tf.tasks.metrics import scores
from sqb_tf.tasks.tagging import tags_of
from sqb_tf.tasks.task import Split, Task, targets
from sqb_tf.tokenizer import (
    MIN_VOCAB_SIZE,
    WordPieceTokenizer,
    learn_vocabulary,
    read_vocabulary,
)
from sqb_tf.training.callbacks import (
    RunState,
    SaveState,
    ShowProgress,
    StopAtNaN,
    TensorBoardCurves,
)
from sqb_tf.training.distillation import KINDS as DISTILLED_KINDS
from sqb_tf.training.distillation import DistillationLoss, load_teacher, teacher_logits
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.pipeline import (
    Unlabelled,
    example_stream,
    prediction_batches,
    training_batches,
)

CALIBRATION_EXAMPLES = 64
# A bound of half a point of accuracy allows 2 of so many examples to turn; 256 would allow one.
VERIFICATION_EXAMPLES = 512
# The vocabulary is learned from so many texts at most: its word counts are held in memory.
VOCABULARY_EXAMPLES = 500_000
PREDICTION_BATCH = 64
# Default learning rates: of fresh weights, and of a bundle's.
SCRATCH_RATE, TRAINED_RATE = 1e-3, 1e-4
PRECISIONS = ("float32", "mixed_bfloat16")
# In the folder of a run's state.
RUN_RECORD, BEST_WEIGHTS, TEACHER_LOGITS = "run.json", "best.weights.h5", "teacher.npy"


@dataclasses.dataclass(frozen=True)
class FinetuneOptions:
    """What shapes a run. Two runs with equal options on CPU give equal weights."""

    preset: str | None = "squeezebert-tiny"  # or
    init: str | None = None  # a bundle to start from
    vocabulary: str | None = None  # vocab.txt; None: learn one from the training texts
    vocab_size: int = 6000  # of a learned vocabulary
    lowercase: bool = True
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float | None = None  # None: 1e-3 from scratch, 1e-4 from a bundle
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    seq_length: int = 128  # tokens, the special ones included
    dropout: float | None = None  # None: the config's
    evaluate_every: int = 500  # steps between dev evaluations, which also end each epoch
    # What layers compute in, as Keras names it. Weights and the bundle are float32 always.
    precision: str = "float32"
    # A bundle to learn from beside the labels (distillation.py), and how.
    teacher: str | None = None
    temperature: float = 2.0
    alpha: float = 0.5  # the teacher's share of the loss
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.init is None):
            raise InputError("give either preset or init, not both")
        if self.init is not None and (self.dropout is not None or self.vocabulary is not None):
            raise InputError(
                "dropout and vocabulary go with a preset: the bundle of init has its own"
            )
        least_values = dict(epochs=1, batch_size=1, evaluate_every=1, vocab_size=MIN_VOCAB_SIZE)
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}: expected at least {least}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate {self.learning_rate}: expected a number above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay {self.weight_decay}: expected 0 or above")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout}: expected 0 <= rate < 1")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision}: expected one of {', '.join(PRECISIONS)}")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature {self.temperature}: expected a number above 0")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha {self.alpha}: expected 0 to 1")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed}: expected 0 to 2**32 - 1")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup {self.warmup}: expected 0 <= share < 1")

    @property
    def peak_rate(self) -> float:
        """The highest learning rate: the given one, or what suits fresh or trained weights."""
        if self.learning_rate is not None:
            return self.learning_rate
        return SCRATCH_RATE if self.init is None else TRAINED_RATE


def finetune(
    task: Task,
    output: str | Path,
    options: FinetuneOptions,
    resume: bool = False,
    save_every: int | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Fine-tunes on `task` and writes the bundle of the best epoch to `output`.

    The run keeps its state in `OUTPUT.training` and removes it at the end. With `resume` it goes on
    from the last state there, with the same data order; without, it starts anew.

    Returns:
        The contents of the bundle's `metrics.json`.

    Raises:
        InputError: bad data or options, or a `resume` of a run with other ones.
    """
    output = Path(output)
    if save_every is not None and save_every < 1:
        raise InputError(f"save_every {save_every}: expected at least 1")
    bundle.check_target(output)
    start = time.monotonic()
    # The same seed gives the same run only if no kernel sums in the order its threads finish.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(options.seed)
    with _computing_in(options.precision):
        source = _source(options)
        say(f"reading {task.data}")
        labels, num_examples = task.survey()
        data = {"labels": labels, "examples": num_examples}
        work = _open_work(output, task, options, resume, data)
        model, tokenizer = _build(task, labels, options, work, source)
        logits = None
        if options.teacher is not None:
            with _computing_in("float32"):
                teacher = load_teacher(options.teacher)
            logits = teacher_logits(teacher, task, labels, num_examples, work / TEACHER_LOGITS)
        run = _Run(task, options, labels, tokenizer, model, num_examples, work, logits)
        history = run.train(save_every)

    model, value = run.best()
    metrics = {
        "metric": {"name": task.metric_name, "value": value},
        "best_epoch": history["best_epoch"],
        "best_step": history["best_step"],
        "train_examples": num_examples,
        "dev_examples": history["dev_examples"],
        "parameters": model.count_params(),
        "seconds": round(time.monotonic() - start, 1),
        "options": dataclasses.asdict(options),
    }
    bundle.save(
        output,
        model,
        tokenizer.vocabulary,
        labels,
        bundle.TaskInfo(
            task=task.name,
            kind=task.kind,
            paired=task.columns.pair is not None,
            seq_length=options.seq_length,
            lowercase=tokenizer.lowercase,
            metric=metrics["metric"],
            data=str(task.data),
            command=command,
        ),
        calibration=_sample(task.split("train"), CALIBRATION_EXAMPLES),
        verification=_sample(task.split("dev"), VERIFICATION_EXAMPLES),
        metrics=metrics,
        logs=work / "logs",
    )
    (work / RUN_RECORD).unlink()  # first: without it, what a kill leaves here is no run to resume
    shutil.rmtree(work)
    return metrics


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


@contextlib.contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Models built in this context compute in `precision`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _source(options: FinetuneOptions) -> Any:
    """The model of `init`, if any; `InputError` for bad options while nothing is written yet."""
    source = None if options.init is None else bundle.load(options.init)
    config = SqueezeBertConfig.from_preset(options.preset) if source is None else source.config
    check_seq_length(options.seq_length, config.max_position_embeddings)
    if options.vocabulary is not None:
        read_vocabulary(options.vocabulary)
    if options.teacher is not None:
        bundle.read_info(options.teacher, DISTILLED_KINDS)
    return source


def _open_work(
    output: Path, task: Task, options: FinetuneOptions, resume: bool, data: dict[str, Any]
) -> Path:
    """The folder of the run's state, checked to be of the same run on the same `data` if resumed."""
    work = output.with_name(output.name + ".training")
    record = work / RUN_RECORD
    ours = {
        **data,
        "task": task.name,
        "data": str(task.data.resolve()),
        "columns": dataclasses.asdict(task.columns),
        "limit": task.limit,
        **dataclasses.asdict(options),
    }
    if resume and record.is_file():
        try:
            theirs = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{record}: cannot be read: {error}: start anew without --resume"
            ) from None
        for name, value in ours.items():
            if theirs.get(name) != value:
                flag = name.replace("_", "-")
                raise InputError(
                    f"--resume: the run in {work} has {flag} {theirs.get(name)!r}, not {value!r}: "
                    "repeat its flags, or start anew without --resume"
                )
        return work
    if resume:
        say(f"nothing to resume at {work}: starting from the beginning")
    with writing(work):
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
    with staged_file(record) as staged:
        staged.write_text(json.dumps(ours, indent=2), encoding="utf-8")
    return work


def _build(
    task: Task,
    labels: list[str],
    options: FinetuneOptions,
    work: Path,
    source: Any,
) -> tuple[Any, WordPieceTokenizer]:
    """The model and its tokenizer, new or from the bundle of `init`."""
    if source is not None:
        model, tokenizer = source, source.tokenizer
        if source.labels != labels or source.info.task.kind != task.kind:
            # Another task: the encoder comes along, the head starts anew.
            model = heads.build(task.kind, source.config, len(labels))
            encoder = getattr(source, "backbone", source)
            model.backbone.set_weights(encoder.get_weights())
        return model, tokenizer
    vocabulary = _vocabulary(task, options, work)
    overrides: dict[str, Any] = {"vocab_size": len(vocabulary)}
    if options.dropout is not None:
        overrides["hidden_dropout_prob"] = options.dropout
        overrides["attention_probs_dropout_prob"] = options.dropout
    config = SqueezeBertConfig.from_preset(options.preset, **overrides)
    tokenizer = WordPieceTokenizer(vocabulary, options.lowercase)
    return heads.build(task.kind, config, len(labels)), tokenizer


def _vocabulary(task: Task, options: FinetuneOptions, work: Path) -> list[str]:
    """The user's vocabulary, or one learned from the training texts (once for a run)."""
    if options.vocabulary is not None:
        return read_vocabulary(options.vocabulary)
    learned = work / "vocab.txt"
    if not learned.is_file():
        say(f"learning a vocabulary of {options.vocab_size} tokens")
        examples = itertools.islice(task.split("train"), VOCABULARY_EXAMPLES)
        texts = [text for e in examples for text in (e.text, e.pair) if text is not None]
        vocabulary = learn_vocabulary(texts, options.vocab_size, options.lowercase)
        with staged_file(learned) as staged:
            staged.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return read_vocabulary(learned)


def _sample(split: Split, size: int) -> list[Example]:
    """A uniform sample in one pass (reservoir sampling), the same every time."""
    choose = random.Random(0)
    chosen: list[Example] = []
    for index, example in enumerate(split):
        if index < size:
            chosen.append(example)
        elif (slot := choose.randint(0, index)) < size:
            chosen[slot] = example
    return chosen


class _Run:
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
        logits: np.ndarray | None = None,
    ) -> None:
        self.logits = logits
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
        model.compile(
            adamw(schedule, options.weight_decay),
            DistillationLoss(task.kind, options.temperature, options.alpha)
            if logits is not None
            else keras.losses.MeanSquaredError()
            if regression
            # Of tagged words the mean over those that have a weight; of texts all weigh the same.
            else keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            ),
        )
        self.state = RunState(work / "state", model)
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
        examples = example_stream(split, self.label_ids, self.paired, self.tagged, self.logits)
        self._judge_if_due()  # if killed between a step and its judging
        for epoch in range(int(state.step) // self.steps_per_epoch, options.epochs):
            skip = int(state.step) - epoch * self.steps_per_epoch
            batches = training_batches(
                examples,
                self.preprocessor,
                options.batch_size,
                options.seed,
                epoch,
                self.paired,
                skip,
                self.tagged,
            )
            with warnings.catch_warnings():
                # Heads on every token leave the pooler as it is.
                warnings.filterwarnings("ignore", "Gradients do not exist for variables .'pooler")
                self.model.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    steps_per_epoch=self.steps_per_epoch - skip,
                    shuffle=False,
                    callbacks=callbacks,
                    verbose=0,
                )
        return {
            "best_epoch": (int(state.best_step) - 1) // self.steps_per_epoch + 1,
            "best_step": int(state.best_step),
            "dev_examples": len(self.dev_targets),
        }

    def _judge_if_due(self) -> None:
        """Evaluates dev at the end of an epoch and every `evaluate_every` steps; keeps the best weights."""
        state, step = self.state, int(self.state.step)
        epoch, place = divmod(step, self.steps_per_epoch)
        if step == int(state.judged) or place % self.options.evaluate_every:
            return
        where = (
            f"step {step}/{self.total_steps}" if place else f"epoch {epoch}/{self.options.epochs}"
        )
        value = self.evaluate()
        say(f"{where}: dev {self.task.metric_name} {value:.4f}")
        self.curves.dev({self.task.metric_name: value})
        if value > float(state.best):
            state.best.assign(value)
            state.best_step.assign(step)
            bundle.save_weights(self.model, self.work / BEST_WEIGHTS)
        state.judged.assign(step)
        state.save()

    def best(self) -> tuple[Any, float]:
        """The model of the best point and its metric on dev, in float32, as its bundle computes."""
        value = float(self.state.best)
        if self.options.precision == "float32":
            bundle.load_weights(self.model, self.work / BEST_WEIGHTS)
        else:
            with _computing_in("float32"):
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
