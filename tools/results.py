"""A tool's result: the table for people on standard output, the JSON for programs."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.data.lines import half_character
from sqb_tf.json_text import to_json
from sqb_tf.terminal import data_output, discard, printable, show


def emit(args: argparse.Namespace, table: str, result: dict[str, Any]) -> None:
    """Prints the table and writes the result to the file of `--json`; with `-` prints the result instead."""
    try:
        if args.json != "-":
            show(table)
        write_json(args, result)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it: the exit code still tells the outcome
        discard(sys.stdout)


def write_json(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """The result to the file of `--json`, or to standard output for `-`."""
    text = to_json(result, indent=2) + "\n"
    if half_character(text):  # the name of a file that is not UTF-8
        text = to_json(result, indent=2, ascii=True) + "\n"
    if args.json == "-":
        data_output().write(text)
    elif args.json:
        with staged_file(args.json) as staged:
            staged.write_text(text, encoding="utf-8")


def command() -> str:
    """The command line as typed, for the records; what is not UTF-8 in it as escapes."""
    if sys.argv[0].endswith(".py") and not sys.argv[0].endswith("__main__.py"):
        return printable(shlex.join(["python", *sys.argv]))
    return printable(shlex.join(["sqb", *sys.argv[1:]]))
