"""Result -> tables for the terminal and in Markdown; the report's folder."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file

from . import tables
from .records import (
    Result,
    by_device,
    names_of,
    of_lengths,
    on_text,
    printable,
)

RECORDS_FILE, TABLE_FILE, PAGE_FILE = "records.json", "table.md", "report.html"
LENGTH_PLOT_FILE, TEXT_PLOT_FILE = "latency.png", "real_text.png"


def table(result: Result) -> str:
    """The result as aligned tables, of loading and of latency for each device, with notes.

    What failed and what is missing comes below.
    """
    shown = {"title": printable, "line": printable, "rows": tables.aligned, "notes": _lines}
    return "\n\n".join(shown[kind](content) for kind, content in _parts(result))


def markdown(result: Result) -> str:
    """The same in Markdown."""
    shown: dict[str, Callable[[Any], str]] = {
        "title": lambda text: f"## {_escaped(text)}",
        "line": _escaped,
        "rows": _piped,
        "notes": lambda notes: "\n".join(f"- {_escaped(note)}" for note in notes),
    }
    parts = (shown[kind](content) for kind, content in _parts(result))
    return "\n\n".join(["# Benchmark", *parts]) + "\n"


def write(directory: str | Path, result: Result) -> None:
    """Writes `records.json`, `table.md`, `report.html` and the plots.

    `latency.png` needs lengths, `real_text.png` real text. Other files in the folder stay; each of these
    is replaced only when it is whole.

    Raises:
        InputError: a file cannot be written.
    """
    from . import html as page  # late, as plots: matplotlib takes a second
    from . import plots

    directory, records = Path(directory), result["records"]
    texts = {
        RECORDS_FILE: json.dumps(result, indent=2, ensure_ascii=False) + "\n",
        TABLE_FILE: markdown(result),
        PAGE_FILE: page.page(result),
    }
    for name, text in texts.items():
        with staged_file(directory / name) as staged:
            # A path that is no text has lone surrogates; \udc80 is how JSON writes them.
            staged.write_text(text, encoding="utf-8", errors="backslashreplace")
    images = {
        LENGTH_PLOT_FILE: (plots.lengths, of_lengths(records)),
        TEXT_PLOT_FILE: (plots.texts, on_text(records)),
    }
    for name, (draw, shown) in images.items():
        # An earlier report's plot would pass for this one's.
        (directory / name).unlink(missing_ok=True)
        if shown:
            with staged_file(directory / name) as staged:
                draw(shown, staged)


def _parts(result: Result) -> Iterator[tuple[str, Any]]:
    """(kind, content) of all that a table shows, from top to bottom."""
    records, names = result["records"], names_of(result)
    if not records:
        yield "line", "nothing was measured"
    for title, found in by_device(records).items():
        yield "title", title
        if known := tables.hardware(found[0]):
            yield "line", ", ".join(known)
        yield "line", "; ".join(tables.software(found[0]))
        yield "rows", tables.load_rows(found, names)
        yield "rows", tables.latency_rows(found, names, records[0]["package"])
    if result["failures"]:
        yield "title", "Failed"
        yield "rows", tables.failure_rows(result)
    if result["missing"]:
        yield "title", "Planned and not measured"
        yield "rows", tables.missing_rows(result)
    if records:
        yield "notes", tables.notes(result)


def _lines(notes: Sequence[str]) -> str:
    return "\n".join(map(printable, notes))


def _piped(rows: Sequence[Sequence[str]]) -> str:
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in ruled)


def _escaped(text: str) -> str:
    """For Markdown: text that starts no tag, no cell and no code."""
    return html.escape(printable(text), quote=False).replace("|", "\\|").replace("`", "\\`")
