"""The bundle: a folder that is enough to go on from, anywhere.

config.json         the architecture (`SqueezeBertConfig`)
model.weights.h5    the weights, as Keras saves them
vocab.txt           the vocabulary, one token a line
labels.txt          label names, in the order of the outputs ("score" for regression)
task.json           what it was trained for (`TaskInfo`)
calibration.jsonl   a sample of training texts, for calibration
verification.jsonl  a sample of held-out examples with labels, for verification
metrics.json        what the training reached
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.config import SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.files import read_lines, staged_directory
from sqb_tf.tasks.delimited import Columns, DelimitedFile, Example

WEIGHTS = "model.weights.h5"
SAMPLE_COLUMNS = Columns("text", None, "label")
PAIR_COLUMNS = Columns("text", "pair", "label")


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """`task.json`: what a bundle's model was trained for, and how."""

    task: str  # a key of sqb_tf.tasks.task.TASKS
    kind: str  # "classification" or "regression"
    paired: bool  # takes two texts
    seq_length: int  # longest input of training, in tokens
    lowercase: bool
    metric: dict[str, Any]  # {"name", "value"} on the dev split
    data: str
    command: str

    @classmethod
    def read(cls, path: Path) -> TaskInfo:
        """The record of a `task.json`; `InputError` names the file if it is not one."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: cannot be read as a task record: {error}") from None


@dataclasses.dataclass(frozen=True)
class BundleInfo:
    """A bundle without its weights."""

    directory: Path
    config: SqueezeBertConfig
    vocabulary: list[str]
    labels: list[str]
    task: TaskInfo

    def sample(self, which: str) -> list[Example]:
        """The examples of the `calibration` or `verification` sample."""
        columns = PAIR_COLUMNS if self.task.paired else SAMPLE_COLUMNS
        return list(DelimitedFile(self.directory / f"{which}.jsonl", columns))


def save(
    directory: str | Path,
    model: Any,
    vocabulary: Sequence[str],
    labels: Sequence[str],
    task: TaskInfo,
    calibration: Iterable[Example],
    verification: Iterable[Example],
    metrics: dict[str, Any],
) -> None:
    """Writes a bundle; an earlier one at `directory` is replaced only when this one is whole."""
    with staged_directory(directory) as staged:
        model.config.to_json(staged / "config.json")
        model.save_weights(staged / WEIGHTS)
        _write_lines(staged / "vocab.txt", vocabulary)
        _write_lines(staged / "labels.txt", labels)
        _write_json(staged / "task.json", dataclasses.asdict(task))
        _write_json(staged / "metrics.json", metrics)
        for name, examples in (("calibration", calibration), ("verification", verification)):
            rows = (
                {k: v for k, v in dataclasses.asdict(e).items() if v is not None} for e in examples
            )
            _write_lines(
                staged / f"{name}.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows)
            )


def read_info(directory: str | Path) -> BundleInfo:
    """Everything of a bundle but its weights. Imports no TensorFlow.

    Raises:
        InputError: naming the folder or the file in it that is missing or wrong.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(
            f"{directory}: no such folder; expected a bundle, as tools/finetune.py writes it"
        )
    for name in ("config.json", "vocab.txt", "labels.txt", "task.json", WEIGHTS):
        if not (directory / name).is_file():
            raise InputError(f"{directory}: not a bundle: {name} is missing")
    return BundleInfo(
        directory,
        SqueezeBertConfig.from_json(directory / "config.json"),
        read_lines(directory / "vocab.txt"),
        read_lines(directory / "labels.txt"),
        TaskInfo.read(directory / "task.json"),
    )


def load(directory: str | Path) -> Any:
    """The model of a bundle, built, with `.tokenizer`, `.labels`, `.preprocessor` and `.info`.

    Raises:
        InputError: as `read_info`; a truncated weight file; weights of another config.
    """
    from sqb_tf.heads import SqueezeBertClassifier
    from sqb_tf.preprocessing import Preprocessor
    from sqb_tf.tokenizer import WordPieceTokenizer

    info = read_info(directory)
    if len(info.vocabulary) != info.config.vocab_size:
        raise InputError(
            f"{directory}: vocab.txt has {len(info.vocabulary)} tokens, config.json says "
            f"vocab_size {info.config.vocab_size}"
        )
    try:
        tokenizer = WordPieceTokenizer(info.vocabulary, info.task.lowercase)
    except InputError as error:
        raise InputError(f"{directory}/vocab.txt: {error}") from None
    model = SqueezeBertClassifier(info.config, num_labels=len(info.labels))
    load_weights(model, Path(directory) / WEIGHTS)
    model.info, model.labels, model.tokenizer = info, info.labels, tokenizer
    model.preprocessor = Preprocessor(tokenizer, info.task.seq_length)
    return model


def load_weights(model: Any, path: Path) -> None:
    """`model.load_weights`, with an `InputError` for a file that is damaged or of another model."""
    try:
        model.load_weights(path)
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: damaged or not a weight file: {_first_line(error)}") from None
    except ValueError as error:
        raise InputError(
            f"{path}: these are weights of another config than config.json's: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip("'\" ")[:200]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
