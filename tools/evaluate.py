"""The task metric of a bundle or a package on labelled data."""

import argparse

from sqb_tf.errors import InputError
from sqb_tools import cli


def main(args: argparse.Namespace) -> int:
    if bool(args.package) == bool(args.model):
        raise InputError("give either --package FILE or --model DIR")
    from sqb_tf.data.example import Columns
    from sqb_tf.data.task import Task
    from sqb_tflite.runtime.runner import Runner
    from sqb_tflite.verification.keras_backend import BundlePredictor, evaluate

    predictor = Runner(args.package) if args.package else BundlePredictor(args.model)
    predictor.task_kind.change(cli.answer_settings(args))
    columns = Columns(args.text_column, args.pair_column, args.label_column)
    task = Task(args.task, args.data, columns, args.limit)
    result = evaluate(predictor, task, args.split, args.predictions, args.nbest)
    lines = [
        f"{name} {value:.4f} ({result['examples']} examples)"
        for name, value in result["metrics"].items()
    ]
    for name in ("predictions", "nbest"):
        if name in result:
            lines.append(f"{name} {result[name]}")
    cli.emit(args, "\n".join(lines), result)
    return cli.DONE


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__)
    made.add_argument("--package", metavar="FILE", help="a packaged .tflite")
    made.add_argument("--model", metavar="DIR", help="a bundle, run in Keras")
    made.add_argument("--data", required=True, help="folder or file of the examples")
    made.add_argument("--task", default="classification", help="as for finetune.py")
    cli.add_columns(made)
    made.add_argument(
        "--split", default="dev", help="train, dev, test, or another file, as dev_mismatched"
    )
    made.add_argument(
        "--predictions",
        metavar="FILE",
        help="also write the predictions as the task's server takes them: GLUE's index and label, "
        "CoNLL's tagged words, SQuAD's JSON of answers by id",
    )
    made.add_argument(
        "--nbest",
        metavar="FILE",
        help="also write the best answers to each question, as JSON by id",
    )
    cli.add_answers(made)
    made.add_argument("--limit", type=int, help="use only the first N examples")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
