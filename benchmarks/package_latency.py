"""The latency of packages in one interleaved run, for the benchmarks that compare models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = (16, 128)


def measure(
    packages: Mapping[str, bytes], folder: Path, runs: int, others: Iterable[Path] = ()
) -> list[dict[str, Any]]:
    """What `kept` leaves of the records of tools/benchmark.py at `LENGTHS`, 1 thread.

    Args:
        packages: contents by the name that the records give them.
        folder: for files of those names, and the report.
        runs: of each package and length.
        others: packages that keep their names.
    """
    files = {folder / "packages" / f"{name}.tflite": package for name, package in packages.items()}
    (folder / "packages").mkdir(parents=True, exist_ok=True)
    for path, package in files.items():
        path.write_bytes(package)
    command = [sys.executable, str(ROOT / "tools" / "benchmark.py"), "--package"]
    command += [*map(str, files), *map(str, others), "--lengths", ",".join(map(str, LENGTHS))]
    command += ["--runs", str(runs), "--report", str(folder / "latency")]
    subprocess.run(command, check=True)
    report = folder / "latency" / "records.json"
    return [kept(record) for record in json.loads(report.read_text(encoding="utf-8"))["records"]]


def kept(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables show of a record: results are committed, paths and the host's name are not."""
    names = ("seq_length", "latency_ms", "size_bytes", "versions", "date")
    hardware = {name: record["hardware"][name] for name in ("cpu", "simd")}
    package = Path(record["package"]).name
    return {"package": package, "hardware": hardware, **{name: record[name] for name in names}}


def medians(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Package name -> tokens -> median milliseconds."""
    times: dict[str, dict[int, float]] = {}
    for record in records:
        name = Path(record["package"]).stem
        times.setdefault(name, {})[record["seq_length"]] = record["latency_ms"]["median"]
    return times


def megabytes(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Package name -> size of the file."""
    return {Path(record["package"]).stem: record["size_bytes"] / 1e6 for record in records}


def measured_on(records: list[dict[str, Any]]) -> str:
    """The processor, the versions and the date."""
    from sqb_tflite.bench.host import host_info

    first = records[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    return (
        f"1 thread of {host_info.processor(first['hardware'])}; {versions}; {first['date'][:10]}."
    )
