"""Lines of text that a tool takes: as arguments, from a file, or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from sqb_tf.data.lines import decoded_lines, numbered_lines
from sqb_tf.errors import InputError
from sqb_tf.progress import log


def check_source(texts: Sequence[str], path: str | None) -> None:
    """`InputError` if the lines are those of standard input, and it is closed."""
    if not texts and path is None and sys.stdin is None:
        raise InputError("standard input is closed: give texts as arguments, or --input FILE")


def text_lines(texts: Sequence[str], path: str | None) -> Iterator[tuple[str, str]]:
    """(location for messages, line without its end) of `texts`, else of the file, else of standard input."""
    if texts:
        lines: Iterator[tuple[int, str]] = enumerate(texts, 1)
        name = "argument"
    elif path:
        lines, name = numbered_lines(path), path
    else:
        name = "standard input"
        if sys.stdin.isatty():
            log("reading standard input, one text per line; Ctrl-D ends it")
        lines = decoded_lines(sys.stdin.buffer, name)
    for number, line in lines:
        yield f"{name}:{number}", line.rstrip("\r\n")
