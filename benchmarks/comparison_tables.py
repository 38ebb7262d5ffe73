"""The results of benchmarks/comparison.py as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.op_breakdown import PARTS
from benchmarks.output import markdown_table
from benchmarks.performance_targets import Parts, Records

# Column titles and record fields of opening a package.
LOADS = {
    "load ms": "init_ms",
    "first run ms": "first_run_ms",
    "memory MB": "peak_memory_mb",
    "private MB": "private_memory_mb",
}
# Column titles of the bounds of performance_targets.py.
BOUNDS = {
    "at_limits": "both models' matmuls at the peak rate",
    "matmuls": "both models' matmuls as measured",
    "matmuls_only": "upper bound (matmuls only)",
}


def text(measured: Mapping[str, Records], targets: Mapping[str, Any]) -> str:
    """Every package by length and on each set of texts, other runtimes, the targets, where time goes."""
    from sqb_tflite.bench.host import host_info

    first = next(iter(measured.values()))[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    rates = ", ".join(f"{dtype} {limit / 1e9:.0f}" for dtype, limit in targets["limits"].items())
    foot = (
        f"1 thread of {host_info.processor(first['hardware'])}; {versions}; {first['date'][:10]}. "
        f"Peak rate of one large matmul in LiteRT, G operations per second: {rates}."
    )
    tables = [_packages(measured)]
    if targets["peers"]:
        tables.append(_peers(targets["peers"]))
    tables += [_targets(targets["goals"]), _parts(targets["parts"])]
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
    return markdown_table(rows)


def _peers(peers: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each runtime, a column for each length; `peers` has keys `NAME LENGTH`."""
    cells: dict[str, dict[str, str]] = {}
    for name, times in peers.items():
        runtime, length = name.split(" ")
        cells.setdefault(runtime, {})[length] = f"{times['median']:.1f} ± {times['std']:.1f}"
    lengths = list(dict.fromkeys(name.split(" ")[1] for name in peers))
    head = ["transformers' SqueezeBERT in other runtimes, median ms (± std)"]
    head += [f"{length} tokens" for length in lengths]
    rows = [[name, *(row.get(n, "") for n in lengths)] for name, row in cells.items()]
    return markdown_table([head, *rows])


def _targets(results: Sequence[Mapping[str, Any]]) -> str:
    rows = [["ratio of medians", "target", "measured", *BOUNDS.values()]]
    for result in results:
        target = "" if result["goal"] is None else f"{result['goal']:g}"
        target = f"at most {target}" if result.get("at_most") else target
        bounds = [_number(result.get(name), 2) for name in BOUNDS]
        rows.append([result["what"], target, _number(result["measured"], 2), *bounds])
    return markdown_table(rows)


def _parts(parts: Parts) -> str:
    rows = [["time by operation, median ms of each group alone", "tokens", "whole", *PARTS]]
    for tokens, packages in parts.items():
        for name, times in packages.items():
            cells = [_number(times[part], 2) for part in ("whole", *PARTS)]
            rows.append([name, tokens, *cells])
    return markdown_table(rows)


def _latency(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    padded = f" (at {record['padded_to']})" if record.get("padded_to") else ""
    latency = record["latency_ms"]
    return f"{latency['median']:.1f} ± {latency['std']:.1f}{padded}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
