"""Result -> one HTML file that needs nothing else: for phones and desktops, light and dark."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import (
    drawing,
    panels,
    summary,
    tables,
)
from .drawing import Look
from .records import (
    Record,
    Result,
    by_device,
    focus,
    kind,
    names_of,
    not_a_phone,
    printable,
)

STYLE, SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
)
# What a legend has for `drawing.MARKERS` and `drawing.DASHES`.
SYMBOLS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
STROKES = {"-": "──", "--": "╌╌", ":": "┈┈", "-.": "─╌", "": ""}
# How the page shows a column; the others are numbers.
CLASSES = dict.fromkeys(tables.WORDS, "words") | dict.fromkeys(tables.SENTENCES, "words sentence")
METHOD = (
    "median: half of the runs were faster; p5 and p95: 5% and 95% were; MB: 10^6 bytes",
    "throttled: the device slowed itself down; such a figure is of a hot device",
)
WAYS = {
    "host": "the machine that ran the benchmark",
    "local": "the machine that ran the benchmark, by benchmark_model",
    "adb": "over adb",
    "ssh": "over ssh",
    "ios": "iOS, from its app's log",
}


def page(result: Result) -> str:
    """The report: findings and warnings, each device, what failed, how to read it, the records.

    The page loads nothing and runs no script but its own; it forbids both to itself, so that what a
    device or a file is called can do no harm.
    """
    parts = [
        "<h1>Benchmark</h1>",
        _list("summary", summary.findings(result)),
        _list("warnings", summary.warnings(result)),
        *_devices(result),
        *_losses(result),
        "<h2>How to read this</h2>",
        _list("quiet", [*METHOD, *tables.notes(result)]),
        _data(result),
    ]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Benchmark</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{"".join(parts)}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _devices(result: Result) -> Iterator[str]:
    """A section for each device: what it is, tables, plots."""
    records, names = result["records"], names_of(result)
    looks = drawing.looks_of(records)
    for place, found in enumerate(by_device(records).values()):
        name, warning = found[0]["hardware"]["name"], not_a_phone(found[0]["hardware"])
        badge = f' <span class="badge">{warning}</span>' if warning else ""
        yield f"<section>\n<h2>{_text(name)}{badge}</h2>\n"
        yield _card(found)
        figures = [
            _figure(panel, f"d{place}-{panel.name}") for panel in panels.panels(found, looks)
        ]
        yield f'<div class="plots">\n{"".join(figures)}</div>\n'
        latency = tables.latency_rows(found, names, records[0]["package"])
        yield _table(f"Latency on {name}", latency)
        yield _table(f"Loading and memory on {name}", tables.load_rows(found, names))
        profiled = focus([record for record in found if record.get("profile")])
        if profiled:
            rows = tables.profile_rows(profiled, names)
            yield "<details>\n<summary>Operators in figures</summary>\n"
            yield _table(f"Operators on {name}", rows) + "</details>\n"
        yield "</section>\n"


def _losses(result: Result) -> Iterator[str]:
    """What failed, and what is missing."""
    if result["failures"]:
        yield "<h2>Failed</h2>\n"
        yield _table("What failed, and why", tables.failure_rows(result))
    if result["missing"]:
        yield "<h2>Missing</h2>\n"
        yield _table("Planned and not measured", tables.missing_rows(result))


def _card(records: Sequence[Record]) -> str:
    """What is known of a device, and how it was while measured."""
    device = records[0]["device"]
    states = [state for record in records for state in record.get("states") or []]
    known = {
        "Device": f"{WAYS[kind(device)]}: {device}",
        "Hardware": ", ".join(tables.hardware(records[0])),
        "Software": ", ".join(tables.software(records[0])),
        "Temperature": _range([state.get("temperature_c") for state in states], " °C"),
        "Battery": _range([state.get("battery_percent") for state in states], "%"),
    }
    lines = (f"<dt>{term}</dt><dd>{_text(told)}</dd>\n" for term, told in known.items() if told)
    return f'<dl class="card">\n{"".join(lines)}</dl>\n'


def _range(values: Sequence[float | None], unit: str) -> str:
    known = sorted({value for value in values if value is not None})
    ends = dict.fromkeys([*known[:1], *known[-1:]])  # one, if nothing changed
    return " to ".join(f"{value:g}{unit}" for value in ends)


def _table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls within the page, sorted by a click on a header."""
    classes = [f' class="{CLASSES.get(header, "number")}"' for header in rows[0]]
    head = (
        f'<th scope="col"{style}><button type="button">{_text(header)}</button></th>'
        for header, style in zip(rows[0], classes, strict=True)
    )
    body = (
        "".join(f"<td{style}>{_text(cell)}</td>" for cell, style in zip(row, classes, strict=True))
        for row in rows[1:]
    )
    lines = "".join(f"<tr>{row}</tr>\n" for row in body)
    # It can be reached by keyboard: that is how one scrolls it there.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(caption)}">\n'
        f"<table>\n<caption>{_text(caption)}</caption>\n<thead><tr>{''.join(head)}</tr></thead>\n"
        f"<tbody>\n{lines}</tbody>\n</table>\n</div>\n"
    )


def _figure(panel: panels.Panel, prefix: str) -> str:
    legend = "".join(f"<li>{_symbol(look)} {_text(look.label)}</li>" for look in panel.looks)
    return (
        f'<figure class="plot">\n<figcaption>{_text(panel.title)}</figcaption>\n'
        + (f'<ul class="legend">{legend}</ul>\n' if legend else "")
        + panels.svg(panel, prefix)
        + "</figure>\n"
    )


def _symbol(look: Look) -> str:
    colour = panels.VARIABLES[look.colour]
    shown = SYMBOLS[look.marker] + STROKES[look.dash]
    return f'<span style="color: {colour}" aria-hidden="true">{shown}</span>'


def _data(result: Result) -> str:
    """The records, inside and to save. No `<` is left in them that could end their element."""
    text = json.dumps(result).replace("<", "\\u003c")
    return (
        "<h2>Records</h2>\n"
        '<p><a class="button" id="download" download="records.json" href="#records">'
        "Save records.json</a></p>\n"
        f'<script type="application/json" id="records">{text}</script>\n'
    )


def _list(style: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>\n" for line in lines)
    return f'<ul class="{style}">\n{items}</ul>\n' if lines else ""


def _text(text: str) -> str:
    return html.escape(printable(text))
