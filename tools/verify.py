"""Verifies a packaged .tflite against its Keras model on held-out text."""

import argparse

from sqb_tools import cli

EPILOG = """example:
  python tools/verify.py --model runs/sst2 --package sst2.tflite --data GLUE/SST-2

Exit code 1 if the package misses its recipe's bounds."""


def main(args: argparse.Namespace) -> int:
    from sqb_tf.checkpoint import bundle
    from sqb_tflite.verification.verify import verify

    model = bundle.load(args.model)
    examples, source = cli.held_out(args, model.info)
    report = verify(model, args.package, examples)
    cli.emit(args, report.table(), {**report.to_dict(), "data": source})
    return cli.MISSED if report.misses else cli.DONE


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument("--model", required=True, metavar="DIR", help="the bundle")
    made.add_argument("--package", required=True, metavar="FILE", help="the packaged .tflite")
    cli.add_held_out(made)
    return made


if __name__ == "__main__":
    cli.run(main, flags())
