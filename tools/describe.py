"""Shows what is in a packaged .tflite: signatures, operations and who runs them, bytes, weights by layer."""

import argparse
import dataclasses

from sqb_tf.options import option
from sqb_tools import arguments, entry, results

EPILOG = """examples:
  sqb describe --package sst2.tflite
  sqb describe --package sst2.tflite --json - | jq .layers

The patterns of a mixed recipe are matched with these layer names (sqb convert --help)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """What is described."""

    package: str = option(
        dataclasses.MISSING, "the packaged .tflite", group="model", metavar="FILE"
    )


def main(args: argparse.Namespace) -> int:
    from sqb_tflite.runtime import describe

    description = describe.describe(args.package)
    results.emit(args, describe.table(description), description)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("describe", __doc__, EPILOG, DescribeOptions)


if __name__ == "__main__":
    entry.run(main, flags())
