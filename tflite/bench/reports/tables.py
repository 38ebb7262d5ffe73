"""Result -> rows of text and notes: what the terminal, Markdown and the page all show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..host import host_info
from .records import (
    Record,
    Result,
    by_device,
    is_mean,
    marks,
    milliseconds,
    names_of,
    on_text,
    printable,
    ratio,
    setting,
    speed_up,
    titles,
    varying,
    where,
)

Rows = list[list[str]]
Columns = Sequence[tuple[str, Callable[[Record], str]]]

NOTHING = "-"
# Columns of words, and of sentences; the others are numbers, however they are written.
WORDS = ("package", "recipe", "delegate", "cores", "type", "cause", "at", "marks")
SENTENCES = ("device", "message")


def load_rows(records: Sequence[Record], names: Mapping[str, str]) -> Rows:
    """Of one device: a header, and a row for each package and setting, from its longest input."""
    longest: dict[Any, Record] = {}
    for record in records:
        key = (record["package"], *setting(record))
        if key not in longest or _length(record) >= _length(longest[key]):
            longest[key] = record
    columns = [
        ("package", lambda r: names[r["package"]]),
        ("recipe", lambda r: r["recipe"] or NOTHING),
        ("MB", lambda r: number(r["size_bytes"] / 1e6, 2)),
        *setting_columns(records),
        ("init ms", lambda r: number(r["init_ms"], 1)),
        ("first run ms", lambda r: number(r["first_run_ms"], 2)),
        ("memory MB", lambda r: number(r["peak_memory_mb"], 1)),
    ]
    return table_of(columns, list(longest.values()))


def latency_rows(records: Sequence[Record], names: Mapping[str, str], first: str) -> Rows:
    """Of one device: a header, and a row for each record, those to be compared next to each other.

    `first` is the path of the package that the others' ratios are to.
    """
    packages = list(names)

    def order(record: Record) -> tuple[Any, ...]:
        place = packages.index(record["package"])
        cores = record["core_mask"] or ""
        return _length(record), record["threads"], record["delegate"], cores, place

    columns = [
        ("tokens", tokens),
        *setting_columns(records),
        ("package", lambda r: names[r["package"]]),
        ("median ms", median),
        ("95% CI", _interval),
        ("p5 to p95", _spread),
        ("min", lambda r: number(r["latency_ms"]["min"], 2)),
        ("mean", lambda r: number(r["latency_ms"]["mean"], 2)),
        ("runs", lambda r: str(r["latency_ms"]["count"])),
        ("ratio", lambda r: _times(_ratio(r, records, first))),
        ("over BERT-base", lambda r: _times(speed_up(r, records))),
        ("marks", lambda r: ", ".join(marks(r)) or NOTHING),
    ]
    return table_of(columns, sorted(records, key=order))


def profile_rows(records: Sequence[Record], names: Mapping[str, str]) -> Rows:
    """A header, and a row for each package and type of operator."""
    rows = [["package", "type", "operators", "ms a run", "%"]]
    for record in records:
        for node in record.get("profile") or []:
            figures = [number(node["avg_ms"], 3), number(node["percent"], 1)]
            rows.append([names[record["package"]], node["type"], str(node["count"]), *figures])
    return rows


def failure_rows(result: Result) -> Rows:
    """A header, and a row for each failure, in the order in which they came."""
    columns = [*_cell_columns(result), *((key, _text(key)) for key in ("cause", "message", "at"))]
    return table_of(columns, result["failures"])


def missing_rows(result: Result) -> Rows:
    """A header, and a row for each line of the plan that has no record."""
    return table_of(_cell_columns(result), result["missing"])


def hardware(record: Record) -> list[str]:
    """What is known of a record's device, part by part: CPU, its SIMD, cores, memory, system, load."""
    known = record["hardware"]
    clusters = " + ".join(f"{n} at {mhz} MHz" for n, mhz in known.get("clusters") or [] if mhz)
    cores = f"{known['cores']} cores" if known.get("cores") else ""
    parts = [
        host_info.processor(known),
        cores + (f" ({clusters})" if clusters else ""),
        f"{known['memory_gb']} GB" if known.get("memory_gb") else "",
        known.get("os"),
        known.get("abi"),
        f"governor {known['governor']}" if known.get("governor") else "",
        f"load {known['load_average']}" if known.get("load_average") is not None else "",
    ]
    return [str(part) for part in parts if part]


def software(record: Record) -> list[str]:
    """What measured: versions, the tool with the start of its hash, and when."""
    tool = record.get("tool")
    parts = [f"{name} {version}" for name, version in (record.get("versions") or {}).items()]
    if tool:
        digest = f" {tool['sha256'][:12]}" if tool.get("sha256") else ""
        parts.append(f"{tool['name']}{digest} ({tool['mode']})")
    return [*parts, str(record["date"])] if record.get("date") else parts


def notes(result: Result) -> list[str]:
    """How to read the tables."""
    records = result["records"]
    if not records:
        return []
    names, devices = names_of(result), by_device(records)
    sources = {(r["text"]["source"], r["text"]["texts"]): None for r in records}
    found = [
        f"ratio: the time of {names[records[0]['package']]} divided by this one's, of the same "
        "length and setting; above 1 is faster",
        "init: opening and first allocation; memory: what the package adds to the peak of the "
        "process; both in fresh processes, with the longest input",
        *(f"text: {source}, {count} texts" for source, count in sources),
    ]
    if any(record.get("ci95_ms") for record in records):
        found.append("95% CI: of the median, half its width in percent of the median")
    if any(speed_up(record, found) for found in devices.values() for record in found):
        found.append(
            "over BERT-base: its time divided by this one's; float32 and fp16 against float32, "
            "other recipes against the stock converter's int8 weights; only where both take the "
            "input at its own length or both pad it"
        )
    if any(map(is_mean, records)):
        found.append("mean: the tool's build prints no median; a mean stands in its place")
    if any(record["timed"] == "invoke" for record in records):
        found.append("a number of tokens: the run alone, inputs being in place")
    for record in on_text(records)[:1]:
        lengths = record["lengths"]
        found.append(
            f"each text: the whole call (resize, allocate, copy, run) on {lengths['min']} to "
            f"{lengths['max']} tokens, median {lengths['median']:g}"
        )
    if any("delegated" in mark for record in records for mark in marks(record)):
        found.append(
            "delegated: nodes of the graph that the delegate took, of all; others ran without it"
        )
    return [*found, *_throttled(devices, names)]


def median(record: Record) -> str:
    """The median in milliseconds; a mean in its place says so."""
    return ("mean " if is_mean(record) else "") + number(milliseconds(record), 2)


def number(value: float | None, digits: int) -> str:
    """`value` with so many digits behind the point; `NOTHING` of None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def table_of(columns: Columns, records: Sequence[Record]) -> Rows:
    """A header, and a row for each record; a column that has nothing to tell is left out."""
    cells = [[show(record) for record in records] for _, show in columns]
    told = [(header, column) for (header, _), column in zip(columns, cells, strict=True)]
    told = [(header, column) for header, column in told if set(column) != {NOTHING}]
    return [[header for header, _ in told], *map(list, zip(*(column for _, column in told)))]


def setting_columns(records: Sequence[Record]) -> Columns:
    """Threads always; delegate and cores where they vary."""
    found = [("threads", _text("threads"))]
    found += [("delegate", _text("delegate"))] if varying(records, "delegate") else []
    return found + ([("cores", _cores)] if varying(records, "core_mask") else [])


def tokens(record: Record) -> str:
    """The length of a record."""
    return "each text" if record["seq_length"] is None else str(record["seq_length"])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text in columns."""
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in clean)
    return "\n".join(line.rstrip() for line in lines)


def _throttled(devices: Mapping[str, Sequence[Record]], names: Mapping[str, str]) -> list[str]:
    """Why each record is marked as throttled."""
    return [
        f"throttled: {title}, {names[record['package']]}, {where(record)}: "
        + ", ".join(record["throttled"])
        for title, records in devices.items()
        for record in records
        if record.get("throttled")
    ]


def _cell_columns(result: Result) -> Columns:
    """What names a line of the plan."""
    names, shown = names_of(result), titles(result)
    return [
        ("device", lambda r: shown[r["device"]]),
        ("package", lambda r: names.get(r["package"], NOTHING)),
        ("tokens", _text("seq_length")),
        *((key, _text(key)) for key in ("threads", "delegate")),
        ("cores", _text("core_mask")),
    ]


def _text(key: str) -> Callable[[Record], str]:
    return lambda record: NOTHING if record[key] is None else str(record[key])


def _cores(record: Record) -> str:
    return record["core_mask"] or "all"


def _length(record: Record) -> float:
    """For sorting: every text at its own length comes last."""
    return math.inf if record["seq_length"] is None else record["seq_length"]


def _interval(record: Record) -> str:
    if is_mean(record) or not record.get("ci95_ms"):
        return NOTHING
    low, high = record["ci95_ms"]
    return f"± {50 * (high - low) / milliseconds(record):.1f}%"


def _spread(record: Record) -> str:
    low, high = (record["latency_ms"][key] for key in ("p5", "p95"))
    return NOTHING if low is None else f"{low:.2f} to {high:.2f}"


def _times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}x"


def _ratio(record: Record, records: Sequence[Record], first: str) -> float | None:
    """How many times `first`'s time is this one's; None where that was not measured."""
    for other in records:
        same = (_length(other), *setting(other)) == (_length(record), *setting(record))
        if same and other["package"] == first:
            return ratio(other, record)
    return None
