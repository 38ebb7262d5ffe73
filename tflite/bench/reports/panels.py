"""Records of one device -> the plots of the page, each in words too, as SVG that stands in HTML."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import drawing
from .drawing import (
    COLOURS,
    EDGE,
    Bar,
    Look,
    Looks,
)
from .records import (
    Record,
    focus,
    milliseconds,
    of_lengths,
    on_text,
    printable,
    speed_up,
    threads,
    varying,
    where,
)

# A phone's 360 pixels leave a plot some 330: letters are then 11 pixels high.
WIDTH_INCHES, HEIGHT_INCHES = 4.0, 2.9
BAR_INCHES = 0.46
# Types of operators that a profile tells apart; the others are one part of its bars.
TYPES = 6
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
# The page's CSS variables: they follow the reader's light or dark scheme.
VARIABLES = {colour: f"var(--series-{place})" for place, colour in enumerate(COLOURS)}
VARIABLES |= {drawing.FOREGROUND: "currentColor", EDGE: "var(--edge)", drawing.GRID: "var(--grid)"}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot, before it is drawn.

    Attributes:
        name: unlike any other of the device.
        alt: what is to be seen, in words with figures.
        looks: the legend.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[Axes], None]
    looks: Sequence[Look] = ()
    height: float = HEIGHT_INCHES


def panels(records: Sequence[Record], looks: Looks) -> list[Panel]:
    """The plots that have more than one value to show; `looks` are of all devices together."""
    compared = focus(records)
    return [
        *_by_length(of_lengths(records), looks),
        *_by_threads(records, compared, looks),
        *_by_recipe(compared, looks),
        *_speed_up(records, looks),
        *_memory(compared, looks),
        *_profile(records, looks),
        *_real_text(on_text(records), looks),
        *_temperature(records),
    ]


def svg(panel: Panel, prefix: str) -> str:
    """A panel as an `<svg>` element for HTML, its ids starting with `prefix`.

    Text stays text, the background is what is behind it, colours are the page's CSS variables.
    """
    style = {**drawing.STYLE, "svg.fonttype": "none", "svg.hashsalt": prefix}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH_INCHES, panel.height), layout="constrained")
        panel.draw(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return _for_html(drawn.getvalue(), panel.alt, prefix)


def _by_length(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    for count in sorted({record["threads"] for record in records}):
        shown = [record for record in records if record["threads"] == count]
        if varying(shown, "seq_length"):
            title = f"Latency by length, {threads(count)}"
            yield _curves(f"length-{count}", title, shown, looks, "seq_length")


def _by_threads(
    records: Sequence[Record], compared: Sequence[Record], looks: Looks
) -> Iterator[Panel]:
    shown = [record for record in records if record["seq_length"] == compared[0]["seq_length"]]
    if varying(shown, "threads"):
        length = compared[0]["seq_length"]
        tokens = "each text" if length is None else f"{length} tokens"
        yield _curves("threads", f"Latency by threads, {tokens}", shown, looks, "threads")


def _curves(name: str, title: str, records: Sequence[Record], looks: Looks, key: str) -> Panel:
    shown = list(drawing.lines(records, looks))
    unit = "tokens" if key == "seq_length" else "threads"
    alt = "; ".join(
        f"{look.label}: "
        + ", ".join(f"{milliseconds(record):.2f} ms at {record[key]} {unit}" for record in own)
        for look, own in shown
    )
    draw = functools.partial(drawing.draw_curves, records=records, looks=looks, key=key)
    return Panel(
        name, f"{title} ({drawing.centres(records)})", alt, draw, [look for look, _ in shown]
    )


def _by_recipe(compared: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    own = [record for record in compared if record["recipe"] and not record.get("baseline")]
    if varying(own, "recipe"):
        title = f"Latency by recipe, {where(own[0])} ({drawing.centres(own)})"
        unit = "milliseconds a run"
        yield _bars("recipe", title, own, looks, milliseconds, unit, named_by="recipe")


def _speed_up(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    others = [record for record in records if record.get("baseline") != "bert-base"]
    shown = focus([record for record in others if speed_up(record, records)])
    if len(shown) > 1:
        title = f"Speed-up over BERT-base, {where(shown[0])}"
        value = functools.partial(speed_up, records=records)
        yield _bars("speed-up", title, shown, looks, value, "times as fast")


def _memory(compared: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    shown = [record for record in compared if record["peak_memory_mb"] is not None]
    if len(shown) > 1:
        title = f"Memory that a package adds, {where(shown[0])}"
        yield _bars("memory", title, shown, looks, lambda r: r["peak_memory_mb"], "MB")


def _bars(
    name: str,
    title: str,
    records: Sequence[Record],
    looks: Looks,
    value: Callable[[Record], float],
    unit: str,
    named_by: str | None = None,
) -> Panel:
    """A bar for each record; `named_by` is a key whose value is named too."""
    bars = []
    for record in records:
        look = drawing.look_of(record, looks)
        label = look.label + (f" ({record[named_by]})" if named_by else "")
        bars.append(Bar(label, [(value(record), look.colour)], f"{value(record):.2f}"))
    alt = f"{unit}: " + ", ".join(f"{bar.label} {bar.value}" for bar in bars)
    draw = functools.partial(drawing.draw_bars, bars=bars, xlabel=unit)
    return Panel(name, title, alt, draw, height=_height(bars))


def _profile(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    shown = focus([record for record in records if record.get("profile")])
    if not shown:
        return
    times = [_by_type(record["profile"]) for record in shown]
    totals = sum(times, collections.Counter())
    types = {kind: COLOURS[place] for place, (kind, _) in enumerate(totals.most_common(TYPES))}
    bars = []
    for record, of_one in zip(shown, times, strict=True):
        parts = [(of_one[kind], colour) for kind, colour in types.items()]
        others = sum(time for kind, time in of_one.items() if kind not in types)
        label = drawing.look_of(record, looks).label
        bars.append(Bar(label, [*parts, (others, EDGE)], f"{sum(of_one.values()):.2f}"))
    legend = [Look(printable(kind), colour) for kind, colour in types.items()]
    legend += [Look("others", EDGE)] if len(totals) > TYPES else []
    alt = "milliseconds a run: " + "; ".join(
        f"{bar.label}: "
        + ", ".join(f"{look.label} {part[0]:.2f}" for look, part in zip(legend, bar.parts))
        for bar in bars
    )
    draw = functools.partial(drawing.draw_bars, bars=bars, xlabel="milliseconds a run")
    title = f"Time by type of operator, {where(shown[0])}"
    yield Panel("profile", title, alt, draw, legend, _height(bars))


def _by_type(profile: Sequence[Mapping[str, Any]]) -> collections.Counter:
    """{type: milliseconds a run}: each subgraph has its own line of a type."""
    found = collections.Counter()
    for node in profile:
        found[node["type"]] += node["avg_ms"]
    return found


def _real_text(records: Sequence[Record], looks: Looks) -> Iterator[Panel]:
    for count in sorted({record["threads"] for record in records})[:1]:
        shown = [record for record in records if record["threads"] == count]
        title = f"Real texts answered in a time, {threads(count)}"
        found = list(drawing.lines(shown, looks))
        alt = "; ".join(
            f"{look.label}: half within {np.median(record['samples']['ms']):.2f} ms"
            for look, own in found
            for record in own
        )
        slowest = drawing.slowest_text(shown)
        draw = functools.partial(drawing.draw_share, records=shown, looks=looks, slowest=slowest)
        yield Panel("texts", title, alt, draw, [look for look, _ in found])


def _temperature(records: Sequence[Record]) -> Iterator[Panel]:
    readings = sorted(
        (
            datetime.datetime.fromisoformat(state["at"]),
            state["temperature_c"],
            bool(r.get("throttled")),
        )
        for r in records
        for state in r.get("states") or []
        if state.get("temperature_c") is not None
    )
    if len(readings) < 2:
        return
    times, degrees, hot = zip(*readings, strict=True)
    minutes = [(time - times[0]).total_seconds() / 60 for time in times]
    alt = (
        f"{degrees[0]:.1f} °C at first, {degrees[-1]:.1f} °C after {minutes[-1]:.0f} minutes, "
        f"at most {max(degrees):.1f} °C"
    )
    looks = [Look("around a throttled run", COLOURS[1], "P")] if any(hot) else []
    draw = functools.partial(drawing.draw_temperature, minutes=minutes, degrees=degrees, hot=hot)
    yield Panel("temperature", "Temperature over time", alt, draw, looks)


def _height(bars: Sequence[Bar]) -> float:
    return 0.7 + BAR_INCHES * len(bars)


def _for_html(drawn: str, alt: str, prefix: str) -> str:
    """Matplotlib's file as an element that fits its column, is read out and clashes with no other."""
    root = ElementTree.fromstring(drawn)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):  # a style would be all the page's
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        found = {name.removeprefix(XLINK): value for name, value in element.items()}
        element.attrib = {name: _attribute(name, value, prefix) for name, value in found.items()}
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
