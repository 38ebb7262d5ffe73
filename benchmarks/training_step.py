"""Time of a full training step on CPU: ours, ours on stock Keras parts, transformers' PyTorch.

A step is forward, backward and AdamW through Keras' compiled train step. "stock" is the same model, with the
same weights, written with Keras' own layers: `keras.layers.Conv1D(groups=...)`, `Dropout`,
`LayerNormalization`, `gelu`, the last block for all tokens, `keras.optimizers.AdamW`; compiled by Keras'
default: XLA. "stock-graph" is the same without XLA, like ours. Both must reproduce our logits before they are
timed. All take turns step by step, so that a drifting machine slows all alike. PyTorch runs in an environment
of its own (torch-requirements.txt) and is left out without --torch-python. --precision mixed_bfloat16 makes
all of them multiply in bfloat16, PyTorch by its autocast. The matmuls of our step take turns too, alone: they
are a lower bound for our step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.torch_training_step import LEARNING_RATE, WEIGHT_DECAY, random_batch
from benchmarks.training_matmuls import matmuls_step

TORCH_SCRIPT = Path(__file__).resolve().with_name("torch_training_step.py")
PAUSE = 0.3  # seconds before a step, for the threads of the one before to go idle

Step = Callable[[], dict[str, float]]  # runs one step: {"seconds", "cpu"}, and a model's "loss"


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="squeezebert-base", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--seq-length", type=int, default=128, help="default: %(default)s")
    parser.add_argument(
        "--steps", type=int, default=5, help="steps of each, after the first (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of each (default: %(default)s)")
    parser.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "mixed_bfloat16"],
        help="of each (default: %(default)s)",
    )
    parser.add_argument(
        "--torch-python", type=Path, help="python with torch-requirements.txt installed"
    )
    output.add_flags(parser)
    args = parser.parse_args()
    if min(args.steps, args.batch_size, args.seq_length, args.threads) < 1:
        parser.error("--steps, --batch-size, --seq-length and --threads must be at least 1")
    return args


def say(message: str) -> None:
    """One line of progress on standard error."""
    print(message, file=sys.stderr, flush=True)


def use_threads(threads: int) -> None:
    """Limits TensorFlow and, where the system can, this process and its children to `threads`.

    TensorFlow multiplies with oneDNN, as in our tools (tools/entry.py), for stock layers too.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


@contextlib.contextmanager
def stock_layers() -> Iterator[None]:
    """Classifiers built in this context consist of Keras' own layers, with every block for all tokens."""
    import keras
    from keras import ops

    from sqb_tf.model import heads, layers

    def exact_gelu(x: Any) -> Any:
        return keras.activations.gelu(x, approximate=False)

    class StockConv1D(layers.GroupedConv1D):
        is_pointwise = False

    class StockAttention(layers.SelfAttention):
        def attend(self, query: Any, key: Any, value: Any, mask_bias: Any, training: Any) -> Any:
            scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + mask_bias
            probabilities = self.dropout(ops.softmax(scores, axis=-1), training=training)
            return ops.matmul(probabilities, value), scores

    class StockBackbone(heads.SqueezeBertBackbone):
        def __init__(self, config: Any, pooled_only: bool) -> None:
            super().__init__(config)

    with (
        mock.patch.object(layers, "GroupedConv1D", StockConv1D),
        mock.patch.object(layers, "Dropout", keras.layers.Dropout),
        mock.patch.object(layers, "LayerNormalization", keras.layers.LayerNormalization),
        mock.patch.object(layers, "activation", lambda name: exact_gelu),
        mock.patch.object(layers, "SelfAttention", StockAttention),
        mock.patch.object(heads, "Dropout", keras.layers.Dropout),
        mock.patch.object(heads, "SqueezeBertBackbone", StockBackbone),
    ):
        yield


def keras_model(config: Any, optimizer: type, jit_compile: bool | str) -> Any:
    """A compiled classifier."""
    import keras

    from sqb_tf import SqueezeBertClassifier

    keras.utils.set_random_seed(0)
    model = SqueezeBertClassifier(config, num_labels=2)
    model.compile(
        optimizer(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    return model


def keras_models(config: Any, precision: str) -> dict[str, Any]:
    """Ours and the stock models with our weights, checked to give our logits."""
    import keras
    import numpy as np

    from sqb_tf.training.optimizer import FusedAdamW

    keras.config.set_dtype_policy(precision)
    models = {"ours": keras_model(config, FusedAdamW, jit_compile=False)}
    with stock_layers():
        models["stock"] = keras_model(config, keras.optimizers.AdamW, jit_compile="auto")
        models["stock-graph"] = keras_model(config, keras.optimizers.AdamW, jit_compile=False)
    inputs, _ = keras_batch("classification", config, batch_size=2, seq_length=16)
    expected = models["ours"](inputs, training=False)
    for model in models.values():
        model.set_weights(models["ours"].get_weights())
        logits = model(inputs, training=False)
        tolerance = 1e-4 if precision == "float32" else 5e-2
        np.testing.assert_allclose(logits, expected, atol=tolerance)
    return models


def keras_batch(head: str, config: Any, batch_size: int, seq_length: int) -> tuple[Any, Any]:
    """`torch_training_step.random_batch` as inputs and targets of the Keras model of a head."""
    import numpy as np

    arrays = random_batch(head, config.vocab_size, batch_size, seq_length)
    arrays = {name: values.astype("int32") for name, values in arrays.items()}
    inputs = {
        "input_word_ids": arrays["input_ids"],
        "input_mask": arrays["attention_mask"],
        "input_type_ids": arrays["token_type_ids"],
    }
    if head == "span":
        names = dict(start_logits="start_positions", end_logits="end_positions")
        return inputs, {ours: arrays[theirs] for ours, theirs in names.items()}
    if head == "masked_lm":
        rows, positions = np.nonzero(arrays["labels"] >= 0)
        inputs["masked_positions"] = positions.reshape(batch_size, -1).astype("int32")
        return inputs, arrays["labels"][rows, positions].reshape(batch_size, -1)
    return inputs, arrays["labels"]


def keras_step(model: Any, inputs: Any, labels: Any) -> Step:
    """Steps of `model` on one batch. The first traces, and makes the optimizer's variables."""

    def step() -> dict[str, float]:
        start, cpu_start = time.perf_counter(), time.process_time()
        # Variables created inside the traced step would make Keras trace it twice.
        model.optimizer.build(model.trainable_variables)
        loss = model.train_on_batch(inputs, labels)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        # Of several outputs the sum comes first.
        total = loss[0] if isinstance(loss, list) else loss
        return {"seconds": seconds, "cpu": cpu, "loss": float(total)}

    return step


def torch_setup(args: argparse.Namespace, config: Any, head: str, precision: str) -> dict[str, Any]:
    """What torch_training_step.py reads first."""
    sizes = {name: getattr(args, name) for name in ("batch_size", "seq_length", "threads")}
    return {**sizes, "config": config.to_dict(), "head": head, "precision": precision}


@contextlib.contextmanager
def torch_step(
    python: Path, setup: dict[str, Any], script: Path = TORCH_SCRIPT
) -> Iterator[tuple[Step, dict[str, str]]]:
    """Steps of PyTorch's model in a child process, and the versions there; `setup` is what it reads first."""
    child = subprocess.Popen(
        [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def exchange(question: dict[str, Any]) -> dict[str, Any]:
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise SystemExit(f"{script.name} ended early: its error is above")
        return json.loads(answer)

    with child:  # leaving it closes its standard input, which ends it
        versions = exchange(setup)
        yield (lambda: exchange({})), versions


def measure(steps: dict[str, Step], count: int) -> dict[str, list[dict[str, float]]]:
    """The first step of each, then `count` rounds of one step of each."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for number in range(count + 1):
        for name, step in steps.items():
            time.sleep(PAUSE)
            results[name].append(step())
            say(f"step {number}/{count} {name}: {results[name][-1]['seconds']:.2f} s")
    return results


def summarize(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """First step and statistics of the later ones, in seconds."""
    rows = {}
    for name, (first, *later) in results.items():
        seconds = [step["seconds"] for step in later]
        rows[name] = {
            "first": first["seconds"],
            "median": statistics.median(seconds),
            "min": min(seconds),
            "max": max(seconds),
            "cpu_median": statistics.median(step["cpu"] for step in later),
        }
        rows[name]["first_over_median"] = rows[name]["first"] / rows[name]["median"]
        if "loss" in first:
            rows[name]["first_loss"] = first["loss"]
    return rows


def ratios(rows: dict[str, dict[str, float]], to: str) -> dict[str, dict[str, float]]:
    """The times of the models' other rows divided by that of row `to`."""
    return {
        name: {key: row[key] / rows[to][key] for key in ("median", "min")}
        for name, row in rows.items()
        if name not in ("ours", "matmuls")
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    columns = "first", "median", "min", "max", "cpu_median", "first_over_median", "first_loss"
    lines = [
        f"{report['preset']}, batch {report['batch_size']} x {report['seq_length']} tokens, "
        f"{report['precision']}, {report['threads']} threads, {report['steps']} steps after the first; "
        "seconds",
        f"{'':12}" + "".join(f"{name.replace('first_over_', 'first/'):>14}" for name in columns),
    ]
    for name, row in report["rows"].items():
        cells = (f"{row[column]:.3f}" if column in row else "-" for column in columns)
        lines.append(f"{name:12}" + "".join(f"{cell:>14}" for cell in cells))
    for name, ratio in report["times_faster_than"].items():
        bound = report["upper_bound_matmuls_only"][name]
        lines.append(
            f"ours is {ratio['median']:.2f}x as fast as {name} by the median, "
            f"{ratio['min']:.2f}x by the minimum; "
            f"upper bound (matmuls only): {bound['median']:.2f}x, {bound['min']:.2f}x"
        )
    versions = (f"{name} {version}" for name, version in report["versions"].items())
    return "\n".join([*lines, ", ".join(versions)])


TITLES = {
    "ours": "ours",
    "matmuls": "the matmuls of our step alone",
    "stock": "Keras' own layers and AdamW, compiled by XLA (Keras' default)",
    "stock-graph": "Keras' own layers and AdamW, without XLA",
    "torch": "`transformers` in PyTorch",
}


def spread(row: dict[str, float]) -> str:
    """A cell: the median and the range of a row's seconds."""
    return f"{row['median']:.2f} ({row['min']:.2f} to {row['max']:.2f})"


def times(report: dict[str, Any], key: str, name: str) -> str:
    """A cell: the ratio of the medians, if the row has one."""
    ratio = report[key].get(name)
    return "-" if ratio is None else f"{ratio['median']:.2f}x"


def markdown(report: dict[str, Any]) -> str:
    """The results page's table."""
    header = [
        f"seconds per training step, {report['precision']}",
        "median (min to max)",
        "first step",
    ]
    rows = [[*header, "slower than ours by", "upper bound (matmuls only)"]]
    for name, row in report["rows"].items():
        ratios = [
            times(report, key, name) for key in ("times_faster_than", "upper_bound_matmuls_only")
        ]
        rows.append([TITLES[name], spread(row), f"{row['first']:.1f}", *ratios])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    foot = (
        f"{report['preset']}, batch {report['batch_size']} x {report['seq_length']} tokens, "
        f"{report['threads']} threads of {report['cpu']}, {report['steps']} steps; {versions}."
    )
    return f"{output.markdown_table(rows)}\n\n{foot}"


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    args = parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    use_threads(args.threads)
    import keras
    import tensorflow as tf

    from sqb_tf import SqueezeBertConfig

    config = SqueezeBertConfig.from_preset(args.preset)
    size = args.batch_size, args.seq_length
    versions = {"python": platform.python_version()}
    versions.update(tensorflow=tf.__version__, keras=keras.__version__)
    models = keras_models(config, args.precision)
    batch = keras_batch("classification", config, *size)
    steps = {name: keras_step(model, *batch) for name, model in models.items()}
    steps["matmuls"] = matmuls_step(config, *size, args.precision)
    with contextlib.ExitStack() as stack:
        if args.torch_python:
            setup = torch_setup(args, config, "classification", args.precision)
            steps["torch"], torch_versions = stack.enter_context(
                torch_step(args.torch_python, setup)
            )
            versions.update(torch_versions)
        results = measure(steps, args.steps)

    rows = summarize(results)
    report = {
        **{name: getattr(args, name) for name in ("preset", "batch_size", "seq_length")},
        **{name: getattr(args, name) for name in ("threads", "steps", "precision")},
        "versions": versions,
        "cpu": output.processor(),
        "rows": rows,
        "times_faster_than": ratios(rows, "ours"),
        "upper_bound_matmuls_only": ratios(rows, "matmuls"),
        "all_steps": results,
    }
    output.publish(args, f"training {args.precision}", report, markdown(report), table(report))


if __name__ == "__main__":
    main()
