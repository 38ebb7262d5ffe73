"""Records -> lines, points and bars on one pair of axes: what PNG files and the page's SVG share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .records import (
    Record,
    by_name,
    is_mean,
    milliseconds,
    varying,
)

FOREGROUND, EDGE, GRID = "#222222", "#888888", "#e6e6e6"
# Okabe and Ito's colours, which the colour-blind tell apart; one a package.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", FOREGROUND)
# Six markers to seven colours: both come together again only after 42 packages.
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", ":", "-.")
STYLE = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "text.parse_math": False,  # a file's name may have dollar signs
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), FOREGROUND),
}
LABEL_LETTERS = 46  # of what stands above a bar: 4 inches


@dataclasses.dataclass(frozen=True)
class Look:
    """How one thing is drawn, and its name in the legend; no dash: without a line."""

    label: str
    colour: str
    marker: str = "s"
    dash: str = ""


Looks = Mapping[tuple[Any, ...], Look]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A horizontal bar of parts, each of a colour; what stands above it and at its end."""

    label: str
    parts: Sequence[tuple[float, str]]
    value: str


def looks_of(records: Sequence[Record]) -> Looks:
    """A colour and marker for each package, a dash for each delegate and cores; see `lines`."""
    names, found = by_name(records), list(dict.fromkeys(map(_series, records)))
    packages, ways = list(names), list(dict.fromkeys(series[1:] for series in found))
    delegates, masks = (varying(records, key) for key in ("delegate", "core_mask"))

    def look(package: str, delegate: str, cores: str | None) -> Look:
        place, way = packages.index(package), ways.index((delegate, cores))
        parts = [names[package], *([delegate] if delegates else [])]
        parts += [f"cores {cores or 'all'}"] if masks else []
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        return Look(", ".join(parts), colour, marker, DASHES[way % len(DASHES)])

    return {series: look(*series) for series in found}


def look_of(record: Record, looks: Looks) -> Look:
    """The look of a record's line."""
    return looks[_series(record)]


def lines(records: Sequence[Record], looks: Looks) -> Iterator[tuple[Look, list[Record]]]:
    """Each look, and the records of its line; looks without any are left out."""
    for series, look in looks.items():
        own = [record for record in records if _series(record) == series]
        if own:
            yield look, own


def draw_curves(axes: Axes, records: Sequence[Record], looks: Looks, key: str) -> None:
    """Time by `key` (`seq_length` or `threads`): medians, with their 5th to 95th percentile.

    A mean in a median's place is a hollow point.
    """
    for look, own in lines(records, looks):
        own.sort(key=lambda record: record[key])
        banded = [r for r in own if r["latency_ms"]["p5"] is not None]
        low, high = ([r["latency_ms"][name] for r in banded] for name in ("p5", "p95"))
        x = [record[key] for record in banded]
        axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)
        axes.plot([r[key] for r in own], [*map(milliseconds, own)], look.dash, color=look.colour)
        for record in own:
            face = "none" if is_mean(record) else look.colour
            style = {"color": look.colour, "markersize": 5, "markerfacecolor": face}
            axes.plot(record[key], milliseconds(record), look.marker, **style)
    axes.set(xlabel="tokens" if key == "seq_length" else key, ylabel="milliseconds a run")
    axes.set_xticks(sorted({record[key] for record in records}))
    axes.set_ylim(bottom=0)


def draw_share(axes: Axes, records: Sequence[Record], looks: Looks, slowest: float) -> None:
    """Of the real texts, how many percent are answered in a time, up to `slowest` milliseconds."""
    for look, own in lines(records, looks):
        for record in own:
            times = sorted(record["samples"]["ms"])
            ranks = 100 * np.arange(1, len(times) + 1) / len(times)
            axes.step(times, ranks, look.dash, where="post", color=look.colour)
    axes.set(xlabel="milliseconds a text", ylabel="% of the texts")
    axes.set(xlim=(0, slowest), ylim=(0, 102))


def draw_texts(axes: Axes, records: Sequence[Record], looks: Looks, slowest: float) -> None:
    """The time of each real text by its tokens, up to `slowest` milliseconds."""
    style = {"alpha": 0.4, "markersize": 4, "markeredgewidth": 0}
    for look, own in lines(records, looks):
        for record in own:
            tokens, times = record["samples"]["tokens"], record["samples"]["ms"]
            axes.plot(tokens, times, look.marker, color=look.colour, **style)
    axes.set(xlabel="tokens of the text", ylabel="milliseconds a text", ylim=(0, slowest))


def centres(records: Sequence[Record]) -> str:
    """What `draw_curves` shows, for a title: medians, or means in their place."""
    if all(map(is_mean, records)):
        return "mean"
    return "median, hollow: mean" if any(map(is_mean, records)) else "median"


def slowest_text(records: Sequence[Record]) -> float:
    """Where time axes of real texts end: past the slowest package's 99th percentile."""
    return 1.15 * max(np.percentile(record["samples"]["ms"], 99) for record in records)


def draw_bars(axes: Axes, bars: Sequence[Bar], xlabel: str) -> None:
    """Bars from top to bottom, each below its label: beside it, a phone has no room for names."""
    totals = [sum(length for length, _ in bar.parts) for bar in bars]
    for place, (bar, total) in enumerate(zip(bars, totals, strict=True)):
        left = 0.0
        for length, colour in bar.parts:
            axes.barh(place + 0.2, length, 0.42, left=left, color=colour)
            left += length
        label = bar.label
        if len(label) > LABEL_LETTERS:
            label = label[: LABEL_LETTERS - 1] + "…"
        axes.text(0, place - 0.08, label, va="bottom")
        end = {"xy": (total, place + 0.2), "xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(bar.value, **end, va="center")
    axes.set(xlabel=xlabel, xlim=(0, 1.25 * max(totals)), ylim=(len(bars) - 0.5, -0.5), yticks=[])
    axes.grid(axis="y", visible=False)


def draw_temperature(
    axes: Axes, minutes: Sequence[float], degrees: Sequence[float], hot: Sequence[bool]
) -> None:
    """Temperature over time; readings around a throttled run (`hot`) are crosses."""
    axes.plot(minutes, degrees, "o-", color=COLOURS[0], markersize=3)
    crosses = [(m, d) for m, d, marked in zip(minutes, degrees, hot, strict=True) if marked]
    for minute, degree in crosses:
        axes.plot(minute, degree, "P", color=COLOURS[1], markersize=8)
    axes.set(xlabel="minutes", ylabel="°C")


def _series(record: Record) -> tuple[Any, ...]:
    return record["package"], record["delegate"], record["core_mask"]
