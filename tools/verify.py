"""Verifies a packaged .tflite against its Keras model on held-out text."""

import argparse
import dataclasses

from sqb_tf.options import option
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import HeldOutOptions

EPILOG = """example:
  sqb verify --model runs/sst2 --package sst2.tflite --data GLUE/SST-2

Exit code 1 if the package misses its recipe's bounds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What is compared."""

    model: str = option(dataclasses.MISSING, "the bundle", group="model", metavar="DIR")
    package: str = option(
        dataclasses.MISSING, "the packaged .tflite", group="model", metavar="FILE"
    )


def main(args: argparse.Namespace) -> int:
    options = arguments.read(VerifyOptions, args)
    held_out = arguments.read(HeldOutOptions, args)
    from sqb_tf.checkpoint import bundle
    from sqb_tflite.package.container import unpack

    # Files that may be wrong are read before TensorFlow is imported.
    examples, source = held_out.examples(bundle.read_info(options.model))
    unpack(options.package)
    from sqb_tflite.verification.verify import verify

    report = verify(bundle.load(options.model), options.package, examples)
    results.emit(args, report.table(), {**report.to_dict(), "data": source})
    return entry.MISSED if report.misses else entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("verify", __doc__, EPILOG, VerifyOptions, HeldOutOptions)


if __name__ == "__main__":
    entry.run(main, flags())
