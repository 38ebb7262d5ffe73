"""UTF-8 text files, one numbered line at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqb_tf.errors import InputError


def half_character(text: str) -> str | None:
    """The first surrogate in a text, as JSON escapes it; None: it is whole, and can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return None


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line with its end) of a UTF-8 file, streamed, without a byte order mark.

    Raises:
        InputError: naming the file that cannot be read or the line that is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            yield from decoded_lines(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def decoded_lines(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """`numbered_lines` of an open binary file; messages call it `name`."""
    number = 0  # of the last line that was decoded; `map` decodes faster than a call for each line
    lines = map(bytes.decode, file)
    try:
        for first in itertools.islice(lines, 1):
            number = 1
            yield number, first.removeprefix("\ufeff")
        for number, line in enumerate(lines, 2):
            yield number, line
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}:{number + 1}: not UTF-8 (byte {error.start + 1} of the line): save the file as UTF-8"
        ) from None
