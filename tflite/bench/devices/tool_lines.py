"""Lines that `benchmark_model` prints: their prefixes, their numbers, and signs of damage.

A line of a known type must match to its end, with numbers formatted as C++ formats them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

ERROR_LEVELS = ("ERROR", "FATAL", "E", "F")
_PREFIX = re.compile(
    r"(?:(?:(?:[0-9]{4}-)?[0-9]{2}-[0-9]{2} +[0-9:.]+ +)?(?:[0-9]+ +[0-9]+ +)?"  # logcat's
    r"(?P<letter>[VDIWEF])[/ ](?:tflite|litert) *(?:\( *[0-9]+\))?: ?)?"
    r"(?:(?P<word>VERBOSE|INFO|WARN|WARNING|ERROR|FATAL): )?"
    r"(?:\[[\w./-]+:[0-9]+\] ?)?"  # [file:line], LiteRT's
)
INTEGER = r"(?:0|[1-9][0-9]{0,17})"
NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?(?:e[+-][0-9]{2})?"


class ToolError(Exception):
    """The output has no result that can be trusted.

    Attributes:
        cause: "flags", the build lacks a flag; "failed", the tool ended without a result; "garbled", a line
            is damaged or contradicts another.
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(" ".join(text.split()))  # one line, whatever the device printed
        self.cause = cause


def split_lines(text: str) -> list[tuple[str, str]]:
    """(level or "", message) of each line, without surrounding white space."""
    lines = []
    for line in map(str.strip, text.split("\n")):
        prefix = _PREFIX.match(line)
        assert prefix, "every part of a prefix is optional"
        lines.append((prefix["word"] or prefix["letter"] or "", line[prefix.end() :].strip()))
    return lines


def quote(line: str) -> str:
    return line if len(line) <= 200 else f"{line[:200]}..."


def garbled(line: str, why: str = "a damaged line") -> NoReturn:
    raise ToolError("garbled", f"{why}: {quote(line)}")


def match_one(patterns: Sequence[re.Pattern[str]], line: str) -> dict[str, Any]:
    """The groups of the first pattern that matches the whole line: strings, None for an absent one.

    Raises:
        ToolError: garbled: none does.
    """
    for pattern in patterns:
        if match := pattern.fullmatch(line):
            return match.groupdict()
    garbled(line)


def number(text: str, line: str, form: str = "g") -> float:
    """A number that C++ printed: `<<` of a double equals Python's format "g"."""
    value = float(text)
    if format(value, form) != text:
        garbled(line, f"the tool would not print a number as {text}")
    return value
