"""The standard streams: what people read goes through `show`, whoever wrote the text, JSON and tables through
`data_output`."""

from __future__ import annotations

import io
import os
import re
import sys
from typing import TextIO

# Control characters but tab and line feed, which are the formats' own, and halves of characters, which no
# stream can encode.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with control characters as escapes, such as `\x1b`: none moves the cursor or sets a title."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def show(text: str, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    r"""Prints a text for people: labels, recipes and devices' answers come from files and machines of others.

    What the stream's encoding cannot hold, as cp1252 most alphabets, is printed as an escape: `\u65e5`.
    JSON and tables are for programs, and go to `data_output` as they are.
    """
    encoding = getattr(file or sys.stdout, "encoding", None) or "utf-8"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    print(text, file=file, end=end, flush=flush)


def data_output() -> TextIO:
    """Standard output for what programs read: UTF-8 as our files are, whatever the terminal's encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def open_closed_streams() -> None:
    """Opens the null device in place of each standard stream that the process was started without.

    Else the next file that is opened has its descriptor, and what is printed goes there. `sys.stdin` stays
    None: no input is not an empty one.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def discard(stream: TextIO) -> None:
    """What is left to write to a standard stream goes nowhere: its reader has gone, or its disk is full."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
