"""What benchmarks/comparison.py found, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from op_breakdown import PARTS
from performance_targets import Parts, Records

# What is shown of opening a package.
LOADS = {
    "load ms": "init_ms",
    "first run ms": "first_run_ms",
    "memory MB": "peak_memory_mb",
    "of it no file's": "private_memory_mb",
}
# What bounds a goal, by goals.py's names.
BOUNDS = {
    "at_limits": "at the products' limits",
    "products": "their products as they run",
    "at_best": "were ours its products alone",
}


def text(measured: Mapping[str, Records], goals: Mapping[str, Any]) -> str:
    """Every package by length and on each set of texts, other runtimes, the goals, where time goes."""
    from sqb_tflite.bench.host import host_info

    first = next(iter(measured.values()))[0]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    fast = ", ".join(f"{kind} {limit / 1e9:.0f}" for kind, limit in goals["limits"].items())
    foot = (
        f"1 thread of {host_info.processor(first['hardware'])}; {versions}; {first['date'][:10]}. "
        f"Limits, G operations a second of one large product in LiteRT: {fast}."
    )
    tables = [_packages(measured)]
    if goals["peers"]:
        tables.append(_peers(goals["peers"]))
    tables += [_goals(goals["goals"]), _parts(goals["parts"])]
    return "\n\n".join([*tables, foot])


def _packages(measured: Mapping[str, Records]) -> str:
    shown = next(iter(measured.values()))
    lengths = sorted({r["seq_length"] for r in shown if r["seq_length"]})
    packages = {r["package"]: r for r in shown}
    head = ["median ms (± std)", *(f"{n} tokens" for n in lengths)]
    on_texts = {}
    for name, records in measured.items():
        on_texts[name] = {r["package"]: r for r in records if r["seq_length"] is None}
        tokens = next(iter(on_texts[name].values()))["lengths"]["median"]
        head.append(f"{name}, {tokens:.0f} tokens (median)")
    rows = [[*head, "MB", *LOADS]]
    for package, record in packages.items():
        times = {r["seq_length"]: r for r in shown if r["package"] == package}
        cells = [_latency(times.get(length)) for length in lengths]
        cells += [_latency(records.get(package)) for records in on_texts.values()]
        size = f"{record['size_bytes'] / 1e6:.1f}"
        loads = [_number(record[key], 0) for key in LOADS.values()]
        rows.append([Path(package).stem, *cells, size, *loads])
    return _markdown(rows)


def _peers(peers: Mapping[str, Mapping[str, float]]) -> str:
    """By runtime and length, in the order of `NAME LENGTH`."""
    cells: dict[str, dict[str, str]] = {}
    for name, one in peers.items():
        runtime, length = name.split(" ")
        cells.setdefault(runtime, {})[length] = f"{one['median']:.1f} ± {one['std']:.1f}"
    lengths = list(dict.fromkeys(name.split(" ")[1] for name in peers))
    head = ["transformers' SqueezeBERT elsewhere, median ms (± std)"]
    head += [f"{length} tokens" for length in lengths]
    rows = [[name, *(row.get(n, "") for n in lengths)] for name, row in cells.items()]
    return _markdown([head, *rows])


def _goals(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [["ratios are of medians", "goal", "measured", *BOUNDS.values()]]
    for one in found:
        goal = "" if one["goal"] is None else f"{one['goal']:g}"
        goal = f"at most {goal}" if one.get("at_most") else goal
        bounds = [_number(one.get(name), 2) for name in BOUNDS]
        rows.append([one["what"], goal, _number(one["measured"], 2), *bounds])
    return _markdown(rows)


def _parts(parts: Parts) -> str:
    rows = [["where the time goes, median ms of each kind alone", "tokens", "whole", *PARTS]]
    for tokens, packages in parts.items():
        for name, taken in packages.items():
            cells = [_number(taken[part], 2) for part in ("whole", *PARTS)]
            rows.append([name, tokens, *cells])
    return _markdown(rows)


def _latency(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    padded = f" (at {record['padded_to']})" if record.get("padded_to") else ""
    latency = record["latency_ms"]
    return f"{latency['median']:.1f} ± {latency['std']:.1f}{padded}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)
