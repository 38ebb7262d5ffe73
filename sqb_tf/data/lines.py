"""UTF-8 text files, one numbered line at a time."""

from __future__ import annotations

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
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}:{number}: not UTF-8 (byte {error.start + 1} of the line): "
                "save the file as UTF-8"
            ) from None
        yield number, line.removeprefix("\ufeff") if number == 1 else line
