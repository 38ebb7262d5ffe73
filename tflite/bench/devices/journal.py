"""Results of an unfinished benchmark, on disk as they arrive: a line of JSON for each repeat and failure."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path
from typing import Annotated, Any

import msgspec

from sqb_tf.atomic_write import writing
from sqb_tf.errors import InputError
from sqb_tf.json_schema import Count, check_json, read_json
from sqb_tf.json_text import to_json

from ..record import Failure, Record

FILE = "unfinished.jsonl"


@dataclasses.dataclass(frozen=True)
class _Line:
    """A line of the file: a failure, or a repeat with the key of its measurement."""

    key: str | None = None
    repeat: dict[str, Any] | None = None
    failure: Failure | None = None


@dataclasses.dataclass(frozen=True)
class _State:
    """What a record needs of a device's state around a start."""

    at: str
    throttled: list[str]


@dataclasses.dataclass(frozen=True)
class _Repeat:
    """What a record needs of a start of the tool, see `repeats.repeat_from_output`."""

    count: Count
    min: float
    mean: float
    std: float
    median: float | None
    p5: float | None
    p95: float | None
    delegated: dict[str, Any] | None
    profile: list[Any] | None
    profiled: bool
    states: Annotated[list[_State], msgspec.Meta(min_length=1)]


class Journal:
    """Repeats and failures of a plan, including those of an earlier run that did not finish.

    Thread-safe. Without a path, results stay in memory and an interrupted run is lost.

    Raises:
        InputError: the file cannot be read or written, or is not a journal.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._repeats: dict[str, list[dict[str, Any]]] = {}
        self.failures: list[Failure] = []
        if path is not None and path.exists():
            self._read(path)

    def repeats(self, key: str) -> list[dict[str, Any]]:
        """The repeats of a measurement so far."""
        with self._lock:
            return list(self._repeats.get(key, ()))

    def add_repeat(self, key: str, repeat: dict[str, Any]) -> None:
        """Keeps a repeat."""
        self._keep(_Line(key=key, repeat=repeat), {"key": key, "repeat": repeat})

    def add_failure(self, failure: Failure) -> None:
        """Keeps a failure, unless it is known from an earlier run."""
        with self._lock:
            if any(dataclasses.replace(f, at=failure.at) == failure for f in self.failures):
                return
        self._keep(_Line(failure=failure), {"failure": dataclasses.asdict(failure)})

    def finish(self) -> None:
        """Deletes the file: everything is measured, and the same command measures again next time."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _keep(self, line: _Line, entry: dict[str, Any]) -> None:
        with self._lock:
            self._take(line)
            if self.path is not None:
                with writing(self.path):
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(to_json(entry) + "\n")

    def _take(self, line: _Line) -> None:
        if line.failure is not None:
            self.failures.append(line.failure)
        elif line.key is not None and line.repeat is not None:
            self._repeats.setdefault(line.key, []).append(line.repeat)
        else:
            raise InputError("neither a repeat nor a failure")

    def _read(self, path: Path) -> None:
        whole = 0  # bytes of lines with an end
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.endswith(b"\n"):
                        self._take(_checked(read_json(line, _Line, f"line {number}"), number))
                        whole += len(line)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except InputError as error:
            raise InputError(f"{path}: damaged: delete it to measure again ({error})") from None
        if whole < path.stat().st_size:  # the process died while writing the last line
            with writing(path):
                os.truncate(path, whole)


def _checked(line: _Line, number: int) -> _Line:
    """The line if its repeat, a start of the tool or this machine's whole record, has what is read of it."""
    if line.repeat is not None:
        name = f"line {number}: repeat"
        if "latency_ms" in line.repeat:
            Record.from_json(line.repeat, name)
        else:
            check_json(line.repeat, _Repeat, name)
    return line
