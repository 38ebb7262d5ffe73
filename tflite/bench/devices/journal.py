"""Results of an unfinished benchmark, on disk as they arrive: a line of JSON for each repeat and failure."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import writing
from sqb_tf.errors import InputError

from ..record import Failure

FILE = "unfinished.jsonl"


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
        self._keep({"key": key, "repeat": repeat})

    def add_failure(self, failure: Failure) -> None:
        """Keeps a failure."""
        self._keep({"failure": dataclasses.asdict(failure)})

    def finish(self) -> None:
        """Deletes the file: everything is measured, and the same command measures again next time."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _keep(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._take(entry)
            if self.path is not None:
                with writing(self.path):
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(entry) + "\n")

    def _take(self, entry: dict[str, Any]) -> None:
        if "failure" in entry:
            self.failures.append(Failure(**entry["failure"]))
        else:
            self._repeats.setdefault(entry["key"], []).append(entry["repeat"])

    def _read(self, path: Path) -> None:
        whole, _, cut = path.read_text(encoding="utf-8").rpartition("\n")
        try:
            for line in whole.split("\n") if whole else ():
                self._take(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: damaged: delete it to measure again") from None
        if cut:  # the process died while writing this line
            with writing(path):
                path.write_text(whole + "\n" if whole else "", encoding="utf-8")
