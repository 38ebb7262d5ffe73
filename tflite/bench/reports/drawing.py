"""Records as lines, points and bars on one pair of axes, for the PNG files and the page's SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..record import Record
from .records import describe_delegate, package_names, varies

FOREGROUND, EDGE, GRID = "#222222", "#888888", "#e6e6e6"
# Okabe and Ito's colours, which colour-blind readers can distinguish; one per package.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", FOREGROUND)
# With six markers and seven colours, a combination repeats only after 42 packages.
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
    "text.parse_math": False,  # the name of a file may contain dollar signs
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), FOREGROUND),
}
BAND_ALPHA = 0.18
LABEL_LETTERS = 46  # above a bar: 4 inches


@dataclasses.dataclass(frozen=True)
class Look:
    """How a series is drawn, and its name in the legend; without a dash it has no line."""

    label: str
    colour: str
    marker: str = "s"
    dash: str = ""


Looks = Mapping[tuple[Any, ...], Look]
BAND = Look("band: 5th to 95th percentile of the runs", EDGE, "band")


@dataclasses.dataclass(frozen=True)
class Bar:
    """A horizontal bar of (length, colour) parts; the text above it and at its end."""

    label: str
    parts: Sequence[tuple[float, str]]
    value: str


def assign_looks(records: Sequence[Record]) -> Looks:
    """A colour and marker for each package, a dash for each delegate and cores; see `lines`."""
    names, series = package_names(records), list(dict.fromkeys(map(_series_key, records)))
    packages, settings = list(names), list(dict.fromkeys(key[1:] for key in series))
    delegates = len(set(map(describe_delegate, records))) > 1
    masks = varies(records, "core_mask")

    def look(package: str, delegate: str, cores: str | None) -> Look:
        index, dash = packages.index(package), settings.index((delegate, cores))
        parts = [names[package], *([delegate] if delegates else [])]
        parts += [f"cores {cores or 'all'}"] if masks else []
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        return Look(", ".join(parts), colour, marker, DASHES[dash % len(DASHES)])

    return {key: look(*key) for key in series}


def find_look(record: Record, looks: Looks) -> Look:
    """The look of a record's line."""
    return looks[_series_key(record)]


def lines(records: Sequence[Record], looks: Looks) -> Iterator[tuple[Look, list[Record]]]:
    """Each look with the records of its line; looks without records are left out."""
    for key, look in looks.items():
        series = [record for record in records if _series_key(record) == key]
        if series:
            yield look, series


def draw_curves(
    axes: Axes, records: Sequence[Record], looks: Looks, field: str, slowest: float
) -> None:
    """Time by `field` (`seq_length` or `threads`), up to `slowest` milliseconds: medians in their `BAND`.

    A mean that replaces a median is a hollow point.
    """
    for look, series in lines(records, looks):
        series.sort(key=lambda record: getattr(record, field))
        banded = [record for record in series if has_band(record)]
        low, high = ([getattr(r.latency_ms, name) for r in banded] for name in ("p5", "p95"))
        x = [getattr(record, field) for record in banded]
        axes.fill_between(x, low, high, color=look.colour, alpha=BAND_ALPHA, linewidth=0)
        x, y = [getattr(r, field) for r in series], [r.typical_ms for r in series]
        axes.plot(x, y, look.dash, color=look.colour)
        for record in series:
            face = look.colour if record.has_median else "none"
            style: dict[str, Any] = {"color": look.colour, "markersize": 5, "markerfacecolor": face}
            axes.plot(getattr(record, field), record.typical_ms, look.marker, **style)
    axes.set(xlabel="tokens" if field == "seq_length" else field, ylabel="milliseconds per run")
    axes.set_xticks(sorted({getattr(record, field) for record in records}))
    axes.set_ylim(0, slowest)


def draw_share(axes: Axes, records: Sequence[Record], looks: Looks, slowest: float) -> None:
    """The percentage of real texts that take at most a time, up to `slowest` milliseconds."""
    for look, series in lines(records, looks):
        for record in series:
            times = sorted(record.text_ms)
            ranks = 100 * np.arange(1, len(times) + 1) / len(times)
            axes.step(times, ranks, look.dash, where="post", color=look.colour)
    axes.set(xlabel="milliseconds per text", ylabel="% of the texts")
    axes.set(xlim=(0, slowest), ylim=(0, 102))


def draw_texts(axes: Axes, records: Sequence[Record], looks: Looks, slowest: float) -> None:
    """The time of each real text by its tokens, up to `slowest` milliseconds."""
    style: dict[str, Any] = {"alpha": 0.4, "markersize": 4, "markeredgewidth": 0}
    for look, series in lines(records, looks):
        for record in series:
            axes.plot(record.text_tokens, record.text_ms, look.marker, color=look.colour, **style)
    axes.set(xlabel="tokens of the text", ylabel="milliseconds per text", ylim=(0, slowest))


def name_figure(records: Sequence[Record]) -> str:
    """The figure that `draw_curves` shows, for a title: medians, or means that replace them."""
    medians = [record.has_median for record in records]
    if all(medians):
        return "median"
    return "median, hollow: mean" if any(medians) else "mean"


def has_band(record: Record) -> bool:
    """Whether the percentiles of `BAND` are known."""
    return None not in (record.latency_ms.p5, record.latency_ms.p95)


def slowest_median(records: Sequence[Record]) -> float:
    """The end of the time axis of `draw_curves`: above the medians.

    A band may reach beyond: on a busy machine the 95th percentile is several medians, and an axis that held
    it would press the lines together.
    """
    return 1.25 * max(record.typical_ms for record in records)


def slowest_text(records: Sequence[Record]) -> float:
    """The end of the time axes of real texts: above the slowest package's 99th percentile."""
    return 1.15 * max(np.percentile(record.text_ms, 99) for record in records)


def draw_bars(axes: Axes, bars: Sequence[Bar], xlabel: str) -> None:
    """Bars from top to bottom, each below its label: a phone's screen has no room for names beside them."""
    totals = [sum(length for length, _ in bar.parts) for bar in bars]
    for index, (bar, total) in enumerate(zip(bars, totals, strict=True)):
        left = 0.0
        for length, colour in bar.parts:
            axes.barh(index + 0.2, length, 0.42, left=left, color=colour)
            left += length
        label = bar.label
        if len(label) > LABEL_LETTERS:
            label = label[: LABEL_LETTERS - 1] + "…"
        axes.text(0, index - 0.08, label, va="bottom")
        end: dict[str, Any] = {
            "xy": (total, index + 0.2),
            "xytext": (4, 0),
            "textcoords": "offset points",
        }
        axes.annotate(bar.value, **end, va="center")
    axes.set(xlabel=xlabel, xlim=(0, 1.25 * max(totals)), ylim=(len(bars) - 0.5, -0.5), yticks=[])
    axes.grid(axis="y", visible=False)


def draw_temperature(
    axes: Axes, minutes: Sequence[float], degrees: Sequence[float], throttled: Sequence[bool]
) -> None:
    """Temperature over time; readings around a throttled run are crosses."""
    axes.plot(minutes, degrees, "o-", color=COLOURS[0], markersize=3)
    crosses = [(m, d) for m, d, cross in zip(minutes, degrees, throttled, strict=True) if cross]
    for minute, degree in crosses:
        axes.plot(minute, degree, "P", color=COLOURS[1], markersize=8)
    axes.set(xlabel="minutes", ylabel="°C")


def _series_key(record: Record) -> tuple[Any, ...]:
    return record.package, describe_delegate(record), record.core_mask
