"""What LiteRT's compiler and the makers' say, of which reports give one line for each matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sqb_tf.errors import last_line

_SDK = re.compile(r"Applying plugin with SDK version: (\S+)")
_OTHER_VERSION = re.compile(
    r"\] (.+) version ([\d.]+) is used\. The version LiteRT using is ([\d.]+)\."
)
# LiteRT's own words on an operation that is left for the CPU, and before them the maker's on why.
_REFUSED = re.compile(r"LiteRT Op #\d+ '\w+' \(code=(\d+)\) is not supported")
_INVALID = re.compile(r"QNN op validation failed: '(\w+)'")
_REMARK = re.compile(r"ERROR: \[Qnn\] (.+)")
# In the maker's log.
_ERROR = re.compile(r"\[ ?ERROR ?\]\s+(?:<E> )?(.+)")
_VALIDATED = re.compile(r"Failed to validate op (\w+) with error")
_LOADING = re.compile(r"^ERROR: |cannot open shared object|Could not load shared library")
# Where in LiteRT's and the makers' sources: no help to the reader.
_WHERE = re.compile(r"^(?:INFO|WARNING|ERROR): \[[\w.]+:\d+\] |^[\w.]+:\d+:(?::ERROR:|\s*)|^└ ")
_UNHELPFUL = re.compile(r"ERROR: \[litert/|GraphHtpSettings option")
# Characters of a reason, and how many errors a failure has: the last ones say that the one before failed.
_LONGEST, _LAST = 160, 3


def sdk_version(messages: str) -> str | None:
    """The version of the SDK as LiteRT gives it; None where the maker says none."""
    match = _SDK.search(messages)
    return match[1] if match else None


def other_versions(messages: str) -> list[str]:
    """The libraries of another version than LiteRT was made with, and both versions."""
    matches = dict.fromkeys(_OTHER_VERSION.findall(messages))
    return [f"{name} {version}, LiteRT expects {expected}" for name, version, expected in matches]


def refusals(messages: str, log: str) -> dict[int, list[str]]:
    """Why operations were refused, by their codes of `BuiltinOperator`; empty where nobody says.

    Args:
        messages: standard error, LiteRT's.
        log: standard output, the maker's.
    """
    reasons = dict(_validation_failures(log.splitlines()))
    by_code: dict[int, list[str]] = {}
    pending: list[str] = []
    for line in messages.splitlines():
        if match := _INVALID.search(line):
            pending.append(reasons.get(match[1], "the maker's check of the operation failed"))
        elif match := _REMARK.search(line):
            pending.append(match[1])
        elif match := _REFUSED.search(line):
            known = by_code.setdefault(int(match[1]), [])
            known += [r for r in map(_short, pending) if r not in known]
            pending = []
    return by_code


def failure(messages: str, log: str) -> str:
    """Why no model came: the last errors of the maker's compiler, else LiteRT's, else the last line."""
    for output in (log, messages):
        errors = [_short(line) for line in output.splitlines() if _says_error(line)]
        if errors:
            return "; ".join(dict.fromkeys(errors[-_LAST:]))
    return last_lines(messages, log)


def last_lines(messages: str, log: str) -> str:
    """What a compiler said before it crashed or hung: the last lines of both."""
    return "; ".join(dict.fromkeys(_short(last_line(text)) for text in (messages, log) if text))


def _says_error(line: str) -> bool:
    return bool(_ERROR.search(line) or _LOADING.search(line)) and not _UNHELPFUL.search(line)


def _validation_failures(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The name of each operation that the maker's check refused, and the first error that it gave."""
    first: str | None = None
    for line in lines:
        match = _ERROR.search(line)
        if not match:
            continue
        if validated := _VALIDATED.search(line):
            yield validated[1], _general(first or match[1], validated[1])
            first = None
        elif first is None:
            first = match[1]


def _general(reason: str, name: str) -> str:
    """A reason without the name of the one operation: that of others is the same."""
    return reason.replace(f" in the node '{name}'", "").replace(f" {name}", "")


def _short(line: str) -> str:
    match = _ERROR.search(line)
    text = " ".join(_WHERE.sub("", (match[1] if match else line).strip()).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
