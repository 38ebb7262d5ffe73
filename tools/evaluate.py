"""The task metric of a bundle or a package on labelled data."""

import argparse

import cli

from sqb_tf.errors import InputError


def main(args: argparse.Namespace) -> int:
    if bool(args.package) == bool(args.model):
        raise InputError("give either --package FILE or --model DIR")
    from sqb_tf.tasks.delimited import Columns
    from sqb_tf.tasks.task import Task
    from tflite.predictor import BundlePredictor, evaluate
    from tflite.runner import Runner

    predictor = Runner(args.package) if args.package else BundlePredictor(args.model)
    columns = Columns(args.text_column, args.pair_column, args.label_column)
    task = Task(args.task, args.data, columns, args.limit)
    result = evaluate(predictor, task, args.split, args.predictions)
    lines = [
        f"{name} {value:.4f} ({result['examples']} examples)"
        for name, value in result["metrics"].items()
    ]
    if args.predictions:
        lines.append(f"predictions {args.predictions}")
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
        "--predictions", metavar="FILE", help="also write a GLUE submission: index and label"
    )
    made.add_argument("--limit", type=int, help="use only the first N examples")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
