"""From a Keras model and its tokenizer to a bundle, on disk or in memory, with defaults for the rest."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.checkpoint import source
from sqb_tf.checkpoint.bundle import (
    DEFAULT_SEQ_LENGTH,
    BundleContents,
    BundleInfo,
    TaskInfo,
    attach,
    check_target,
    write,
)
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.data.example import Example
from sqb_tf.data.labels import clean_label
from sqb_tf.data.task_specs import TASKS
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.progress import warn
from sqb_tf.text.vocabulary import read_vocabulary

# The token of an embedding row that the vocabulary does not use. No text has it: the tokenizer splits at
# its brackets.
FILLER = "[unused:{}]"
# A text, a pair of texts, or an example with its label.
Sample = str | tuple[str, str] | Example


def save(
    model: Any,
    directory: str | Path,
    *,
    tokenizer: Any = None,
    labels: Sequence[str] | None = None,
    task: str | TaskInfo | None = None,
    seq_length: int | None = None,
    lowercase: bool | None = None,
    calibration: Iterable[Sample] | None = None,
    verification: Iterable[Sample] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Writes a Keras model of `sqb_tf` as a bundle, which `sqb_tf.load` and every tool open.

    A bundle at `directory` is replaced, once the new one is complete. For a model of `sqb_tf.load`, the
    defaults are its bundle's own values.

    Args:
        model: a model of `sqb_tf`, such as `SqueezeBertClassifier`.
        directory: the bundle's folder.
        tokenizer: a `WordPieceTokenizer`, a `Preprocessor`, or the path of a `vocab.txt`. Rows
            of embeddings beyond its tokens are kept for tokens that no text has, and a warning is logged.
        labels: label names in the order of the outputs. Needed for classification and tagging; default
            "score" for regression.
        task: a name for `--task`, such as "sst2", or the whole record; default: the model's head.
            A classifier with one output is a regression. Whether the model takes pairs is told by the
            samples, else by the columns of a published task, else by the bundle.
        seq_length: longest input in tokens; default: the preprocessor's, else 128 or the model's
            positions if those are fewer.
        lowercase: whether text is lowercased; default: as the tokenizer does, True for a path.
        calibration: training texts (or pairs), which conversion to int8 and smaller needs; default: none.
        verification: held-out examples (`sqb_tf.Example`) with labels where the head has a metric;
            default: none.
        metrics: what training reached, JSON-ready.

    Raises:
        InputError: no tokenizer; labels, task, samples or vocabulary that do not suit the model; a folder
            that holds something else.
    """
    check_target(directory)
    contents = bundle_contents(
        model,
        tokenizer=tokenizer,
        labels=labels,
        task=task,
        seq_length=seq_length,
        lowercase=lowercase,
        calibration=calibration,
        verification=verification,
        metrics=metrics,
    )
    write(directory, contents)


def as_loaded(model_or_directory: Any, **fields: Any) -> LoadedModel:
    """A model as `sqb_tf.load` gives it, from what that takes, from such a model, or a plain Keras model.

    Args:
        model_or_directory: a plain Keras model needs `tokenizer` (and `labels`), and gets the attributes of a
            loaded one.
        fields: arguments of `save`; None stands for the default.

    Raises:
        InputError: as `load` and `save`; fields for a bundle's folder, which has its own.
    """
    fields = {name: value for name, value in fields.items() if value is not None}
    if isinstance(model_or_directory, (str, Path)):
        if fields:
            raise InputError(
                f"{model_or_directory}: a bundle has its own {', '.join(fields)}, which only a Keras model "
                "needs"
            )
        return source.load(model_or_directory)
    model = model_or_directory
    if not fields and isinstance(getattr(model, "info", None), BundleInfo):
        return model
    contents = bundle_contents(model, **fields)
    samples = {"calibration": contents.calibration, "verification": contents.verification}
    info = BundleInfo(
        None,
        model.config,
        list(contents.vocabulary),
        list(contents.labels),
        contents.task,
        {name: list(examples) for name, examples in samples.items()},
    )
    from sqb_tf.text.tokenizer import WordPieceTokenizer

    return attach(model, info, WordPieceTokenizer(info.vocabulary, info.task.lowercase))


def bundle_contents(
    model: Any,
    *,
    tokenizer: Any = None,
    labels: Sequence[str] | None = None,
    task: str | TaskInfo | None = None,
    seq_length: int | None = None,
    lowercase: bool | None = None,
    calibration: Iterable[Sample] | None = None,
    verification: Iterable[Sample] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> BundleContents:
    """What a bundle of `model` holds; arguments and errors of `save`."""
    known = getattr(model, "info", None)
    known = known if isinstance(known, BundleInfo) else None
    head = _head_name(model, task, known)
    vocabulary, lowercases = _vocabulary(model, tokenizer, known)
    samples = {}
    for name, items in (("calibration", calibration), ("verification", verification)):
        if items is not None:
            samples[name] = [_example(item, f"{name}[{i}]") for i, item in enumerate(items)]
        else:
            samples[name] = [] if known is None else known.sample(name)
    if not isinstance(task, TaskInfo):
        length = seq_length or getattr(tokenizer, "seq_length", None)
        if length is None:
            length = known.task.seq_length if known else DEFAULT_SEQ_LENGTH
            length = min(length, model.config.max_position_embeddings)
        task = _default_task(head, task, list(itertools.chain(*samples.values())), known)
        task = dataclasses.replace(
            task,
            seq_length=length,
            lowercase=lowercases if lowercase is None else lowercase,
        )
    settings = {**task.settings, **registry.get(head).settings_of(model)}
    task = dataclasses.replace(task, settings=settings)
    from sqb_tf.text.encoder import check_seq_length

    check_seq_length(task.seq_length, model.config.max_position_embeddings)
    check_sample("calibration", samples["calibration"], task)
    check_sample("verification", samples["verification"], task, with_labels=True)
    return BundleContents(
        model,
        vocabulary,
        _labels(model, head, labels, known),
        task,
        samples["calibration"],
        samples["verification"],
        {"metric": task.metric} if metrics is None else metrics,
    )


def _default_task(
    head: str, name: str | None, examples: Sequence[Example], known: BundleInfo | None
) -> TaskInfo:
    """The model's bundle's record, if it is for the same task; else a new one."""
    if known is not None and name in (None, known.task.task):
        return known.task
    spec = None if name is None else TASKS.get(name)
    if examples:
        paired = any(example.pair is not None for example in examples)
    elif spec is not None and spec.columns is not None:
        paired = spec.columns.pair is not None
    else:
        paired = known is not None and known.task.paired
    settings = {} if spec is None else dict(spec.settings)
    paired = paired or registry.get(head).always_paired
    return TaskInfo(name or head, head, paired, settings=settings)


def _head_name(model: Any, task: str | TaskInfo | None, known: BundleInfo | None) -> str:
    """The head of a model: by its task, its bundle, its class, in this order."""
    heads = registry.names_of_model(model)
    if not heads:
        raise InputError(
            f"{type(model).__name__}: expected a model of sqb_tf, such as SqueezeBertClassifier"
        )
    if isinstance(task, TaskInfo):
        head = task.kind
    elif task is not None:
        head = registry.get_task_head(TASKS[task].head).name if task in TASKS else task
    elif known is not None:
        return known.task.kind
    else:  # a classifier may have two heads: one output is a regression's
        outputs = getattr(model, "num_labels", 0)
        fixed = {head: registry.get(head).fixed_labels or () for head in heads}
        return next((head for head in heads if len(fixed[head]) == outputs), heads[0])
    if head not in heads:
        raise InputError(
            f"task {getattr(task, 'task', task)!r} is for {head}: a {type(model).__name__} is for "
            f"{' or '.join(heads)}"
        )
    return head


def _vocabulary(model: Any, tokenizer: Any, known: BundleInfo | None) -> tuple[Sequence[str], bool]:
    """A token for each row of the model's word embeddings, and whether text is lowercased."""
    if isinstance(tokenizer, (str, Path)):
        tokens, lowercase = read_vocabulary(tokenizer), True
    elif tokenizer is not None:
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # a preprocessor's
        tokens, lowercase = tokenizer.vocabulary, tokenizer.lowercase
    elif known is not None:
        tokens, lowercase = known.vocabulary, known.task.lowercase
    else:
        raise InputError(
            "the model comes without a tokenizer: give tokenizer=, a WordPieceTokenizer, a Preprocessor "
            "or the path of a vocab.txt"
        )
    filled = fill_vocabulary(tokens, model.config.vocab_size)
    warn_of_unused_rows(tokens, model.config.vocab_size)
    return filled, lowercase


def real_tokens(vocabulary: Sequence[str]) -> list[str]:
    """The inverse of `fill_vocabulary`."""
    return [token for i, token in enumerate(vocabulary) if token != FILLER.format(i)]


def warn_of_unused_rows(tokens: Sequence[str], vocab_size: int) -> None:
    """Says so if a model has more rows of word embeddings than its tokenizer has tokens."""
    if vocab_size > len(tokens):
        warn(
            f"the model has {vocab_size} rows of word embeddings for {len(tokens)} tokens: "
            f"{vocab_size - len(tokens)} rows are never used"
        )


def fill_vocabulary(tokens: Sequence[str], vocab_size: int) -> list[str]:
    """`tokens`, filled up to a model's `vocab_size` with tokens that no text has.

    The published checkpoints have 30,528 rows of embeddings, a multiple of 8, for 30,522 tokens.

    Raises:
        InputError: more tokens than rows, whose ids would have no embedding.
    """
    missing = vocab_size - len(tokens)
    if missing < 0:
        raise InputError(
            f"the tokenizer has {len(tokens)} tokens, the model's config says vocab_size {vocab_size}: "
            "expected at least as many: build the model with vocab_size=len(tokenizer.vocabulary)"
        )
    return [*tokens, *(FILLER.format(i) for i in range(len(tokens), vocab_size))]


def _labels(
    model: Any, head: str, labels: Sequence[str] | None, known: BundleInfo | None
) -> list[str]:
    outputs = getattr(model, "num_labels", 0)
    fixed = registry.get(head).fixed_labels
    if fixed is not None and outputs != len(fixed):
        raise InputError(f"a {head} has {len(fixed)} output, the model has {outputs}")
    if labels is None:
        labels = fixed if known is None else known.labels
    if labels is None:
        raise InputError(
            f"the model has {outputs} outputs without names: give labels=, one name for each"
        )
    if known is None or labels is not known.labels:  # an earlier version kept spaces around them
        labels = [_label(str(label)) for label in labels]
    if len(labels) != outputs:
        raise InputError(f"labels {labels}: expected {outputs} names, one for each output")
    return list(labels)


def _label(name: str) -> str:
    """The name of one label, as `clean_label` has it."""
    try:
        label = clean_label(name)
    except InputError:
        label = ""
    if not label:
        raise InputError(f"label {name!r}: expected names of one line each, none empty")
    return label


def _example(item: Sample, where: str) -> Example:
    example = item if isinstance(item, Example) else None
    if isinstance(item, str):
        example = Example(item)
    elif isinstance(item, tuple) and len(item) == 2:
        example = Example(*item)
    if example is None or not all(
        isinstance(text, str) and text.strip() for text in (example.text, example.pair or "-")
    ):
        raise InputError(
            f"{where}: {item!r}: expected a text, a pair of texts or an sqb_tf.Example"
        )
    return example


def check_sample(
    name: str, examples: Sequence[Example], task: TaskInfo, with_labels: bool = False
) -> None:
    """`InputError` for an example that the model cannot take, or without the label that a metric needs."""
    for index, example in enumerate(examples):
        if (example.pair is not None) != task.paired:
            expected = "pairs of texts" if task.paired else "single texts"
            raise InputError(f"{name}[{index}]: the model takes {expected}")
        if with_labels and task.kind in registry.TASK_NAMES and example.label is None:
            raise InputError(
                f"{name}[{index}]: no label, which the metric of a {task.kind} needs: give "
                "sqb_tf.Example(text, label=name)"
            )
