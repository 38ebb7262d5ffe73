"""What devices are doing, as they do it: a table that is redrawn on a terminal, lines in a log."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sqb_tf.progress import clock

from ..plan import Cell


@dataclasses.dataclass
class _Row:
    """A device's line: starts that ended, lines of the result that have one, and what it does now."""

    cells: int
    starts: int  # that are planned at least
    runs: int = 0
    begun: set[Cell] = dataclasses.field(default_factory=set)
    failures: int = 0
    now: str = "starting"
    last: str = ""
    temperature: float | None = None


class Board:
    """A line for each device on standard error, and what fails; of several threads.

    Args:
        devices: their names.
        cells: how many lines each has to measure.
        starts: how often each line is measured at least.
    """

    def __init__(self, devices: Sequence[str], cells: int, starts: int) -> None:
        self._rows = {name: _Row(cells, cells * starts) for name in devices}
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._console = Console(file=sys.stderr)
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=2)

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def report(self, device: str, event: str, **details: Any) -> None:
        """Takes a step of a device: one of `cell`, `push`, `hot`, `gone`, `done`, `failed`, `end`."""
        with self._lock:
            line = getattr(self, f"_on_{event}")(self._rows[device], **details)
            if line:
                self._say(f"{device}: {line}", event in ("failed", "gone"))

    def _on_cell(self, row: _Row, cell: Cell) -> None:
        row.now = _short(cell)

    def _on_push(self, row: _Row, path: Path) -> str:
        inputs = path.suffix == ".ids"
        row.now = "copying inputs" if inputs else f"copying {path.name}"
        return "" if inputs else row.now

    def _on_hot(self, row: _Row, temperature: float) -> None:
        row.temperature, row.now = temperature, "cooling down"

    def _on_gone(self, row: _Row, message: str) -> None:
        row.now = f"gone, waiting for it: {message}"

    def _on_done(self, row: _Row, cell: Cell, repeat: Mapping[str, Any]) -> str:
        row.runs += 1
        row.begun.add(cell)
        row.temperature = repeat["states"][-1].get("temperature_c")
        median = repeat["median"]
        took = f"mean {repeat['mean']:.2f} ms" if median is None else f"{median:.2f} ms"
        row.last = f"{_short(cell)}: {took}"
        return row.last

    def _on_failed(self, row: _Row, failure: Mapping[str, Any], cell: Cell | None = None) -> str:
        row.failures += 1
        what = f"{_short(cell)}: " if cell else ""
        return f"{what}{failure['cause']}: {failure['message']}"

    def _on_end(self, row: _Row) -> None:
        row.now = "done"

    def _say(self, line: str, important: bool) -> None:
        if not self._console.is_terminal:
            print(line, file=sys.stderr, flush=True)
        elif important:
            self._live.console.print(line, style="red", markup=False, highlight=False)

    def _table(self) -> Table:
        taken = time.monotonic() - self._start
        table = Table(title=f"{clock(taken)} gone", title_justify="left")
        for name in ("device", "lines", "left", "°C", "now", "last"):
            table.add_column(name, no_wrap=name in ("left", "°C"), overflow="fold")
        for name, row in self._rows.items():
            lines = f"{len(row.begun)}/{row.cells}"
            lines += f", {row.failures} failed" if row.failures else ""
            left = max(row.starts - row.runs, 0) * taken / row.runs if row.runs else None
            warm = "" if row.temperature is None else f"{row.temperature:g}"
            table.add_row(name, lines, "" if left is None else clock(left), warm, row.now, row.last)
        return table


def _short(cell: Cell) -> str:
    return str(dataclasses.replace(cell, package=Path(cell.package).stem))
