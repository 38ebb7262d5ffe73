"""Accuracy on the demo against int8 latency of sizes around the small presets: the reason for their sizes.

Each size is trained from scratch on the demo with several seeds, converted to int8 and timed on the dev
sentences, all sizes interleaved. Writes presets.json and presets.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks.output import write_json

# Layers, hidden size, attention heads; the feed-forward is 4 times as wide, with 4 groups, as in the paper.
SIZES = {
    "1 x 128": (1, 128, 4),
    "squeezebert-tiny": (2, 128, 4),
    "4 x 128": (4, 128, 4),
    "squeezebert-small": (2, 256, 4),
    "4 x 256": (4, 256, 4),
}


def register() -> None:
    """Registers sizes that are not presets; presets must agree with `SIZES`."""
    from sqb_tf.config import PRESETS, SqueezeBertConfig

    for name, (layers, hidden, heads) in SIZES.items():
        fields = dict(
            num_hidden_layers=layers,
            hidden_size=hidden,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
        )
        if name in PRESETS:
            config = SqueezeBertConfig.from_preset(name)
            actual = {field: getattr(config, field) for field in fields}
            if actual != fields:
                raise SystemExit(f"{name} is {actual}: update SIZES")
        PRESETS[name] = fields | {"initializer_range": 0.1}  # the presets' own, for all sizes


def train(name: str, seed: int, args: argparse.Namespace, folder: Path) -> float:
    """Trains a size on the demo, unless `folder` has the result; returns its best dev accuracy."""
    from sqb_tf.data.task import DEMO, Task
    from sqb_tf.training.finetune import finetune
    from sqb_tf.training.options import FinetuneOptions

    result = folder / "metrics.json"
    if not result.is_file():
        print(f"training {name}, seed {seed}", file=sys.stderr)
        options = FinetuneOptions(
            preset=name,
            batch_size=32,
            epochs=args.epochs,
            learning_rate=args.learning_rate,
            seq_length=64,
            seed=seed,
        )
        finetune(Task("classification", DEMO), folder, options, resume=True)
    return json.loads(result.read_text(encoding="utf-8"))["metric"]["value"]


def package(name: str, bundle: Path, path: Path) -> None:
    """Converts the bundle to an int8 package."""
    import sqb_tf
    from sqb_tflite import convert

    if not path.is_file():
        print(f"converting {name}", file=sys.stderr)
        path.write_bytes(convert(sqb_tf.load(bundle), "int8"))


def plot(rows: dict[str, dict[str, Any]], subtitle: str, path: Path) -> None:
    """A point for each size: latency, accuracy with its range over the seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    from sqb_tflite.bench.reports.drawing import COLOURS, STYLE
    from sqb_tflite.bench.reports.plots import DPI

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2))
        axes = figure.subplots()
        for name, row in rows.items():
            colour = COLOURS[0] if name.startswith("squeezebert") else "#888888"
            low, high = min(row["accuracies"]), max(row["accuracies"])
            axes.plot([row["latency_ms"]] * 2, [low, high], color=colour, linewidth=1)
            axes.plot(row["latency_ms"], row["accuracy"], "o", color=colour)
            axes.annotate(
                f"{name}\n{row['size_mb']:.1f} MB",
                (row["latency_ms"], row["accuracy"]),
                xytext=(6, -24),
                textcoords="offset points",
                color=colour,
                fontsize=9,
            )
        axes.set(xlabel="milliseconds per text, int8, 1 thread (median)", ylabel="dev accuracy")
        axes.set_xlim(0, 1.35 * max(row["latency_ms"] for row in rows.values()))
        axes.set_title(f"Sizes on the demo data\n{subtitle}")
        figure.tight_layout()
        figure.savefig(path, dpi=DPI)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8, help="for each training")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="for each training")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each size")
    parser.add_argument("--work", default="runs/bench/presets", help="trainings, kept between runs")
    parser.add_argument(
        "--output", default="docs", metavar="DIR", help="folder of the figure and the JSON"
    )
    args = parser.parse_args()
    from sqb_tflite.bench.host import host_info, session
    from sqb_tflite.bench.inputs import Text
    from sqb_tflite.bench.plan import Plan

    register()
    work, folder = Path(args.work), Path(args.output)
    accuracies, packages = {}, {}
    for name in SIZES:
        stem = name.replace(" ", "")
        folders = [work / f"{stem}-{args.epochs}-{seed}" for seed in range(args.seeds)]
        accuracies[name] = [train(name, i, args, folder) for i, folder in enumerate(folders)]
        packages[name] = work / f"{stem}.tflite"
        package(name, folders[0], packages[name])
    text = Text.demo()
    records = session.measure(
        Plan([str(p) for p in packages.values()], [1], [], 1, text, each_text=True)
    )
    rows = {}
    for (name, values), record in zip(accuracies.items(), records, strict=True):
        rows[name] = {
            "accuracy": statistics.mean(values),
            "accuracies": values,
            "latency_ms": record.latency_ms.median,
            "size_mb": record.size_bytes / 1e6,
        }
        print(
            f"{name:18} accuracy {rows[name]['accuracy']:.3f} "
            f"({min(values):.3f} to {max(values):.3f})  {rows[name]['latency_ms']:.2f} ms  "
            f"{rows[name]['size_mb']:.2f} MB"
        )
    subtitle = (
        f"from scratch, {args.epochs} epochs, mean and range of {args.seeds} seeds; "
        f"{host_info.processor(records[0].hardware)}"
    )
    report = {"rows": rows, "epochs": args.epochs, "hardware": dict(records[0].hardware)}
    write_json(folder / "presets.json", report)
    plot(rows, subtitle, folder / "presets.png")


if __name__ == "__main__":
    main()
