"""Text files with one entry per line, such as vocabularies and labels.

Lines end at line feeds only: a token may be another separator, at which `str.splitlines` would split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sqb_tf.errors import InputError

# Where `str.splitlines`, and with it other readers of our files, begins a new line.
_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def breaks_lines(text: str) -> bool:
    """Whether a reader may take the text for several lines."""
    return _BREAKS.search(text) is not None


def escape_breaks(text: str) -> str:
    """The text on one line: `\\n` for a line feed, and so on."""
    return _BREAKS.sub(lambda match: repr(match[0])[1:-1], text)


def join_lines(lines: Iterable[str]) -> str:
    """The content of the file; every line ends in a line feed."""
    return "".join(f"{line}\n" for line in lines)


def split_lines(content: str) -> list[str]:
    """The inverse of `join_lines`."""
    return content.removesuffix("\n").split("\n") if content else []


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a UTF-8 file of these lines, one at a time."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def read_lines(path: str | Path, content: str) -> list[str]:
    """The lines of a UTF-8 file.

    Args:
        path: the file.
        content: what it should hold, for the message.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return split_lines(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as {content}: {reason}") from None
