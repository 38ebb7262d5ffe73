"""Time of a step of squeezing on CPU: ours beside a plain PyTorch loop of the same loss.

A step runs the teacher, the student, backward and AdamW. PyTorch's is transformers' BERT and SqueezeBERT, in
an environment of its own (torch-requirements.txt), in float32 and by autocast in bfloat16; ours in both too.
All take turns step by step, so that a drifting machine slows all alike. The matmuls of our step, timed
alone, say how far ours could get with TensorFlow's matmuls on this CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks import training_step as steps
from benchmarks.torch_training_step import random_batch
from benchmarks.training_matmuls import squeezing_matmuls_step

TORCH_SCRIPT = Path(__file__).resolve().with_name("torch_squeezing_step.py")
PRECISIONS = ("float32", "mixed_bfloat16")
TITLES = {
    "ours": "ours",
    "torch": "`transformers` in a PyTorch loop",
    "matmuls": "our matmuls alone, a bound",
}


def our_steps(args: argparse.Namespace, precision: str) -> dict[str, steps.Step]:
    """Steps of the model that `sqb squeeze` trains, on one random batch, and their matmuls alone."""
    import numpy as np

    from sqb_tf.checkpoint import source
    from sqb_tf.training.dtype_policy import dtype_policy
    from sqb_tf.training.squeezing.options import SqueezeOptions
    from sqb_tf.training.squeezing.squeeze import first_student, frozen_encoder
    from sqb_tf.training.squeezing.squeezer import LOSS, trained_model
    from sqb_tf.training.squeezing.student import taught_layers

    options = SqueezeOptions(teacher=args.teacher, layers=args.layers, groups=args.groups)
    teacher = source.load_model(args.teacher)
    config = options.student_config(teacher.config)
    layers = taught_layers(args.layers, teacher.config.num_hidden_layers)
    with dtype_policy(precision):
        frozen = frozen_encoder(teacher)
        student = first_student(config, frozen, None, layers)
        variances = [1.0] * len(layers)
        pooling = getattr(teacher, "pooling", None)
        _, model = trained_model(student, frozen, layers, variances, pooling, options)
    arrays = random_batch("encoder", teacher.config.vocab_size, args.batch_size, args.seq_length)
    names = {"input_ids": "word_ids", "attention_mask": "mask", "token_type_ids": "type_ids"}
    inputs = {f"input_{ours}": arrays[name].astype("int32") for name, ours in names.items()}
    size = args.batch_size, args.seq_length
    return {
        "ours": steps.keras_step(model, inputs, {LOSS: np.zeros((args.batch_size, 1), "float32")}),
        "matmuls": squeezing_matmuls_step(teacher.config, config, *size, precision),
    }


def table(report: dict[str, Any]) -> str:
    """The results page's table."""
    tokens = report["batch_size"] * report["seq_length"]
    rows = [
        [
            "",
            "dtype",
            "seconds per step, median (min to max)",
            "tokens a second",
            "speed of ours to it",
        ]
    ]
    for precision in PRECISIONS:
        ours = report["rows"][f"ours {precision}"]["median"]
        for name, title in TITLES.items():
            row = report["rows"].get(f"{name} {precision}")
            if row:
                speed = f"{tokens / row['median']:,.0f}"
                ratio = "" if name == "ours" else f"{row['median'] / ours:.2f}x"
                rows.append([title, precision, steps.spread(row), speed, ratio])
    best = report["rows"]["ours mixed_bfloat16"]["median"]
    plain = report["rows"].get("torch float32")
    if plain:
        rows.append(
            [
                "ours in bfloat16 against PyTorch as it comes",
                "",
                "",
                "",
                f"{plain['median'] / best:.2f}x",
            ]
        )
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    foot = (
        f"{report['layers']} layers, {report['groups']} groups, batch {report['batch_size']} x "
        f"{report['seq_length']} tokens, {report['threads']} threads of {report['cpu']}, {report['steps']} "
        f"steps; {versions}."
    )
    return f"{output.markdown_table(rows)}\n\n{foot}"


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="MiniLM's folder of transformers")
    parser.add_argument("--layers", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--groups", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--seq-length", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="of each (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="of each (default: %(default)s)")
    parser.add_argument("--torch-python", type=Path, help="python with torch-requirements.txt")
    output.add_flags(parser)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    steps.use_threads(args.threads)
    import keras
    import tensorflow as tf

    names = ("layers", "groups", "batch_size", "seq_length", "threads", "steps")
    report: dict[str, Any] = {name: getattr(args, name) for name in names}
    versions = {"python": platform.python_version()}
    versions.update(tensorflow=tf.__version__, keras=keras.__version__)
    with contextlib.ExitStack() as stack:
        rounds = {}
        for precision in PRECISIONS:
            for name, step in our_steps(args, precision).items():
                rounds[f"{name} {precision}"] = step
            if args.torch_python:
                setup = {**report, "teacher": args.teacher, "precision": precision}
                rounds[f"torch {precision}"], torch_versions = stack.enter_context(
                    steps.torch_step(args.torch_python, setup, TORCH_SCRIPT)
                )
                versions.update(torch_versions)
        rows = steps.summarize(steps.measure(rounds, args.steps))
    report |= {
        "versions": versions,
        "cpu": output.processor(),
        "rows": rows,
    }
    output.publish(args, "squeezing", report, table(report))


if __name__ == "__main__":
    main()
