"""A result as one self-contained HTML file, for phones and desktops, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqb_tf.page.page import bullets, card, document, download, table, text

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
    result_package_names,
    transport,
)

# The characters of the legend for `drawing.MARKERS` and `drawing.DASHES`.
SYMBOLS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", drawing.BAND.marker: "▒▒"}
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
    """The report: findings and warnings, each device, what failed, how to read it, the records."""
    parts = [
        bullets("summary", summary.findings(result)),
        bullets("warnings", summary.warnings(result)),
        *_devices(result),
        *_losses(result),
        "<h2>How to read this</h2>",
        bullets("quiet", [*METHOD, *tables.notes(result)]),
        download("Records", "records.json", result.to_json()),
    ]
    return document("Benchmark", parts)


def _devices(result: Result) -> Iterator[str]:
    """A section for each device: what it is, tables, plots."""
    names = result_package_names(result)
    looks = drawing.assign_looks(result.records)
    for index, records in enumerate(group_by_device(result.records).values()):
        hardware = records[0].hardware
        name, warning = hardware["name"], emulator_warning(hardware)
        badge = f' <span class="badge">{warning}</span>' if warning else ""
        yield f"<section>\n<h2>{text(name)}{badge}</h2>\n"
        yield card(_facts(records))
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


def _facts(records: Sequence[Record]) -> dict[str, str]:
    """What is known of a device, and its state during the measurements."""
    device = records[0].device
    states = [state for record in records for state in record.states]
    return {
        "Device": f"{TRANSPORTS[transport(device)]}: {device}",
        "Hardware": ", ".join(tables.hardware(records[0])),
        "Software": ", ".join(tables.software(records[0])),
        "Temperature": _range([state.get("temperature_c") for state in states], " °C"),
        "Load average": _range([state.get("load_average") for state in states], ""),
        "Battery": _range([state.get("battery_percent") for state in states], "%"),
    }


def _range(values: Sequence[float | None], unit: str) -> str:
    known = sorted({value for value in values if value is not None})
    ends = dict.fromkeys([*known[:1], *known[-1:]])  # one, if nothing changed
    return " to ".join(f"{value:g}{unit}" for value in ends)


def _table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    return table(caption, rows, CLASSES)


def _figure(panel: panels.Panel, prefix: str) -> str:
    legend = "".join(f"<li>{_symbol(look)} {text(look.label)}</li>" for look in panel.looks)
    return (
        f'<figure class="plot">\n<figcaption>{text(panel.title)}</figcaption>\n'
        + (f'<ul class="legend">{legend}</ul>\n' if legend else "")
        + panels.svg(panel, prefix)
        + "</figure>\n"
    )


def _symbol(look: Look) -> str:
    colour = panels.VARIABLES[look.colour]
    symbol = SYMBOLS[look.marker] + STROKES[look.dash]
    return f'<span style="color: {colour}" aria-hidden="true">{symbol}</span>'
