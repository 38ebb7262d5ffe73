"""The plots of the page for the records of one device, as SVG inside HTML and in words."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqb_tf.page.page import printable

from ..record import Operation, Record
from . import drawing
from .drawing import (
    COLOURS,
    EDGE,
    Bar,
    Look,
    Looks,
)
from .records import (
    comparable_group,
    describe_length,
    describe_setting,
    describe_threads,
    length_records,
    speed_up,
    text_records,
    varies,
)

# A plot gets some 330 of a phone's 360 pixels; letters are then 11 pixels high.
WIDTH_INCHES, HEIGHT_INCHES = 4.0, 2.9
BAR_INCHES = 0.46
# Operator types that a profile shows separately; the others are one part of its bars.
TYPES = 6
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
# CSS variables of the page, which follow the reader's light or dark scheme.
VARIABLES = {colour: f"var(--series-{index})" for index, colour in enumerate(COLOURS)}
VARIABLES |= {drawing.FOREGROUND: "currentColor", EDGE: "var(--edge)", drawing.GRID: "var(--grid)"}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot, before it is drawn.

    Attributes:
        name: unique for the device.
        alt: the content in words and figures.
        looks: the legend.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[Axes], None]
    looks: Sequence[Look] = ()
    height: float = HEIGHT_INCHES


def panels(records: Sequence[Record], looks: Looks) -> list[Panel]:
    """The plots that have more than one value to show; `looks` cover all devices."""
    compared = comparable_group(records)
    return [
        *_by_length(length_records(records), looks),
        *_by_threads(records, compared, looks),
        *_by_recipe(compared, looks),
        *_speed_up(records, looks),
        *_memory(compared, looks),
        *_profile(records, looks),
        *_real_text(text_records(records), looks),
        *_temperature(records),
    ]


def svg(panel: Panel, prefix: str) -> str:
    """A panel as an `<svg>` element for HTML, its ids starting with `prefix`.

    Text stays text, the background is transparent, and colours are the page's CSS variables.
    """
    style = {**drawing.STYLE, "svg.fonttype": "none", "svg.hashsalt": prefix}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH_INCHES, panel.height), layout="constrained")
        panel.draw(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return _for_html(drawn.getvalue(), panel.alt, prefix)


def _by_length(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    for count in sorted({record.threads for record in records}):
        shown = [record for record in records if record.threads == count]
        if varies(shown, "seq_length"):
            title = f"Latency by length, {describe_threads(count)}"
            yield _curves(f"length-{count}", title, shown, looks, "seq_length")


def _by_threads(
    records: Sequence[Record], compared: Sequence[Record], looks: Looks
) -> Iterator[Panel]:
    length = compared[0].seq_length
    shown = [record for record in records if record.seq_length == length]
    if varies(shown, "threads"):
        title = f"Latency by threads, {describe_length(length)}"
        yield _curves("threads", title, shown, looks, "threads")


def _curves(name: str, title: str, records: Sequence[Record], looks: Looks, field: str) -> Panel:
    shown = list(drawing.lines(records, looks))
    unit = "tokens" if field == "seq_length" else "threads"
    alt = "; ".join(
        f"{look.label}: "
        + ", ".join(f"{r.typical_ms:.2f} ms at {getattr(r, field)} {unit}" for r in series)
        for look, series in shown
    )
    draw = functools.partial(
        drawing.draw_curves,
        records=records,
        looks=looks,
        field=field,
        slowest=drawing.slowest_median(records),
    )
    title = f"{title} ({drawing.name_figure(records)})"
    band = [drawing.BAND] if any(map(drawing.has_band, records)) else []
    return Panel(name, title, alt, draw, [*(look for look, _ in shown), *band])


def _by_recipe(compared: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    ours = [record for record in compared if record.recipe and not record.baseline]
    if varies(ours, "recipe"):
        title = f"Latency by recipe, {describe_setting(ours[0])} ({drawing.name_figure(ours)})"
        unit = "milliseconds per run"
        times = [record.typical_ms for record in ours]
        yield _bars("recipe", title, ours, looks, times, unit, with_recipe=True)


def _speed_up(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    candidates = [record for record in records if record.baseline != "bert-base"]
    shown = comparable_group([record for record in candidates if speed_up(record, records)])
    if len(shown) > 1:
        title = f"Speed-up over BERT-base, {describe_setting(shown[0])}"
        times = [speed_up(record, records) or 0.0 for record in shown]
        yield _bars("speed-up", title, shown, looks, times, "times as fast")


def _memory(compared: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    shown = [record for record in compared if record.peak_memory_mb is not None]
    if len(shown) > 1:
        title = f"Memory that a package adds, {describe_setting(shown[0])}"
        megabytes = [record.peak_memory_mb or 0.0 for record in shown]
        yield _bars("memory", title, shown, looks, megabytes, "MB")


def _bars(
    name: str,
    title: str,
    records: Sequence[Record],
    looks: Looks,
    values: Sequence[float],
    unit: str,
    with_recipe: bool = False,
) -> Panel:
    """A bar for each record; `with_recipe` adds the recipe to its label."""
    bars = []
    for record, value in zip(records, values, strict=True):
        look = drawing.find_look(record, looks)
        label = look.label + (f" ({record.recipe})" if with_recipe else "")
        bars.append(Bar(label, [(value, look.colour)], f"{value:.2f}"))
    alt = f"{unit}: " + ", ".join(f"{bar.label} {bar.value}" for bar in bars)
    draw = functools.partial(drawing.draw_bars, bars=bars, xlabel=unit)
    return Panel(name, title, alt, draw, height=_height(bars))


def _profile(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    shown = comparable_group([record for record in records if record.profile])
    if not shown:
        return
    times = [_time_by_type(record.profile or ()) for record in shown]
    totals = sum(times, collections.Counter[str]())
    types = {name: COLOURS[index] for index, (name, _) in enumerate(totals.most_common(TYPES))}
    bars = []
    for record, by_type in zip(shown, times, strict=True):
        parts = [(by_type[name], colour) for name, colour in types.items()]
        others = sum(time for name, time in by_type.items() if name not in types)
        label = drawing.find_look(record, looks).label
        bars.append(Bar(label, [*parts, (others, EDGE)], f"{sum(by_type.values()):.2f}"))
    legend = [Look(printable(name), colour) for name, colour in types.items()]
    legend += [Look("others", EDGE)] if len(totals) > TYPES else []
    alt = "milliseconds per run: " + "; ".join(
        f"{bar.label}: "
        + ", ".join(f"{look.label} {part[0]:.2f}" for look, part in zip(legend, bar.parts))
        for bar in bars
    )
    draw = functools.partial(drawing.draw_bars, bars=bars, xlabel="milliseconds per run")
    title = f"Time by type of operator, {describe_setting(shown[0])}"
    yield Panel("profile", title, alt, draw, legend, _height(bars))


def _time_by_type(profile: Sequence[Operation]) -> collections.Counter[str]:
    """{type: milliseconds per run}, summed over the subgraphs, each of which has a row for the type."""
    times: Any = collections.Counter()  # of floats
    for operation in profile:
        times[operation.type] += operation.avg_ms
    return times


def _real_text(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    for count in sorted({record.threads for record in records})[:1]:
        shown = [record for record in records if record.threads == count]
        title = f"Share of real texts by time, {describe_threads(count)}"
        lines = list(drawing.lines(shown, looks))
        alt = "; ".join(
            f"{look.label}: half within {np.median(record.text_ms):.2f} ms"
            for look, series in lines
            for record in series
        )
        slowest = drawing.slowest_text(shown)
        draw = functools.partial(drawing.draw_share, records=shown, looks=looks, slowest=slowest)
        yield Panel("texts", title, alt, draw, [look for look, _ in lines])


def _temperature(records: Sequence[Record]) -> Iterator[Panel]:
    readings = sorted(
        (
            datetime.datetime.fromisoformat(state["at"]),
            state["temperature_c"],
            bool(record.throttled),
        )
        for record in records
        for state in record.states
        if None not in (state.get("temperature_c"), state.get("at"))
    )
    if len(readings) < 2:
        return
    times, degrees, throttled = zip(*readings, strict=True)
    minutes = [(time - times[0]).total_seconds() / 60 for time in times]
    alt = (
        f"{degrees[0]:.1f} °C at first, {degrees[-1]:.1f} °C after {minutes[-1]:.0f} minutes, "
        f"at most {max(degrees):.1f} °C"
    )
    looks = [Look("around a throttled run", COLOURS[1], "P")] if any(throttled) else []
    draw = functools.partial(
        drawing.draw_temperature, minutes=minutes, degrees=degrees, throttled=throttled
    )
    yield Panel("temperature", "Temperature over time", alt, draw, looks)


def _height(bars: Sequence[Bar]) -> float:
    return 0.7 + BAR_INCHES * len(bars)


def _for_html(drawn: str, alt: str, prefix: str) -> str:
    """Matplotlib's file as an element that fits its column, with a text for screen readers and unique ids."""
    root = ElementTree.fromstring(drawn)
    for parent in list(root.iter()):
        for child in list(parent):
            # A style would apply to the whole page.
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        values = {name.removeprefix(XLINK): value for name, value in element.items()}
        element.attrib = {name: _attribute(name, value, prefix) for name, value in values.items()}
    del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(name: str, value: str, prefix: str) -> str:
    """An attribute with the page's colours and font, and ids that start with `prefix`."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "style":
        value = re.sub(r"font-family: [^;]+; ", "", value)
        return re.sub("#[0-9a-f]{6}", lambda colour: VARIABLES.get(colour[0], colour[0]), value)
    return re.sub(r"(^#|url\(#)", rf"\g<1>{prefix}-", value)
