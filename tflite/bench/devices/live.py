"""Progress of several devices: a table that is redrawn on a terminal, or lines in a log."""

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
from rich.text import Text

from sqb_tf.progress import clock
from sqb_tf.terminal import printable, show

from ..plan import Measurement
from ..record import Failure


@dataclasses.dataclass
class _Row:
    """A device's row."""

    measurements: int
    planned_starts: int  # the fewest
    starts: int = 0  # that ended
    begun: set[Measurement] = dataclasses.field(default_factory=set)
    failures: int = 0
    now: str = "starting"
    last: str = ""
    temperature: float | None = None


class LiveStatusTable:
    """A row for each device on standard error, and every failure. Thread-safe.

    Args:
        devices: their names.
        measurements: of each device.
        starts: the fewest starts of the tool for a measurement.
    """

    def __init__(self, devices: Sequence[str], measurements: int, starts: int) -> None:
        self._rows = {name: _Row(measurements, measurements * starts) for name in devices}
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._console = Console(file=sys.stderr)
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=2)

    def __enter__(self) -> LiveStatusTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def report(self, device: str, event: str, **details: Any) -> None:
        """Shows a step: `measurement`, `push`, `hot`, `gone`, `done`, `failed` or `end`."""
        with self._lock:
            line = getattr(self, f"_on_{event}")(self._rows[device], **details)
            if line:
                self._say(f"{device}: {line}", event in ("failed", "gone"))

    def _on_measurement(self, row: _Row, measurement: Measurement) -> None:
        row.now = _short(measurement)

    def _on_push(self, row: _Row, path: Path) -> str:
        inputs = path.suffix == ".ids"
        row.now = "copying inputs" if inputs else f"copying {path.name}"
        return "" if inputs else row.now

    def _on_hot(self, row: _Row, temperature: float) -> None:
        row.temperature, row.now = temperature, "cooling down"

    def _on_gone(self, row: _Row, message: str) -> None:
        row.now = f"disconnected, waiting: {message}"

    def _on_done(self, row: _Row, measurement: Measurement, repeat: Mapping[str, Any]) -> str:
        row.starts += 1
        row.begun.add(measurement)
        row.temperature = repeat["states"][-1].get("temperature_c")
        median = repeat["median"]
        time_ms = f"mean {repeat['mean']:.2f} ms" if median is None else f"{median:.2f} ms"
        row.last = f"{_short(measurement)}: {time_ms}"
        return row.last

    def _on_failed(self, row: _Row, failure: Failure, measurement: Measurement | None) -> str:
        row.failures += 1
        subject = f"{_short(measurement)}: " if measurement else ""
        return f"{subject}{failure.cause}: {failure.message}"

    def _on_end(self, row: _Row) -> None:
        row.now = "done"

    def _say(self, line: str, important: bool) -> None:
        if not self._console.is_terminal:
            show(line, sys.stderr, flush=True)
        elif important:
            self._live.console.print(Text(printable(line), style="red"))

    def _table(self) -> Table:
        elapsed = time.monotonic() - self._start
        table = Table(title=f"{clock(elapsed)} elapsed", title_justify="left")
        for name in ("device", "measured", "left", "°C", "now", "last"):
            table.add_column(name, no_wrap=name in ("left", "°C"), overflow="fold")
        for name, row in self._rows.items():
            measured = f"{len(row.begun)}/{row.measurements}"
            measured += f", {row.failures} failed" if row.failures else ""
            remaining = max(row.planned_starts - row.starts, 0)
            left = clock(remaining * elapsed / row.starts) if row.starts else ""
            degrees = "" if row.temperature is None else f"{row.temperature:g}"
            # As `Text`: rich would read `[/x]` in a serial as its own markup.
            cells = (name, measured, left, degrees, row.now, row.last)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table


def _short(measurement: Measurement) -> str:
    return str(dataclasses.replace(measurement, package=Path(measurement.package).stem))
