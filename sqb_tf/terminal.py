"""What people read on standard output and error goes through here, whoever wrote the text."""

from __future__ import annotations

import re
from typing import TextIO

# Control characters but tab and line feed, which are the formats' own, and halves of characters, which no
# stream can encode.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with control characters as escapes, such as `\x1b`: none moves the cursor or sets a title."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def show(text: str, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Prints a text for people: labels, recipes and devices' answers come from files and machines of others.

    JSON is for programs, and is written as it is.
    """
    print(printable(text), file=file, end=end, flush=flush)
