"""Computes the task's metrics for a bundle or a package on labelled data, and shows what it gets wrong."""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.options import option
from sqb_tf.training.abstention import read_others
from sqb_tools import arguments, entry, results
from sqb_tools.backends import BackendOptions, warn_of_truncation
from sqb_tools.shared_options import AnswerOptions, DataOptions

EPILOG = """examples:
  sqb evaluate --package sst2.tflite --data GLUE/SST-2 --task sst2
  sqb evaluate --model runs/squad --data SQuAD --task squad --predictions answers.json
  sqb evaluate --package reviews.tflite --data reviews.csv --report runs/errors
  sqb evaluate --package int8.tflite --against runs/reviews --data reviews.csv --report runs/changes
  sqb evaluate --package intents.tflite --data intents --others chitchat.txt --report runs/scope"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions(BackendOptions):
    """What is evaluated, on which split, and what is written."""

    split: str = option("dev", "train, dev, test, or another file, as dev_mismatched", group="data")
    report: str | None = option(
        None,
        "also write a folder: a page with scores by class, the confusion matrix and calibration, and every "
        "wrong decision in errors.csv",
        group="output",
        metavar="DIR",
    )
    against: str | None = option(
        None,
        "with --report: another package or bundle, to compare with",
        group="model",
        metavar="FILE or DIR",
    )
    others: str | None = option(
        None,
        "also texts of no class, to see how many get no label (sqb finetune --abstain) and what other "
        "thresholds would do: a table, or a file with one per line",
        group="data",
        metavar="FILE",
    )
    predictions: str | None = option(
        None,
        "also write the predictions in the format of the task's server: GLUE's index and label, CoNLL's "
        "tagged words, SQuAD's JSON of answers by id",
        group="output",
        metavar="FILE",
    )
    nbest: str | None = option(
        None,
        "also write the best answers to each question, as JSON by id",
        group="output",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.against is not None and self.report is None:
            raise InputError("--against goes with --report DIR, which shows the comparison")
        if self.report is not None and Path(self.report).is_file():
            raise InputError(f"--report {self.report}: is a file: expected a folder to write")

    def open_other(self) -> Backend | None:
        """The model of `--against`."""
        if self.against is None:
            return None
        kind = "model" if Path(self.against).is_dir() else "package"
        return BackendOptions(**{kind: self.against}).open()


def main(args: argparse.Namespace) -> int:
    options = arguments.read(EvaluateOptions, args)
    answers = arguments.read(AnswerOptions, args)
    task = arguments.read(DataOptions, args).load_task()
    if options.model:
        bundle.read_info(options.model)
    others = read_others(options.others, task.columns.text) if options.others else []
    for _ in task.split(options.split):  # bad data is reported before TensorFlow is imported
        pass
    from sqb_tflite.evaluation.evaluate import evaluate

    backend, other = options.open(), options.open_other()
    for opened in filter(None, (backend, other)):
        opened.head = opened.head.update_settings(answers.settings)
    files = (options.predictions, options.nbest, options.report)
    result = evaluate(backend, task, options.split, *files, other, others)
    lines = [
        f"{name} {value:.4f} ({result['examples']} examples)"
        for name, value in result["metrics"].items()
    ]
    lines += _summary(result)
    for name in ("predictions", "nbest", "report"):
        if name in result:
            lines.append(f"{name} {result[name]}")
    warn_of_truncation(result["truncated"], backend)
    results.emit(args, "\n".join(lines), result)
    return entry.DONE


def _summary(result: dict[str, Any]) -> Iterator[str]:
    """What a report says in short."""
    for name in ("macro", "micro"):
        if name in result:
            shares = ", ".join(f"{key} {value:.4f}" for key, value in result[name].items())
            yield f"{name}: {shares}"
    if "abstention" in result:
        shares = result["abstention"]
        yield (
            f"answered {shares['answered']:.4f}, of those right {shares['precision']:.4f}; in the metrics, a "
            "text without a label is wrong (--abstain-below 0 labels every text)"
        )
    if "others" in result:
        shares = result["others"]
        yield f"of {shares['texts']} texts of no class {shares['caught']:.4f} get no label"
    if "calibration" in result:
        error = result["calibration"]["expected_calibration_error"]
        yield f"expected calibration error {error:.4f}"
    if "comparison" in result:
        counts = result["comparison"]
        figures = ", ".join(f"{name} {v:.4f}" for name, v in counts["other"]["metrics"].items())
        yield f"the other model: {figures}"
        yield (
            f"decided differently: {counts['changed']}; right here alone: {counts['only_this_right']}, "
            f"there alone: {counts['only_other_right']}"
        )


def flags() -> arguments.Parser:
    return arguments.parser(
        *("evaluate", __doc__, EPILOG, DataOptions, EvaluateOptions, AnswerOptions),
        required=["data"],
    )


if __name__ == "__main__":
    entry.run(main, flags())
