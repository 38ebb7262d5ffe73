"""A result as rows of text and notes, for the terminal, Markdown and the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqb_tf.page.page import printable

from ...text_table import align
from ..host import host_info
from ..record import Record, Result
from .records import (
    caveats,
    crowding_load,
    describe_accelerator,
    describe_delegate,
    describe_setting,
    device_titles,
    differing_runtimes,
    group_by_device,
    ratio,
    result_package_names,
    speed_up,
    text_records,
    varies,
)

Rows = list[list[str]]
Columns = Sequence[tuple[str, Callable[[Any], str]]]

NOTHING = "-"
# Columns of words, and of sentences; the others are numbers.
WORDS = ("package", "recipe", "delegate", "ran on", "cores", "type", "cause", "at", "marks")
SENTENCES = ("device", "message")


def load_rows(records: Sequence[Record], names: Mapping[str, str]) -> Rows:
    """Loading and memory on one device: a header, and a row for each package and setting.

    The figures are those of the package's longest input.
    """
    longest: dict[Any, Record] = {}
    for record in records:
        key = (record.package, *record.setting)
        if key not in longest or _length_rank(record) >= _length_rank(longest[key]):
            longest[key] = record
    columns = [
        ("package", lambda r: names[r.package]),
        ("recipe", lambda r: r.recipe or NOTHING),
        ("MB", lambda r: number(r.size_bytes and r.size_bytes / 1e6, 2)),
        *setting_columns(records),
        ("init ms", lambda r: number(r.init_ms, 1)),
        ("first run ms", lambda r: number(r.first_run_ms, 2)),
        ("memory MB", lambda r: number(r.peak_memory_mb, 1)),
    ]
    return build_rows(columns, list(longest.values()))


def latency_rows(records: Sequence[Record], names: Mapping[str, str], first: str) -> Rows:
    """Latency on one device: a header, and a row for each record, comparable ones beside each other.

    Args:
        first: path of the package that the ratios refer to.
    """
    packages = list(names)

    def order(record: Record) -> tuple[Any, ...]:
        index = packages.index(record.package)
        cores = record.core_mask or ""
        return _length_rank(record), record.threads, describe_delegate(record), cores, index

    columns = [
        ("tokens", tokens),
        *setting_columns(records),
        *_accelerator_column(records),
        ("package", lambda r: names[r.package]),
        ("median ms", median),
        ("95% CI", _interval),
        ("p5 to p95", _spread),
        ("min", lambda r: number(r.latency_ms.min, 2)),
        ("mean", lambda r: number(r.latency_ms.mean, 2)),
        ("runs", lambda r: number(r.latency_ms.count, 0)),
        ("ratio", lambda r: _times(_ratio_to(first, r, records))),
        ("over BERT-base", lambda r: _times(speed_up(r, records))),
        ("answers off by", _answer_difference),
        ("marks", lambda r: ", ".join(caveats(r)) or NOTHING),
    ]
    return build_rows(columns, sorted(records, key=order))


def profile_rows(records: Sequence[Record], names: Mapping[str, str]) -> Rows:
    """A header, and a row for each package and type of operator."""
    rows = [["package", "type", "operators", "ms per run", "%"]]
    for record in records:
        for operation in record.profile or ():
            figures = [number(operation.avg_ms, 3), number(operation.percent, 1)]
            rows.append([names[record.package], operation.type, str(operation.count), *figures])
    return rows


def failure_rows(result: Result) -> Rows:
    """A header, and a row for each failure, in the order of time."""
    details = [(field, _show(field)) for field in ("cause", "message", "at")]
    return build_rows([*_measurement_columns(result), *details], result.failures)


def missing_rows(result: Result) -> Rows:
    """A header, and a row for each measurement of the plan that has no record."""
    return build_rows(_measurement_columns(result), result.missing)


def hardware(record: Record) -> list[str]:
    """What is known of a record's device: CPU, its SIMD, cores, memory, system, load."""
    known = record.hardware
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
    """What measured: versions, the tool with the start of its hash and its file's date, and when."""
    tool = record.tool
    parts = [f"{name} {version}" for name, version in record.versions.items()]
    if tool:
        digest = f" {tool.sha256[:12]}" if tool.sha256 else ""
        parts.append(f"{tool.name}{digest} ({tool.mode}) with a runtime of its own")
        parts += [f"file of {tool.date}"] if tool.date else []
    return [*parts, str(record.date)] if record.date else parts


def notes(result: Result) -> list[str]:
    """How to read the tables."""
    records = result.records
    if not records:
        return []
    names, devices = result_package_names(result), group_by_device(records)
    lines = [
        f"ratio: the time of {names[records[0].package]} divided by this package's, at the same length "
        "and setting; above 1 is faster",
        "init: opening and first allocation; memory: what the package adds to the peak of the "
        "process; both in fresh processes, with the longest input",
        *(
            f"text: {t.source}" + (f", {t.texts} texts" if t.texts else "")
            for t in dict.fromkeys(r.text for r in records)
            if t
        ),
    ]
    if any(record.ci95_ms for record in records):
        lines.append("95% CI: half the width of the median's interval, in percent of the median")
    if any(speed_up(record, group) for group in devices.values() for record in group):
        lines.append(
            "over BERT-base: its time divided by this package's; float32 and fp16 against float32, "
            "other recipes against the stock converter's int8 weights; only where both take the "
            "input at its own length or both pad it"
        )
    if not all(record.has_median for record in records):
        lines.append("mean: the tool's build prints no median; a mean replaces it")
    if any(record.timed == "invoke" for record in records):
        lines.append("a number of tokens: the run alone, with the inputs in place")
    for record in text_records(records)[:1]:
        lengths = record.lengths
        lines.append(
            "each text: the whole call (resize, allocate, copy, run)"
            + (
                f" on {lengths.min} to {lengths.max} tokens, median {lengths.median:g}"
                if lengths
                else ""
            )
        )
    if any(_accelerator_column(group) for group in devices.values()):
        lines.append(
            "ran on: what ran the graph, by the tool's own lines, and the share of its operations where the "
            "CPU ran the others; nnapi: what the system chose, which it does not say"
        )
    lines += _conditions(records)
    marks = [mark for record in records for mark in caveats(record)]
    explained = {
        "/": "nodes of the graph that the delegate took, out of all; the rest ran without it",
        "but for": "operations that no delegate took, and their share of a run, from the profile",
        "as one piece": "the delegate took a connected part of the graph: builds for Linux do not print "
        "of how many nodes, --profile counts the operations outside",
    }
    for words, meaning in explained.items():
        if any(mark.startswith("delegated") and words in mark for mark in marks):
            lines.append(f"delegated {'N/M' if words == '/' else words}: {meaning}")
    if any(record.profile for record in records):
        lines.append(
            "profile: means over the runs of one start, slowed by timing each operation; a preempted run "
            "counts in them"
        )
    return [*lines, *_throttling_reasons(devices, names)]


def _conditions(records: Sequence[Record]) -> list[str]:
    """What ran, whether it computed the same, and what else ran there."""
    lines = []
    if any(record.answer_difference is not None for record in records):
        lines.append(
            "answers off by: how far the outputs were from those of the machine that measured, for the same "
            "inputs; what other kernels do not explain is a failure, wrong answers"
        )
    if runtimes := differing_runtimes(records):
        lines.append(
            "runtimes: "
            + "; ".join(f"{title}: {name}" for title, name in runtimes.items())
            + "; compare packages on one device: on one CPU, two runtimes a year apart took 18.7 and 27.1 ms "
            "for one file"
        )
    if any(crowding_load(record) is not None for record in records):
        lines.append(
            "load: the average of tasks that ran or waited, over a minute, was above the cores left free by "
            "the measured threads: other programs may have slowed them"
        )
    return lines


def median(record: Record) -> str:
    """The median in milliseconds; a mean that replaces it is named."""
    return ("" if record.has_median else "mean ") + number(record.typical_ms, 2)


def number(value: float | None, digits: int) -> str:
    """`value` with `digits` decimals; `NOTHING` for None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def build_rows(columns: Columns, items: Sequence[Any]) -> Rows:
    """A header, and a row for each item; a column without any content is left out."""
    cells = [(header, [show(item) for item in items]) for header, show in columns]
    shown = [(header, column) for header, column in cells if set(column) != {NOTHING}]
    return [[header for header, _ in shown], *map(list, zip(*(column for _, column in shown)))]


def setting_columns(items: Sequence[Any]) -> Columns:
    """Threads always; delegate and cores where they vary."""
    columns = [("threads", _show("threads"))]
    if len(set(map(describe_delegate, items))) > 1:
        columns.append(("delegate", describe_delegate))
    return columns + ([("cores", _cores)] if varies(items, "core_mask") else [])


def _accelerator_column(records: Sequence[Record]) -> Columns:
    """What really ran, where that is not the CPU alone."""
    if all(record.accelerator in ("cpu", None) for record in records):
        return []
    return [("ran on", lambda r: describe_accelerator(r) or NOTHING)]


def tokens(item: Any) -> str:
    """The length of a record."""
    return "each text" if item.seq_length is None else str(item.seq_length)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text in columns, safe for a terminal."""
    return align([[printable(cell) for cell in row] for row in rows])


def _throttling_reasons(
    devices: Mapping[str, Sequence[Record]], names: Mapping[str, str]
) -> list[str]:
    """Why each record is marked as throttled."""
    return [
        f"throttled: {title}, {names[record.package]}, {describe_setting(record)}: "
        + ", ".join(record.throttled)
        for title, records in devices.items()
        for record in records
        if record.throttled
    ]


def _measurement_columns(result: Result) -> Columns:
    """The columns that identify a measurement of the plan."""
    names, titles = result_package_names(result), device_titles(result)
    return [
        ("device", lambda r: titles[r.device]),
        ("package", lambda r: names.get(r.package, NOTHING)),
        ("tokens", _show("seq_length")),
        ("threads", _show("threads")),
        ("delegate", lambda r: describe_delegate(r) or NOTHING),
        ("cores", _show("core_mask")),
    ]


def _show(field: str) -> Callable[[Any], str]:
    def show(item: Any) -> str:
        value = getattr(item, field)
        return NOTHING if value is None else str(value)

    return show


def _cores(item: Any) -> str:
    return item.core_mask or "all"


def _length_rank(record: Record) -> float:
    """For sorting: texts at their own lengths come last."""
    return math.inf if record.seq_length is None else record.seq_length


def _interval(record: Record) -> str:
    if not record.has_median or not record.ci95_ms:
        return NOTHING
    low, high = record.ci95_ms
    return f"± {50 * (high - low) / record.typical_ms:.1f}%"


def _answer_difference(record: Record) -> str:
    difference = record.answer_difference
    if difference is None:
        return NOTHING
    return "<0.01%" if 0 < difference < 1e-4 else f"{100 * difference:.2g}%"


def _spread(record: Record) -> str:
    low, high = record.latency_ms.p5, record.latency_ms.p95
    return NOTHING if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}x"


def _ratio_to(package: str, record: Record, records: Sequence[Record]) -> float | None:
    """Time of `package` over this record's; None where the package was not measured so."""
    for candidate in records:
        same = (candidate.seq_length, candidate.setting) == (record.seq_length, record.setting)
        if same and candidate.package == package:
            return ratio(candidate, record)
    return None
