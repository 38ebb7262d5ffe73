"""Says what is in a packaged .tflite: signatures, operations and who runs them, bytes, weights by layer."""

import argparse

from sqb_tools import cli

EPILOG = """examples:
  python tools/describe.py --package sst2.tflite
  python tools/describe.py --package sst2.tflite --json - | jq .layers

The names of layers are those that a mixed recipe's patterns are matched with (tools/convert.py --help)."""


def main(args: argparse.Namespace) -> int:
    from sqb_tflite.runtime import describe

    found = describe.describe(args.package)
    cli.emit(args, describe.table(found), found)
    return cli.DONE


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument("--package", required=True, metavar="FILE", help="the packaged .tflite")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
