"""Options that several tools share, and what they stand for: a task, held-out examples."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task import Task
from sqb_tf.data.task_specs import TASKS
from sqb_tf.data.texts import read_texts
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.long_texts import POLICIES
from sqb_tf.options import check_choices, option
from sqb_tools.arguments import share


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Examples in files: the layout, and the columns of a TSV or CSV file or the keys of a JSONL file."""

    data: str | None = option(
        None,
        "folder with train and dev files, or one file: .tsv, .csv, .jsonl, or SQuAD's .json",
        group="data",
        metavar="PATH",
    )
    task: str | None = option(
        "classification",
        "what is predicted, or the published data set whose layout the files have",
        group="data",
        choices=tuple(TASKS),
    )
    text_column: str = option("text", "column of the text", group="data", metavar="COLUMN")
    pair_column: str | None = option(
        None,
        "column of the second text, for pairs",
        group="data",
        metavar="COLUMN",
        fallback="single texts",
    )
    label_column: str = option(
        "label", "column of the label or number", group="data", metavar="COLUMN"
    )
    label_separator: str = option(
        ",",
        "multi_label: what separates the labels of a row",
        group="data",
        metavar="TEXT",
    )
    test: str | None = option(
        None,
        "labelled examples that training never sees: a file, or the share of the training data that is held "
        "out for it, as 20%",
        group="data",
        metavar="FILE or SHARE",
        fallback="none; --split test is the folder's own test file",
    )
    limit: int | None = option(
        None, "use only the first N examples of each split", group="data", fallback="all"
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.label_separator:
            raise InputError("--label-separator '': expected at least one character")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit {self.limit}: expected at least 1")

    def load_task(self, default: str = "") -> Task:
        """The task of these options, or the `default` one in the same files; no file is read yet."""
        assert self.data is not None  # the tools require --data, or ask for it first
        columns = Columns(
            self.text_column, self.pair_column, self.label_column, self.label_separator
        )
        return Task(self.task or default, self.data, columns, self.limit, self._test())

    def _test(self) -> str | int | None:
        """A file, or percent."""
        if self.test is None or Path(self.test).exists():
            return self.test
        if not re.fullmatch(r"[\d.]+%?", self.test):
            raise InputError(f"--test {self.test}: no such file; expected one, or a share as 20%")
        percent = 100 * share(self.test, "--test")
        if abs(percent - round(percent)) > 1e-9:
            raise InputError(f"--test {self.test}: expected whole percent, as 20%")
        return round(percent)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutOptions(DataOptions):
    """Held-out examples to verify on."""

    data: str | None = option(
        None,
        "folder or file of held-out examples; for a head without labels, a file with one text per line",
        group="data",
        metavar="PATH",
        fallback="the held-out sample in the bundle",
    )
    task: str | None = option(
        None,
        "layout of --data",
        group="data",
        choices=tuple(TASKS),
        fallback="the bundle's own task",
    )
    split: str = option("dev", "split of --data: dev or test", group="data")
    limit: int | None = option(
        None, "use only the first N held-out examples", group="data", fallback="all"
    )

    @staticmethod
    def what(info: Any) -> str:
        """What a bundle's `--data` has."""
        if info.task.kind not in registry.TASK_NAMES:
            return "held-out texts with --data FILE, one per line"
        return "held-out examples with --data, in the form of its training data"

    def examples(self, info: Any) -> tuple[list[Example], str]:
        """The examples for a bundle, and where they are from.

        Args:
            info: the bundle's `BundleInfo`.

        Raises:
            InputError: they cannot be read, or there are none.
        """
        if self.data is None:
            sample = info.sample("verification")[: self.limit]
            if not sample:
                raise no_samples(info, [self.what(info)])
            return sample, f"{info.directory}/verification.jsonl"
        if info.task.kind not in registry.TASK_NAMES:  # a head without labels
            texts = read_texts(self.data, paired=info.task.paired)
            rows = [(text, None) if isinstance(text, str) else text for text in texts]
            return [Example(*row) for row in rows][: self.limit], self.data
        split = self.load_task(info.task.task).split(self.split)
        return list(split), split.name


def no_samples(info: Any, needed: Sequence[str]) -> InputError:
    """The error for a bundle without the samples that a conversion or verification takes by default."""
    return InputError(
        f"{info.directory}: no samples of texts in it (made with --no-samples, `sqb share` or an import): "
        f"name {' and '.join(needed)}"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How answers are chosen."""

    abstain_below: float | None = option(
        None,
        "classification: give no label where the best one scores less",
        group="model",
        fallback="what training fitted (sqb finetune --abstain), else 0",
    )
    threshold: float | None = option(
        None,
        "multi_label: give every label that scores this or more",
        group="model",
        fallback="what training fitted for each label, else 0.5",
    )
    long_texts: str | None = option(
        None,
        "what is seen of a single text longer than the input: its beginning (truncate), its first quarter "
        "and its end (head-tail), or all of it (windows)",
        group="model",
        choices=POLICIES,
        fallback="as the model was trained, else truncate",
    )
    max_answer_length: int | None = option(
        None,
        "question answering: most tokens of an answer",
        group="question answering",
        fallback="30",
    )
    n_best_size: int | None = option(
        None,
        "question answering: most answers to a question",
        group="question answering",
        fallback="20",
    )
    null_threshold: float | None = option(
        None,
        "question answering: give the empty answer where it scores more than this above the best one",
        group="question answering",
        fallback="0 for a model of squad2, never for one of squad",
    )
    exact_tokens: bool = option(
        False,
        "question answering: answers may also begin and end inside a word, at any token",
        group="question answering",
    )

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that were used, under the names of the heads' settings."""
        values = {
            "max_answer_length": self.max_answer_length,
            "n_best": self.n_best_size,
            "null_threshold": self.null_threshold,
            "exact_tokens": self.exact_tokens or None,
            "abstain_below": self.abstain_below,
            "thresholds": self.threshold,
            "long_texts": self.long_texts,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplacingOptions:
    """Whether a folder that is there is replaced."""

    overwrite: bool = option(
        False,
        "replace the folder of --output; without it, one that is there is an error",
        group="saving",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavingOptions(ReplacingOptions):
    """Where a training run writes, and whether it resumes."""

    output: str | None = option(None, "bundle to write", group="saving", metavar="DIR")
    resume: bool = option(False, "resume from the last saved step", group="saving")
    save_every: int | None = option(
        None, "steps between saved states", group="saving", fallback="every 60 seconds"
    )
    samples: bool = option(
        True,
        "write the bundle without samples of the texts, command line, paths and logs; to convert it, name "
        "--data and --calibration",
        group="saving",
        names="--no-samples",
    )

    def __post_init__(self) -> None:
        if self.save_every is not None and self.save_every < 1:
            raise InputError(f"save_every {self.save_every}: expected at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NpuOptions:
    """Where Qualcomm's software is."""

    npu_python: str | None = option(
        None,
        "Python of an environment that has onnxruntime, onnx and onnxruntime-qnn: Qualcomm's compiler and "
        "emulator",
        group="compilation",
        metavar="FILE",
        fallback=".venv-npu/bin/python, here or beside the environment that runs",
    )
