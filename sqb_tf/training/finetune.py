"""Fine-tuning: data in, bundle out. The loop is `run.py`'s."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.example import Example
from sqb_tf.data.task import Split, Task
from sqb_tf.errors import InputError
from sqb_tf.heads.registry import CLASSES, kind_of
from sqb_tf.model import heads
from sqb_tf.progress import log
from sqb_tf.text.preprocessing import check_seq_length
from sqb_tf.text.tokenizer import WordPieceTokenizer, learn_vocabulary
from sqb_tf.text.vocabulary import read_vocabulary
from sqb_tf.training.distillation import matched_layers
from sqb_tf.training.dtype_policy import computing_in
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.run_directory import close_work, open_work
from sqb_tf.training.survey import survey
from sqb_tf.training.teacher import find_teacher, teacher_outputs
from sqb_tf.training.trainer import Run

CALIBRATION_EXAMPLES = 64
# A bound of half a point of accuracy allows 2 of so many examples to turn; 256 would allow one.
VERIFICATION_EXAMPLES = 512
# The vocabulary is learned from so many texts at most: its word counts are held in memory.
VOCABULARY_EXAMPLES = 500_000


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
    with computing_in(options.precision):
        source = _source(task, options)
        settings = CLASSES[task.head].settings_of(
            task.spec.settings, options.seq_length, options.doc_stride
        )
        teacher = None if options.teacher is None else find_teacher(options.teacher)
        log(f"reading {task.data}")
        labels, num_examples = survey(task)
        if teacher is not None:
            teacher.check(task, labels)
        data = {"labels": labels, "examples": num_examples}
        work = open_work(output, _identity(task, options, data), resume)
        model, tokenizer = _build(task, labels, options, work, source)
        taught = None
        if teacher is not None:
            layers = []
            if options.hidden_weight:
                layers = matched_layers(model.config, teacher)
            with computing_in("float32"):
                taught = teacher_outputs(teacher, task, labels, num_examples, work, layers)
        kind = kind_of(task.head, labels, task.paired, settings)
        run = Run(task, kind, options, tokenizer, model, num_examples, work, taught)
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
    contents = bundle.BundleContents(
        model,
        tokenizer.vocabulary,
        labels,
        bundle.TaskInfo(
            task=task.name,
            kind=task.head,
            paired=task.paired,
            seq_length=options.seq_length,
            lowercase=tokenizer.lowercase,
            metric=metrics["metric"],
            data=str(task.data),
            command=command,
            settings=settings,
        ),
        calibration=_sample(task.split("train"), CALIBRATION_EXAMPLES),
        verification=_sample(task.split("dev"), VERIFICATION_EXAMPLES),
        metrics=metrics,
        logs=work / "logs",
    )
    bundle.write(output, contents)
    close_work(work)
    return metrics


def _source(task: Task, options: FinetuneOptions) -> Any:
    """The model of `init`, if any; `InputError` for bad options while nothing is written yet."""
    source = None if options.init is None else bundle.load(options.init)
    config = SqueezeBertConfig.from_preset(options.preset) if source is None else source.config
    check_seq_length(options.seq_length, config.max_position_embeddings)
    if task.paired and config.type_vocab_size < 2:
        raise InputError(
            f"{options.init}: its type_vocab_size is {config.type_vocab_size}, so it takes single texts: "
            f"expected at least 2 for the pairs of {task.data}"
        )
    if options.vocabulary is not None:
        read_vocabulary(options.vocabulary)
    return source


def _identity(task: Task, options: FinetuneOptions, data: dict[str, Any]) -> dict[str, Any]:
    """What makes a run what it is."""
    return {
        **data,
        "task": task.name,
        "data": str(task.data.resolve()),
        "columns": dataclasses.asdict(task.columns),
        "limit": task.limit,
        **dataclasses.asdict(options),
    }


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
        if source.labels != labels or source.info.task.kind != task.head:
            # Another task: the encoder comes along, the head starts anew.
            model = heads.build(task.head, source.config, len(labels))
            encoder = getattr(source, "backbone", source)
            model.backbone.set_weights(encoder.get_weights())
        return model, tokenizer
    vocabulary = _vocabulary(task, options, work)
    config = SqueezeBertConfig.for_training(options.preset, len(vocabulary), options.dropout)
    tokenizer = WordPieceTokenizer(vocabulary, options.lowercase)
    return heads.build(task.head, config, len(labels)), tokenizer


def _vocabulary(task: Task, options: FinetuneOptions, work: Path) -> list[str]:
    """The user's vocabulary, or one learned from the training texts (once for a run)."""
    if options.vocabulary is not None:
        return read_vocabulary(options.vocabulary)
    learned = work / "vocab.txt"
    if not learned.is_file():
        log(f"learning a vocabulary of {options.vocab_size} tokens")
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
