"""PNG files of records: latency by length, and its distribution on real text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sqb_tf.page.page import printable

from ..record import Record
from . import drawing
from .drawing import Look, Looks
from .records import describe_threads, group_by_device
from .tables import hardware

PANEL_INCHES = (4.6, 3.6)
DPI = 150


def plot_lengths(records: Sequence[Record], path: Path) -> None:
    """Median latency by length with its 5th to 95th percentile.

    A row of panels for each device, a panel for each number of threads.
    """
    looks, devices = drawing.assign_looks(records), group_by_device(records)
    counts = sorted({record.threads for record in records})
    with matplotlib.rc_context(drawing.STYLE):
        figure, panels = _panels(len(devices), len(counts), sharey="row")
        for row, group in zip(panels, devices.values(), strict=True):
            slowest = drawing.slowest_median(group)
            for panel, count in zip(row, counts, strict=True):
                shown = _with_threads(group, count)
                drawing.draw_curves(panel, shown, looks, "seq_length", slowest)
                panel.set_title(_panel_title(group, count, len(devices)))
            for panel in row[1:]:
                panel.set_ylabel("")
        heading = f"Time of a run: {drawing.name_figure(records)}"
        banded = any(map(drawing.has_band, records))
        _finish(figure, records, looks, heading, path, [drawing.BAND] if banded else [])


def plot_texts(records: Sequence[Record], path: Path) -> None:
    """Real texts at their own lengths: the share within a time, and time by tokens.

    A row of panels for each device and number of threads; the time axes of a device have the same end.
    """
    looks, devices = drawing.assign_looks(records), group_by_device(records)
    rows = [
        (group, count)
        for group in devices.values()
        for count in sorted({record.threads for record in group})
    ]
    with matplotlib.rc_context(drawing.STYLE):
        figure, panels = _panels(len(rows), 2)
        for (share, by_tokens), (group, count) in zip(panels, rows, strict=True):
            shown, slowest = _with_threads(group, count), drawing.slowest_text(group)
            drawing.draw_share(share, shown, looks, slowest)
            drawing.draw_texts(by_tokens, shown, looks, slowest)
            title = _panel_title(group, count, len(devices))
            share.set_title(f"{title}: share within a time")
            by_tokens.set_title(f"{title}: each text")
        count = len(records[0].text_ms)
        _finish(figure, records, looks, f"Real text, {count} texts at their own lengths", path)


def _handle(look: Look) -> Artist:
    """What the legend shows beside a label."""
    if look == drawing.BAND:
        return Patch(color=look.colour, alpha=drawing.BAND_ALPHA, linewidth=0)
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dash)


def _panels(rows: int, columns: int, **shared: Any) -> tuple[Figure, np.ndarray]:
    # A Figure without pyplot needs no display.
    figure = Figure(figsize=(PANEL_INCHES[0] * max(columns, 1.3), PANEL_INCHES[1] * rows))
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def _with_threads(records: Sequence[Record], count: int) -> list[Record]:
    return [record for record in records if record.threads == count]


def _panel_title(records: Sequence[Record], count: int, devices: int) -> str:
    """The number of threads, and the device where there are several."""
    device = f"{printable(records[0].hardware['name'])}, " if devices > 1 else ""
    return device + describe_threads(count)


def _finish(
    figure: Figure,
    records: Sequence[Record],
    looks: Looks,
    heading: str,
    path: Path,
    others: Sequence[Look] = (),
) -> None:
    """Title, the devices, one legend for all panels, of `others` too; writes the file."""
    shown = [*looks.values(), *others]
    devices = [
        f"{title}: {', '.join(hardware(group[0])[:2])}"
        for title, group in group_by_device(records).items()
    ]
    longest = max(len(look.label) for look in shown)
    columns = min(len(shown), max(1, int(figure.get_figwidth() / (0.5 + 0.09 * longest))))
    legend = 0.2 * math.ceil(len(shown) / columns)
    top = 0.36 + 0.17 * len(devices)
    figure.set_figheight(figure.get_figheight() + top + legend + 0.1)
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.08 / height, heading, va="top", size=12, weight="bold")
    figure.text(0.02, 1 - 0.36 / height, "\n".join(devices), va="top", size=9, color="#666666")
    figure.legend(
        list(map(_handle, shown)),
        # Matplotlib hides labels that start with an underscore.
        ["\N{ZERO WIDTH SPACE}" * look.label.startswith("_") + look.label for look in shown],
        loc="upper left",
        bbox_to_anchor=(0.01, 1 - top / height),
        ncols=columns,
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - (top + legend + 0.06) / height))
    figure.savefig(path, dpi=DPI)
