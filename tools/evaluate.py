"""Computes the task's metric for a bundle or a package on labelled data."""

import argparse
import dataclasses

from sqb_tf.checkpoint import bundle
from sqb_tf.options import option
from sqb_tools import arguments, entry, results
from sqb_tools.backends import BackendOptions
from sqb_tools.shared_options import AnswerOptions, DataOptions

EPILOG = """examples:
  sqb evaluate --package sst2.tflite --data GLUE/SST-2 --task sst2
  sqb evaluate --model runs/squad --data SQuAD --task squad --predictions answers.json"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions(BackendOptions):
    """What is evaluated, on which split, and what is written."""

    split: str = option("dev", "train, dev, test, or another file, as dev_mismatched", group="data")
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


def main(args: argparse.Namespace) -> int:
    options = arguments.read(EvaluateOptions, args)
    answers = arguments.read(AnswerOptions, args)
    task = arguments.read(DataOptions, args).load_task()
    if options.model:
        bundle.read_info(options.model)
    for _ in task.split(options.split):  # bad data is reported before TensorFlow is imported
        pass
    from sqb_tflite.verification.evaluate import evaluate

    backend = options.open()
    backend.head = backend.head.update_settings(answers.settings)
    result = evaluate(backend, task, options.split, options.predictions, options.nbest)
    lines = [
        f"{name} {value:.4f} ({result['examples']} examples)"
        for name, value in result["metrics"].items()
    ]
    for name in ("predictions", "nbest"):
        if name in result:
            lines.append(f"{name} {result[name]}")
    results.emit(args, "\n".join(lines), result)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser(
        *("evaluate", __doc__, EPILOG, DataOptions, EvaluateOptions, AnswerOptions),
        required=["data"],
    )


if __name__ == "__main__":
    entry.run(main, flags())
