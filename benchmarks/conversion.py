"""Time and peak memory of converting a bundle to int8, beside the stock converter's dynamic range.

Each conversion runs in a fresh process, the two alternating, from the same loaded Keras model. The time is
that of the conversion alone, the peak is the whole process's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import random_bundle

STOCK, OURS = "stock dynamic range", "ours int8"


def stock(model: Any) -> bytes:
    """As in TensorFlow's guide: the Keras model exported, then converted with `Optimize.DEFAULT`.

    At the fixed length of 128 tokens: with dynamic batch and length the Keras model does not convert to
    built-in operations.
    """
    import keras
    import tensorflow as tf

    from sqb_tf.model.backbone import INPUT_NAMES

    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serving_default",
            lambda inputs: model(inputs, training=False),
            [{name: tf.TensorSpec((1, 128), tf.int32, name=name) for name in INPUT_NAMES}],
        )
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()


def ours(model: Any) -> bytes:
    """`sqb_tflite.convert`, calibration and packaging included."""
    from sqb_tflite import convert

    return convert(model, "int8")


def measure_here(directory: str, converter: str) -> dict[str, Any]:
    """One conversion in this process: seconds, peak memory in MB, size in MB."""
    import ai_edge_quantizer  # noqa: F401  both processes load the same libraries
    import tensorflow as tf

    import sqb_tf
    from sqb_tflite.bench.host import cold_start

    model = sqb_tf.load(directory)
    # Both start from a model that has run: kernels chosen, functions traced.
    model(model.preprocessor(["warm-up"]), training=False)
    tf.get_logger().setLevel("ERROR")
    start = time.perf_counter()
    content = {STOCK: stock, OURS: ours}[converter](model)
    seconds = time.perf_counter() - start
    peak_mb = cold_start.peak_memory() / 1e6
    return {
        "which": converter,
        "seconds": seconds,
        "peak_mb": peak_mb,
        "size_mb": len(content) / 1e6,
    }


def measure(directory: str, converter: str) -> dict[str, Any]:
    """`measure_here` in a fresh process."""
    command = [sys.executable, __file__, "--model", directory, "--one", converter]
    completed = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return json.loads(completed.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--preset", default="squeezebert-base", help="size of the model")
    parser.add_argument("--model", metavar="DIR", help="a bundle; none: random weights of --preset")
    parser.add_argument("--runs", type=int, default=3, help="conversions with each converter")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_here(args.model, args.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = args.model
        if directory is None:
            directory = str(Path(folder) / "bundle")
            random_bundle(directory, args.preset)
        rows = [measure(directory, which) for _ in range(args.runs) for which in (STOCK, OURS)]
    report(rows, args)


def report(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """The table, the ratios and the JSON."""
    medians = {
        which: {
            key: statistics.median(row[key] for row in rows if row["which"] == which)
            for key in ("seconds", "peak_mb", "size_mb")
        }
        for which in (STOCK, OURS)
    }
    print(f"{'conversion':<22}{'seconds':>9}{'peak MB':>9}{'file MB':>9}   seconds, each run")
    for which, values in medians.items():
        runs = ", ".join(f"{row['seconds']:.1f}" for row in rows if row["which"] == which)
        print(
            f"{which:<22}{values['seconds']:>9.1f}{values['peak_mb']:>9.0f}"
            f"{values['size_mb']:>9.2f}   {runs}"
        )
    ratios = {
        key: medians[OURS][key] / medians[STOCK][key] for key in ("seconds", "peak_mb", "size_mb")
    }
    print(
        f"ours / stock: time {ratios['seconds']:.2f}, peak memory {ratios['peak_mb']:.2f}, "
        f"size {ratios['size_mb']:.2f}"
    )
    if args.json:
        result = {"preset": args.preset, "runs": rows, "medians": medians, "ratios": ratios}
        output.write_json(args.json, result)


if __name__ == "__main__":
    main()
