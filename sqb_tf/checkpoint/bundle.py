"""The bundle: a folder with everything that training, conversion and prediction need of a model.

config.json         the architecture (`SqueezeBertConfig`)
model.weights.h5    the weights, as Keras saves them
vocab.txt           the vocabulary, one token per line
labels.txt          label names, in the order of the outputs ("score" for regression, none for other heads)
task.json           what it was trained for (`TaskInfo`)
calibration.jsonl   a sample of training texts, for calibration; may be empty
verification.jsonl  a sample of held-out examples with labels, for verification; may be empty
metrics.json        the metrics that the training reached
model.weights.h5.sha256    of the weights, which loading checks (`checksum.py`)
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.atomic_write import (
    check_room,
    check_writable,
    staged_directory,
    staged_file,
)
from sqb_tf.checkpoint import checksum, pretrained, transformers_folder
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.delimited import SampleFile
from sqb_tf.data.example import Columns, Example
from sqb_tf.errors import InputError, one_line
from sqb_tf.heads import registry
from sqb_tf.heads.head import Head
from sqb_tf.json_schema import Count, read_json_file
from sqb_tf.json_text import to_json
from sqb_tf.line_file import read_lines, write_lines
from sqb_tf.text.encoder import check_seq_length

WEIGHTS = "model.weights.h5"
SAMPLE_COLUMNS = Columns("text", None, "label")
PAIR_COLUMNS = Columns("text", "pair", "label")
_MISMATCH = "damaged, or the weights of another config than config.json's"
_DEFLATE = 1032  # zlib's highest factor
DEFAULT_SEQ_LENGTH = 128  # tokens, where nothing says how long a model's inputs are


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """`task.json`: what a bundle's model was trained for, and how."""

    task: str  # a key of sqb_tf.data.task_specs.TASKS; the head of an imported model
    kind: str  # the head, one of sqb_tf.heads.registry.NAMES
    paired: bool = False  # takes two texts
    seq_length: Count = DEFAULT_SEQ_LENGTH  # longest input of training, in tokens
    lowercase: bool = True
    metric: dict[str, Any] = dataclasses.field(default_factory=dict)  # {"name", "value"} on dev
    data: str = ""
    command: str = ""
    # The head's own settings, such as `SpanSettings` of question answering.
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> TaskInfo:
        """The record of a `task.json`.

        Raises:
            InputError: not such a record; the message names the file.
        """
        info = read_json_file(path, cls)
        if info.kind not in registry.NAMES:
            raise InputError(
                f"{path}: kind {info.kind!r}: expected one of {', '.join(registry.NAMES)}"
            )
        try:
            registry.get(info.kind)(settings=dict(info.settings))
        except (InputError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: settings {info.settings!r:.200}: {one_line(error)}"
            ) from None
        return info


@dataclasses.dataclass(frozen=True)
class BundleContents:
    """Everything that `write` puts into a bundle.

    Attributes:
        model: a Keras model of `sqb_tf.model.heads`.
        vocabulary: tokens in id order, as many as `model.config.vocab_size`.
        labels: label names in the order of the outputs; none for heads without labels.
        task: what the model was trained for.
        calibration: training examples; read once.
        verification: held-out examples; read once.
        metrics: what training reached, JSON-ready.
        logs: a folder whose files are copied into the bundle's own `logs`; None: no logs.
    """

    model: Any
    vocabulary: Sequence[str]
    labels: Sequence[str]
    task: TaskInfo
    calibration: Iterable[Example] = ()
    verification: Iterable[Example] = ()
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    logs: Path | None = None


@dataclasses.dataclass(frozen=True)
class BundleInfo:
    """A bundle without its weights.

    `directory` is None for a model that was never written; `samples` then holds its examples.
    """

    directory: Path | None
    config: SqueezeBertConfig
    vocabulary: list[str]
    labels: list[str]
    task: TaskInfo
    samples: Mapping[str, Sequence[Example]] = dataclasses.field(default_factory=dict)

    @property
    def model_files(self) -> list[Path]:
        """The files of a bundle on disk that decide what its model computes for a text."""
        assert self.directory is not None, "a bundle on disk has a folder"
        return [self.directory / n for n in ("config.json", WEIGHTS, "vocab.txt", "task.json")]

    @property
    def head(self) -> Head:
        """The head, bound to the bundle's labels, pairing and settings."""
        head = registry.get(self.task.kind)
        return head(self.labels, self.task.paired, self.task.settings)

    def sample(self, which: str) -> list[Example]:
        """The `calibration` or `verification` sample.

        Verification examples of heads that are evaluated on labels carry theirs; texts are all that
        calibration needs.
        """
        if self.directory is None:
            return list(self.samples.get(which, ()))
        columns = PAIR_COLUMNS if self.task.paired else SAMPLE_COLUMNS
        if which == "calibration" or self.task.kind not in registry.TASK_NAMES:
            columns = dataclasses.replace(columns, label=None)
        path = self.directory / f"{which}.jsonl"
        return list(SampleFile(path, columns))


def write(directory: str | Path, contents: BundleContents) -> None:
    """Writes a bundle; an earlier one at `directory` is replaced only when this one is complete.

    Raises:
        InputError: it cannot be written.
    """
    with staged_directory(directory) as staged:
        contents.model.config.to_json(staged / "config.json")
        save_weights(contents.model, staged / WEIGHTS)
        checksum.write(staged / WEIGHTS)
        write_lines(staged / "vocab.txt", contents.vocabulary)
        write_lines(staged / "labels.txt", contents.labels)
        _write_json(staged / "task.json", dataclasses.asdict(contents.task))
        _write_json(staged / "metrics.json", contents.metrics)
        _write_examples(staged / "calibration.jsonl", contents.calibration)
        _write_examples(staged / "verification.jsonl", contents.verification)
        if contents.logs is not None:
            (staged / "logs").mkdir()
            for file in contents.logs.iterdir():
                shutil.copy(file, staged / "logs")


def check_target(directory: str | Path) -> None:
    """`InputError` if a bundle cannot be written at `directory`, or would replace something else."""
    if pretrained.is_name(directory):
        raise InputError(
            f"cannot write {directory}: a checkpoint that ships has that name: take another, or ./{directory}"
        )
    path = Path(directory)
    if path.name in ("", ".."):
        raise InputError(f"cannot write {path}: expected the name of a folder for the bundle")
    if path.is_dir():
        if any(path.iterdir()) and not (path / "task.json").is_file():
            raise InputError(
                f"cannot write {path}: the folder holds something else than a bundle: name a new one"
            )
        path = path / WEIGHTS
    elif path.exists():
        raise InputError(f"cannot write {path}: it is a file: name a folder for the bundle")
    check_writable(path)


def read_info(directory: str | Path, heads: Collection[str] = registry.NAMES) -> BundleInfo:
    """A bundle without its weights. Imports no TensorFlow.

    Args:
        directory: the bundle, or the name of a checkpoint that ships.
        heads: the heads that the caller can use.

    Raises:
        InputError: a missing or wrong folder or file, which the message names; a head that is not in
            `heads`.
    """
    directory = pretrained.resolve(directory)
    if directory.is_file():
        raise InputError(
            f"{directory}: a file; expected a bundle, the folder that training writes "
            "(a package goes with --package)"
        )
    if not directory.is_dir():
        raise InputError(
            f"{directory}: no such folder; expected a bundle, as `sqb finetune` writes it, or a checkpoint "
            f"that ships: {', '.join(pretrained.CHECKPOINTS)}"
        )
    if transformers_folder.is_folder(directory):
        raise InputError(
            f"{directory}: a folder of transformers, not a bundle: make one of it with "
            f"`sqb import_hf --source {directory}`"
        )
    for name in ("config.json", "vocab.txt", "labels.txt", "task.json", WEIGHTS):
        if not (directory / name).is_file():
            raise InputError(f"{directory}: not a bundle: {name} is missing")
    info = BundleInfo(
        directory,
        SqueezeBertConfig.from_json(directory / "config.json"),
        read_lines(directory / "vocab.txt", "a vocabulary"),
        read_lines(directory / "labels.txt", "label names"),
        TaskInfo.read(directory / "task.json"),
    )
    try:
        check_seq_length(info.task.seq_length, info.config.max_position_embeddings)
    except InputError as error:
        raise InputError(f"{directory / 'task.json'}: {error}") from None
    if info.task.kind not in heads:
        raise InputError(
            f"{directory}: a bundle for {info.task.kind}: expected one for {' or '.join(heads)}; "
            "fine-tune from it with `sqb finetune --init`"
        )
    return info


def load(directory: str | Path, heads: Collection[str] = registry.NAMES) -> LoadedModel:
    """The built Keras model of a bundle, with `.info`, `.labels`, `.tokenizer` and `.preprocessor`.

    Args:
        directory: the bundle.
        heads: the heads that the caller can use.

    Raises:
        InputError: as `read_info`; a truncated weight file; weights of another config.
    """
    info = read_info(directory, heads)
    if len(info.vocabulary) != info.config.vocab_size:
        raise InputError(
            f"{directory}: vocab.txt has {len(info.vocabulary)} tokens, config.json says "
            f"vocab_size {info.config.vocab_size}"
        )
    from sqb_tf.text.tokenizer import WordPieceTokenizer

    try:
        tokenizer = WordPieceTokenizer(info.vocabulary, info.task.lowercase)
    except InputError as error:
        raise InputError(f"{directory}/vocab.txt: {error}") from None
    return attach(load_model(info), info, tokenizer)


def attach(model: Any, info: BundleInfo, tokenizer: Any) -> LoadedModel:
    """`model`, with what `load` promises: `.info`, `.labels`, `.tokenizer` and `.preprocessor`."""
    from sqb_tf.text.preprocessing import Preprocessor

    model.info, model.labels, model.tokenizer = info, info.labels, tokenizer
    model.preprocessor = Preprocessor(tokenizer, info.task.seq_length)
    return model


def load_model(info: BundleInfo) -> Any:
    """The Keras model alone, on any Keras backend; `InputError` as `load`."""
    from sqb_tf.model import heads

    assert info.directory is not None, "a bundle on disk has a folder"
    path = info.directory / WEIGHTS
    _check_config(info.config, path)
    pretrained.check_weights(path)
    checksum.check(path)
    model = heads.build(info.task.kind, info.config, len(info.labels), info.task.settings)
    load_weights(model, path)
    return model


def save_weights(model: Any, path: Path) -> None:
    """Writes the weights without the optimizer's state: a complete file or none.

    Raises:
        InputError: it cannot be written, or a weight is not finite.
    """
    import keras

    _check_finite(model, path)
    with staged_file(path) as staged:
        # HDF5 crashes the process on a full disk.
        check_room(staged.parent, _stored_bytes(model))
        keras.saving.save_weights(model, staged, objects_to_skip=_optimizers(model))


def load_weights(model: Any, path: Path) -> None:
    """The inverse of `save_weights`.

    Raises:
        InputError: a damaged file, or the weights of another model.
    """
    import keras

    arrays = len(_stored_sizes(path))
    try:
        keras.saving.load_weights(model, path, objects_to_skip=_optimizers(model))
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: damaged or not a weight file: {one_line(error)}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {_MISMATCH}: {one_line(error)}") from None
    if arrays != len(model.weights):  # Keras ignores surplus arrays
        raise InputError(f"{path}: {_MISMATCH}: {arrays} arrays, not {len(model.weights)}")
    _check_finite(model, path)


def _check_finite(model: Any, path: Path) -> None:
    """`InputError` for a weight that is NaN or infinite; 51 million take 0.15 s."""
    import keras

    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(f"{path}: {weight.path} has values that are not finite: train again")


def _optimizers(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    return [] if optimizer is None else [optimizer]


def _check_config(config: SqueezeBertConfig, path: Path) -> None:
    """`InputError` if a config is of a larger model than the weights', before it is built."""
    sizes = _stored_sizes(path)
    stored = sum(sizes.values())
    if config.min_weights > stored or config.num_hidden_layers > len(sizes):
        raise InputError(
            f"{path}: {_MISMATCH}: {stored:,} weights in {len(sizes)} arrays, for {config.min_weights:,} or "
            f"more in {config.num_hidden_layers:,} layers"
        )


def _stored_sizes(path: Path) -> dict[str, int]:
    """Elements of each array in a Keras weight file, without an optimizer's state.

    Raises:
        InputError: not such a file, or its arrays take more than any compression puts into it.
    """
    import h5py

    sizes: dict[str, int] = {}
    stored_bytes = 0

    def add(name: str, item: Any) -> None:
        nonlocal stored_bytes
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            sizes[name] = math.prod(item.shape or ())
            stored_bytes += sizes[name] * item.dtype.itemsize

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged or not a weight file: {one_line(error)}") from None
    if stored_bytes > _DEFLATE * path.stat().st_size:
        raise InputError(f"{path}: damaged: says that it holds {stored_bytes:,} bytes")
    return sizes


def _stored_bytes(model: Any) -> int:
    """An upper bound on a weight file's size: HDF5 adds some 2 kB to each array."""
    return sum(4 * math.prod(w.shape) + 8192 for w in model.weights) + 65536


def _write_examples(path: Path, examples: Iterable[Example]) -> None:
    """One JSON object per line, without the fields that are None."""
    rows = ({k: v for k, v in dataclasses.asdict(e).items() if v is not None} for e in examples)
    write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(to_json(value, indent=2) + "\n", encoding="utf-8")
