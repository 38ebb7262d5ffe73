"""Records -> plots: latency by length, and its distribution on real text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tflite.bench.records import Record, by_name, on_text

# Okabe and Ito's colours, which the colour-blind tell apart; one a package.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
}
PANEL_INCHES = (4.6, 3.6)
DPI = 150


def lengths(records: Sequence[Record], path: Path) -> None:
    """Median latency by length with its 5th to 95th percentile; a panel for each number of threads."""
    fixed = [record for record in records if record["seq_length"] is not None]
    threads = sorted({record["threads"] for record in fixed})
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(1, len(threads), sharey=True)
        for panel, count in zip(panels[0], threads, strict=True):
            for package, name, colour in _packages(records):
                line = [r for r in fixed if (r["package"], r["threads"]) == (package, count)]
                line.sort(key=lambda record: record["seq_length"])
                x = [record["seq_length"] for record in line]
                low, middle, high = (
                    [record["latency_ms"][key] for record in line]
                    for key in ("p5", "median", "p95")
                )
                panel.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
                panel.plot(x, middle, "o-", color=colour, label=name, markersize=5)
            panel.set(title=_threads(count), xlabel="tokens")
            panel.set_xticks(sorted({record["seq_length"] for record in fixed}))
            panel.set_ylim(bottom=0)
        panels[0][0].set_ylabel("milliseconds a run")
        _finish(figure, panels, records, "Time of a run: median, and 5th to 95th percentile", path)


def texts(records: Sequence[Record], path: Path) -> None:
    """Real texts at their own lengths: the share answered in a time, and time by tokens.

    A row of panels for each number of threads; time axes end at the slowest package's 99th percentile.
    """
    real = on_text(records)
    threads = sorted({record["threads"] for record in real})
    slowest = 1.15 * max(np.percentile(record["samples"]["ms"], 99) for record in real)
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(threads), 2)
        for (share, by_tokens), count in zip(panels, threads, strict=True):
            for package, name, colour in _packages(records):
                for record in real:
                    if (record["package"], record["threads"]) != (package, count):
                        continue
                    tokens, times = record["samples"]["tokens"], record["samples"]["ms"]
                    ranks = 100 * np.arange(1, len(times) + 1) / len(times)
                    share.step(sorted(times), ranks, where="post", color=colour, label=name)
                    by_tokens.plot(
                        tokens, times, "o", color=colour, alpha=0.4, markersize=4, markeredgewidth=0
                    )
            share.set(title=f"{_threads(count)}: answered in a time", xlabel="milliseconds a text")
            share.set(ylabel="% of the texts", xlim=(0, slowest), ylim=(0, 102))
            by_tokens.set(title=f"{_threads(count)}: each text", xlabel="tokens of the text")
            by_tokens.set(ylabel="milliseconds a text", ylim=(0, slowest))
        count = records[0]["text"]["texts"]
        _finish(figure, panels, records, f"Real text, {count} texts at their own lengths", path)


def _panels(rows: int, columns: int, **shared: bool) -> tuple[Figure, np.ndarray]:
    # A Figure of its own, without pyplot, needs no display.
    figure = Figure(figsize=(PANEL_INCHES[0] * max(columns, 1.3), PANEL_INCHES[1] * rows + 0.7))
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def _packages(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """(path, short name, colour) of each package."""
    names = by_name(records)
    return [(p, n, COLOURS[i % len(COLOURS)]) for i, (p, n) in enumerate(names.items())]


def _threads(count: int) -> str:
    return f"{count} thread" + ("s" if count > 1 else "")


def _finish(
    figure: Figure, panels: np.ndarray, records: Sequence[Record], title: str, path: Path
) -> None:
    """Title, the machine, one legend for all panels; writes the file."""
    host: dict[str, Any] = records[0]["host"]
    height = figure.get_figheight()
    figure.suptitle(title, x=0.02, y=1 - 0.08 / height, ha="left", va="top", weight="bold")
    figure.text(
        0.02,
        1 - 0.36 / height,
        f"{host['cpu']}, {host['cores']} cores, LiteRT on XNNPACK",
        ha="left",
        va="top",
        color="#666666",
        fontsize=9,
    )
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0.01, 1 - 0.52 / height), ncols=4
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.78 / height))
    figure.savefig(path, dpi=DPI)
