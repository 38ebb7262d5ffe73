"""A result as tables for the terminal and in Markdown, and as a report's folder."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.page.page import printable

from ..record import RECORDS_FILE, Result
from . import tables
from .records import (
    group_by_device,
    length_records,
    result_package_names,
    text_records,
)

TABLE_FILE, PAGE_FILE = "table.md", "report.html"
LENGTH_PLOT_FILE, TEXT_PLOT_FILE = "latency.png", "real_text.png"


def table(result: Result) -> str:
    """Aligned tables of loading and of latency for each device; below them failures, gaps and notes."""
    formats = {"title": printable, "line": printable, "rows": tables.aligned, "notes": _lines}
    return "\n\n".join(formats[role](content) for role, content in _parts(result))


def markdown(result: Result) -> str:
    """The same in Markdown."""
    formats: dict[str, Callable[[Any], str]] = {
        "title": lambda text: f"## {_escape(text)}",
        "line": _escape,
        "rows": _markdown_table,
        "notes": lambda notes: "\n".join(f"- {_escape(note)}" for note in notes),
    }
    parts = (formats[role](content) for role, content in _parts(result))
    return "\n\n".join(["# Benchmark", *parts]) + "\n"


def write(directory: str | Path, result: Result) -> None:
    """Writes `records.json`, `table.md`, `report.html` and the plots.

    `latency.png` needs records at lengths, `real_text.png` records on real text. Other files in the folder
    stay; each of these is replaced only once it is complete.

    Raises:
        InputError: a file cannot be written.
    """
    from . import html as page  # late, as plots: matplotlib takes a second
    from . import plots

    directory, records = Path(directory), result.records
    texts = {
        RECORDS_FILE: json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n",
        TABLE_FILE: markdown(result),
        PAGE_FILE: page.page(result),
    }
    for name, text in texts.items():
        with staged_file(directory / name) as staged:
            # A path that is not UTF-8 has lone surrogates, which no other program reads.
            staged.write_text(text, encoding="utf-8", errors="replace")
    images = {
        LENGTH_PLOT_FILE: (plots.plot_lengths, length_records(records)),
        TEXT_PLOT_FILE: (plots.plot_texts, text_records(records)),
    }
    for name, (draw, shown) in images.items():
        # The plot of an earlier report would be taken for this one's.
        (directory / name).unlink(missing_ok=True)
        if shown:
            with staged_file(directory / name) as staged:
                draw(shown, staged)


def _parts(result: Result) -> Iterator[tuple[str, Any]]:
    """(role, content) of everything that a table shows, from top to bottom."""
    records, names = result.records, result_package_names(result)
    if not records:
        yield "line", "nothing was measured"
    for title, group in group_by_device(records).items():
        yield "title", title
        if hardware := tables.hardware(group[0]):
            yield "line", ", ".join(hardware)
        yield "line", "; ".join(tables.software(group[0]))
        yield "rows", tables.load_rows(group, names)
        yield "rows", tables.latency_rows(group, names, records[0].package)
    if result.failures:
        yield "title", "Failed"
        yield "rows", tables.failure_rows(result)
    if result.missing:
        yield "title", "Planned but not measured"
        yield "rows", tables.missing_rows(result)
    if records:
        yield "notes", tables.notes(result)


def _lines(notes: Sequence[str]) -> str:
    return "\n".join(map(printable, notes))


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(map(_escape, row))} |" for row in ruled)


def _escape(text: str) -> str:
    """Text for Markdown that starts no tag, cell or code."""
    return html.escape(printable(text), quote=False).replace("|", "\\|").replace("`", "\\`")
