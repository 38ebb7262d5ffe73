"""A result as one self-contained HTML file, for phones and desktops, light and dark."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..record import Record, Result
from . import (
    drawing,
    panels,
    summary,
    tables,
)
from .drawing import Look
from .records import (
    comparable_group,
    emulator_warning,
    group_by_device,
    printable,
    result_package_names,
    transport,
)

STYLE, SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
)
# The characters of the legend for `drawing.MARKERS` and `drawing.DASHES`.
SYMBOLS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
STROKES = {"-": "──", "--": "╌╌", ":": "┈┈", "-.": "─╌", "": ""}
# CSS classes of the columns that are not numbers.
CLASSES = dict.fromkeys(tables.WORDS, "words") | dict.fromkeys(tables.SENTENCES, "words sentence")
METHOD = (
    "median: half of the runs were faster; p5 and p95: 5% and 95% were; MB: 10^6 bytes",
    "throttled: the device slowed itself down because it was hot",
)
TRANSPORTS = {
    "host": "the machine that ran the benchmark",
    "local": "the machine that ran the benchmark, with benchmark_model",
    "adb": "over adb",
    "ssh": "over ssh",
    "ios": "iOS, from the app's log",
}


def page(result: Result) -> str:
    """The report: findings and warnings, each device, what failed, how to read it, the records.

    The page loads nothing and runs only its own script; its policy forbids everything else, so that names
    of devices and files can do no harm.
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
    names = result_package_names(result)
    looks = drawing.assign_looks(result.records)
    for index, records in enumerate(group_by_device(result.records).values()):
        hardware = records[0].hardware
        name, warning = hardware["name"], emulator_warning(hardware)
        badge = f' <span class="badge">{warning}</span>' if warning else ""
        yield f"<section>\n<h2>{_text(name)}{badge}</h2>\n"
        yield _card(records)
        figures = [
            _figure(panel, f"d{index}-{panel.name}") for panel in panels.panels(records, looks)
        ]
        yield f'<div class="plots">\n{"".join(figures)}</div>\n'
        latency = tables.latency_rows(records, names, result.records[0].package)
        yield _table(f"Latency on {name}", latency)
        yield _table(f"Loading and memory on {name}", tables.load_rows(records, names))
        profiled = comparable_group([record for record in records if record.profile])
        if profiled:
            rows = tables.profile_rows(profiled, names)
            yield "<details>\n<summary>Time by operator</summary>\n"
            yield _table(f"Operators on {name}", rows) + "</details>\n"
        yield "</section>\n"


def _losses(result: Result) -> Iterator[str]:
    """What failed, and what is missing."""
    if result.failures:
        yield "<h2>Failed</h2>\n"
        yield _table("Failures and their causes", tables.failure_rows(result))
    if result.missing:
        yield "<h2>Missing</h2>\n"
        yield _table("Planned but not measured", tables.missing_rows(result))


def _card(records: Sequence[Record]) -> str:
    """What is known of a device, and its state during the measurements."""
    device = records[0].device
    states = [state for record in records for state in record.states]
    facts = {
        "Device": f"{TRANSPORTS[transport(device)]}: {device}",
        "Hardware": ", ".join(tables.hardware(records[0])),
        "Software": ", ".join(tables.software(records[0])),
        "Temperature": _range([state.get("temperature_c") for state in states], " °C"),
        "Battery": _range([state.get("battery_percent") for state in states], "%"),
    }
    lines = (f"<dt>{term}</dt><dd>{_text(fact)}</dd>\n" for term, fact in facts.items() if fact)
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
    # In the tab order, so that it can be scrolled by keyboard.
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
    symbol = SYMBOLS[look.marker] + STROKES[look.dash]
    return f'<span style="color: {colour}" aria-hidden="true">{symbol}</span>'


def _data(result: Result) -> str:
    """The records in the page, and a link that saves them. Without `<` they cannot end their element."""
    text = json.dumps(result.to_json()).replace("<", "\\u003c")
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
