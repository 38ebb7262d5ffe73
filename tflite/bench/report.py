"""Records -> tables for people and Markdown; the report's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.files import staged_file
from tflite.bench.records import Record, by_name, on_text

RECORDS_FILE, TABLE_FILE = "records.json", "table.md"
LENGTH_PLOT_FILE, TEXT_PLOT_FILE = "latency.png", "real_text.png"


def table(records: Sequence[Record]) -> str:
    """The records as two aligned tables, of loading and of latency, with notes."""
    parts = [_aligned(_load_rows(records)), _aligned(_latency_rows(records))]
    return "\n\n".join([_heading(records), *parts, "\n".join(_notes(records))])


def markdown(records: Sequence[Record]) -> str:
    """The same in Markdown."""
    parts = [_piped(_load_rows(records)), _piped(_latency_rows(records))]
    notes = "\n".join(f"- {note}" for note in _notes(records))
    return "\n\n".join(["# Benchmark", _heading(records), *parts, notes]) + "\n"


def write(directory: str | Path, records: Sequence[Record]) -> None:
    """Writes `records.json`, `table.md`, `latency.png` and, with real text, `real_text.png`.

    Other files in the folder stay; each of these is replaced only when it is whole.
    """
    from tflite.bench import plots  # late: matplotlib takes a second

    directory = Path(directory)
    with staged_file(directory / RECORDS_FILE) as staged:
        text = json.dumps({"records": records}, indent=2, ensure_ascii=False)
        staged.write_text(text + "\n", encoding="utf-8")
    with staged_file(directory / TABLE_FILE) as staged:
        staged.write_text(markdown(records), encoding="utf-8")
    with staged_file(directory / LENGTH_PLOT_FILE) as staged:
        plots.lengths(records, staged)
    # An earlier report's plot would pass for this one's.
    (directory / TEXT_PLOT_FILE).unlink(missing_ok=True)
    if on_text(records):
        with staged_file(directory / TEXT_PLOT_FILE) as staged:
            plots.texts(records, staged)


def _heading(records: Sequence[Record]) -> str:
    first = records[0]
    host, versions = first["host"], ", ".join(f"{k} {v}" for k, v in first["versions"].items())
    return (
        f"{host['name']}: {host['cpu']}, {host['cores']} cores, {host['memory_gb']} GB, "
        f"{host['os']}, load {host['load_average']}; {versions}; {first['date']}"
    )


def _notes(records: Sequence[Record]) -> list[str]:
    names = by_name(records)
    text = records[0]["text"]
    notes = [
        f"ratio: the median of {names[records[0]['package']]} divided by this one's, of the same "
        "length and threads; above 1 is faster",
        "init: opening and first allocation; memory: what the package adds to the peak of the "
        "process; both in fresh processes",
        f"text: {text['source']}, {text['texts']} texts",
    ]
    if any(record["timed"] == "invoke" for record in records):
        notes.append("a number of tokens: the run alone, inputs being in place")
    for record in on_text(records)[:1]:
        lengths = record["lengths"]
        notes.append(
            f"each text: the whole call (resize, allocate, copy, run) on {lengths['min']} to "
            f"{lengths['max']} tokens, median {lengths['median']:g}"
        )
    return notes


def _load_rows(records: Sequence[Record]) -> list[list[str]]:
    """A header, and a row for each package and number of threads."""
    names = by_name(records)
    rows = [["package", "recipe", "MB", "threads", "init ms", "first run ms", "memory MB"]]
    seen = {(r["package"], r["threads"]): r for r in records}
    for (package, threads), record in seen.items():
        rows.append(
            [
                names[package],
                record["recipe"] or "-",
                f"{record['size_bytes'] / 1e6:.2f}",
                str(threads),
                f"{record['init_ms']:.1f}",
                f"{record['first_run_ms']:.2f}",
                f"{record['peak_memory_mb']:.1f}",
            ]
        )
    return rows


def _latency_rows(records: Sequence[Record]) -> list[list[str]]:
    """A header, and a row for each record, those to be compared next to each other."""
    names = by_name(records)
    packages = list(names)
    rows = [
        ["tokens", "threads", "package", "median ms", "p5 to p95", "min", "mean", "runs", "ratio"]
    ]

    def order(record: Record) -> tuple[Any, ...]:
        length = record["seq_length"]
        return length is None, length, record["threads"], packages.index(record["package"])

    for record in sorted(records, key=order):
        times = record["latency_ms"]
        ratio = _ratio(record, records)
        rows.append(
            [
                _tokens(record),
                str(record["threads"]),
                names[record["package"]],
                f"{times['median']:.2f}",
                f"{times['p5']:.2f} to {times['p95']:.2f}",
                f"{times['min']:.2f}",
                f"{times['mean']:.2f}",
                str(times["count"]),
                "-" if ratio is None else f"{ratio:.2f}x",
            ]
        )
    return rows


def _ratio(record: Record, records: Sequence[Record]) -> float | None:
    """How many times the first package's median is this one's; None where that was not measured."""
    for other in records:
        same = all(other[key] == record[key] for key in ("seq_length", "threads"))
        if same and other["package"] == records[0]["package"]:
            return other["latency_ms"]["median"] / record["latency_ms"]["median"]
    return None


def _tokens(record: Record) -> str:
    if record["seq_length"] is None:
        return "each text"
    padded = record["padded_to"]
    return f"{record['seq_length']}" + (f" (padded to {padded})" if padded else "")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _piped(rows: Sequence[Sequence[str]]) -> str:
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)
