"""What every tool shares: common flags, errors as one line, exit codes, `--json`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.files import staged_file

DONE, MISSED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def parser(description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser with `--json` and `--verbose` that shows every default."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=type(
            "Formatter",
            (argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter),
            {},
        ),
    )
    made.add_argument("--json", metavar="FILE", help="write the result as JSON (- is stdout)")
    made.add_argument("--verbose", action="store_true", help="show TensorFlow's log, tracebacks")
    return made


def run(tool: Callable[[argparse.Namespace], int], made: argparse.ArgumentParser) -> None:
    """Parses the flags, calls `tool`, exits with its code: 2 and one line for bad input."""
    args = made.parse_args()
    if not args.verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        code = tool(args)
        sys.stdout.flush()
    except InputError as error:
        code = BAD_INPUT
        _fail(args, f"error: {error}")
    except KeyboardInterrupt:
        code = INTERRUPTED
        _fail(args, "interrupted")
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        code = DONE
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def emit(args: argparse.Namespace, table: str, result: dict[str, Any]) -> None:
    """The table to stdout and the result to the file of `--json` (`-`: to stdout instead)."""
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
        return
    print(table)
    if args.json:
        with staged_file(args.json) as staged:
            staged.write_text(text, encoding="utf-8")


def command() -> str:
    """The command line as typed, for the records."""
    return shlex.join(["python", *sys.argv])


def add_columns(made: argparse.ArgumentParser) -> None:
    """The flags that name the columns of a delimited file."""
    made.add_argument("--text-column", default="text", help="column of the text")
    made.add_argument("--pair-column", help="column of the second text, for pairs")
    made.add_argument("--label-column", default="label", help="column of the label or number")


def _fail(args: argparse.Namespace, message: str) -> None:
    if args.verbose:
        traceback.print_exc()
    print(message, file=sys.stderr)
