"""The one exception that a command-line tool turns into a clear line and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user: a file, value or flag.

    The message names the culprit, says what was expected and what to do. Tools print it without a
    traceback; library callers may catch it as the `ValueError` that it is.
    """


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a `name` that is none of the `known` ones; it suggests the nearest."""
    known = list(known)
    expected = ", ".join(known)
    return InputError(f"unknown {what} {name!r}: expected one of {expected}{suggest(name, known)}")


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'int8'?` where one of the `known` names is near, else nothing."""
    by_lower = {str(candidate).lower(): candidate for candidate in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def one_line(error: Exception) -> str:
    """The message of an error without line breaks and outer quotes, at most 200 characters."""
    return " ".join(str(error).split()).strip("'\" ")[:200]


def last_line(output: str) -> str:
    """The last line of what a program printed: where it says why it failed."""
    return (output.strip().splitlines() or ["no message"])[-1]
