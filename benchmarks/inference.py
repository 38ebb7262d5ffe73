"""Latency of one preset in float32 and int8, of any length and of a fixed one, in one interleaved run.

Converts three packages of a model with random weights (speed does not depend on the values) and measures
them with tools/benchmark.py. With --readme, the table goes between a results page's markers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.performance_targets import Records, median
from benchmarks.random_bundle import SHARED_DATA, random_bundle

TOOL = Path(__file__).resolve().parent.parent / "tools" / "benchmark.py"
SST2 = SHARED_DATA / "glue" / "SST-2"


def packages(folder: Path, preset: str, fixed: int) -> list[Path]:
    """Float32 and int8 of any length, and int8 of the length `fixed`."""
    import sqb_tf
    from sqb_tflite import convert

    random_bundle(folder / "bundle", preset)
    model = sqb_tf.load(folder / "bundle")
    recipes = {
        f"{preset}-float32": ("float32", None),
        f"{preset}-int8": ("int8", None),
        f"{preset}-int8-{fixed}": ("int8", [fixed]),
    }
    for name, (recipe, lengths) in recipes.items():
        print(f"converting {name}", file=sys.stderr)
        (folder / f"{name}.tflite").write_bytes(convert(model, recipe, lengths))
    return [folder / f"{name}.tflite" for name in recipes]


def ratios(records: Records, preset: str, fixed: int) -> dict[str, float]:
    """The project's target speed-ups: ratios of medians from one run, 1 thread."""
    float32, int8, padded = (f"{preset}-{name}" for name in ("float32", "int8", f"int8-{fixed}"))
    return {
        f"int8 over float32, {fixed} tokens": median(records, float32, fixed)
        / median(records, int8, fixed),
        f"int8 of any length over fixed at {fixed}, real texts": median(records, padded, None)
        / median(records, int8, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--preset", default="squeezebert-base", help="size of the model")
    parser.add_argument("--fixed", type=int, default=128, help="length of the fixed package")
    parser.add_argument("--runs", type=int, default=30, help="runs of each package and length")
    parser.add_argument("--data", default=str(SST2), help="GLUE's SST-2 folder: real texts")
    parser.add_argument("--limit", type=int, default=200, help="real texts")
    parser.add_argument("--report", default="runs/bench/inference", metavar="DIR", help="results")
    parser.add_argument("--readme", metavar="FILE", help="put the table into this file")
    args = parser.parse_args()
    text = ["--data", args.data, "--task", "sst2"] if Path(args.data).is_dir() else []
    if not text:
        print(f"{args.data} is not there: timing the demo's sentences", file=sys.stderr)
        text = ["--data", str(TOOL.parent.parent / "sqb_tf" / "demo")]
    with tempfile.TemporaryDirectory() as folder:
        files = packages(Path(folder), args.preset, args.fixed)
        command = [sys.executable, str(TOOL), "--package", *map(str, files)]
        command += ["--lengths", f"16,64,{args.fixed}", "--runs", str(args.runs)]
        command += [*text, "--limit", str(args.limit), "--report", args.report]
        subprocess.run(command, check=True)
    report = Path(args.report)
    records = json.loads((report / "records.json").read_text(encoding="utf-8"))["records"]
    speed_ups = ratios(records, args.preset, args.fixed)
    lines = [f"{name}: {value:.2f}x" for name, value in speed_ups.items()]
    print("\n".join(lines))
    if args.readme:
        output.update_markdown(args.readme, "benchmark", summary(records, lines))


def summary(records: Records, lines: list[str]) -> str:
    """The results page's table: a row for each length, a column for each package, 1 thread."""
    from sqb_tflite.bench.host import host_info

    shown = [record for record in records if record["threads"] == 1]
    columns = list(dict.fromkeys(record["package"] for record in shown))
    rows: dict[str, dict[str, str]] = {}
    for record in shown:
        length, latency = record["seq_length"], record["latency_ms"]
        spread = record.get("lengths") or {}
        name = (
            f"{length} tokens" if length else f"real texts, {spread['median']:.0f} tokens (median)"
        )
        value = f"{latency['median']:.1f} ± {latency['std']:.1f}"
        rows.setdefault(name, {})[record["package"]] = value
    sizes = {record["package"]: record["size_bytes"] / 1e6 for record in shown}
    head = [f"{Path(name).stem}, {sizes[name]:.1f} MB" for name in columns]
    table = [["median ms ± std", *head]]
    table += [
        [name, *(values.get(column, "") for column in columns)] for name, values in rows.items()
    ]
    host = shown[0]["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in shown[0]["versions"].items())
    processor, date = host_info.processor(host), shown[0]["date"][:10]
    foot = f"1 thread of {processor}; {versions}; {date}. {'. '.join(lines)}."
    return f"{output.markdown_table(table)}\n\n{foot}"


if __name__ == "__main__":
    main()
