"""Accuracy that recipes lose on a model with outlier channels, beside the stock converter's full-integer one.

Pretrained BERT models have a few channels 20 to 60 times larger than the rest; small models trained from
scratch do not. This script builds one: it trains on SST-2 while the gains and offsets of a few channels of
every norm grow 40-fold, then rescales channels inside attention exactly (query against key, value against the
projection after it). It reports every recipe's accuracy on dev, plain and stressed, beside float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

SST2 = SHARED_DATA / "glue" / "SST-2"
CHANNELS, GROWTH, GROWN_AT = 4, 40.0, 0.6
RESCALINGS = (30.0, 8)  # factor, and the step between rescaled channels of a head
RECIPES = ("fp16", "dynamic", "int8", "int4", "int4-all", "int8-full", "int16x8")


def train(output: Path, stressed: bool, limit: int | None) -> None:
    """squeezebert-small on SST-2 for two epochs, the defaults of tools/finetune.py."""
    from sqb_tf.data.task import Task
    from sqb_tf.training import finetune
    from sqb_tf.training.options import FinetuneOptions
    from sqb_tf.training.trainer import FinetuneTrainer

    class StressedTrainer(FinetuneTrainer):
        """Grows the gains and offsets of the chosen channels after each step, before the evaluation."""

        grown = 0

        def _evaluate_if_due(self) -> None:
            until = round(GROWN_AT * self.total_steps)
            step = min(self.state.step, until)
            factor = GROWTH ** ((step - self.grown) / until)
            self.grown = step
            for weight in norm_weights(self.model):
                values = weight.numpy()
                values[channels(weight.path, len(values))] *= factor
                weight.assign(values)
            if step == until:
                super()._evaluate_if_due()

    finetune.FinetuneTrainer = StressedTrainer if stressed else FinetuneTrainer
    task = Task("sst2", SST2, limit=limit)
    finetune.finetune(task, output, FinetuneOptions(preset="squeezebert-small", epochs=2))


def norm_weights(model: Any) -> Iterator[Any]:
    """Gains and offsets of the norms in the blocks."""
    for block in model.backbone.blocks:
        for norm in (block.post_attention_norm, block.output_norm):
            yield from (norm.gamma, norm.beta)


def channels(path: str, size: int) -> np.ndarray:
    """The same channels for a norm's gain and offset, different ones for different norms."""
    return np.random.default_rng(list(path.rpartition("/")[0].encode())).choice(
        size, CHANNELS, False
    )


def rescale(model: Any) -> None:
    """Scales queries up and keys down, values up and the weights after them down: the same function."""
    factor, every = RESCALINGS
    for block in model.backbone.blocks:
        size = block.attention.query.filters
        scale = np.where(np.arange(size) % every == 0, factor, 1.0).astype(np.float32)
        attention = block.attention
        for layer, by in (
            (attention.query, scale),
            (attention.key, 1 / scale),
            (attention.value, scale),
        ):
            layer.kernel.assign(layer.kernel.numpy() * by)
            layer.bias.assign(layer.bias.numpy() * by)
        projection = block.post_attention
        # The kernel is [1, in / groups, out]: group g of the outputs reads inputs from g * in / groups on.
        kernel = projection.kernel.numpy()
        rows, columns = kernel.shape[1], kernel.shape[2] // projection.groups
        for group in range(projection.groups):
            by = scale[group * rows : (group + 1) * rows]
            kernel[0, :, group * columns : (group + 1) * columns] /= by[:, np.newaxis]
        projection.kernel.assign(kernel)


def stock_full_integer(model: Any, seq_length: int = 64) -> Any:
    """A function texts -> probabilities: the stock converter's int8 of the same lowered model."""
    import tempfile

    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from sqb_tflite.conversion.calibration import calibration_samples
    from sqb_tflite.conversion.lowering.model import LoweredModel
    from sqb_tflite.runtime.runner import fit

    lowered = LoweredModel(model, "classification", seq_length)

    def fitted(sample: dict[str, Any]) -> dict[str, np.ndarray]:
        return {name: fit(np.asarray(values), seq_length) for name, values in sample.items()}

    representative = [fitted(sample) for sample in calibration_samples(model, None, 64)]
    with tempfile.TemporaryDirectory() as folder:
        signature = lowered.signature(seq_length)
        tf.saved_model.save(lowered, folder, signatures={"serving_default": signature})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter(representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        content = converter.convert()
    run = Interpreter(model_content=content, num_threads=2).get_signature_runner()
    return lambda text: run(**fitted(model.preprocessor([text])))["probabilities"][0]


def accuracies(model: Any, examples: list[Any]) -> dict[str, float]:
    """Accuracy by recipe, and `float32` (Keras) and `stock full integer`."""
    from sqb_tflite import convert
    from sqb_tflite.verification.verify import verify

    by_recipe: dict[str, float] = {}
    for recipe in RECIPES:
        print(f"converting to {recipe}", file=sys.stderr)
        report = verify(model, convert(model, recipe), examples)
        by_recipe["float32"] = report.metric["keras"]
        by_recipe[recipe] = report.metric["package"]
        print(report.table(), file=sys.stderr)
    answer = stock_full_integer(model)
    right = [model.labels[int(np.argmax(answer(e.text)))] == e.label for e in examples]
    return {**by_recipe, "stock full integer": float(np.mean(right))}


def table(accuracy: dict[str, dict[str, float]]) -> str:
    """A row for each recipe: accuracy and loss in points, plain and stressed."""
    rows = [["SST-2 dev accuracy", "plain", "lost", "outliers", "lost"]]
    for recipe in accuracy["plain"]:
        cells = []
        for name in ("plain", "stressed"):
            value = accuracy[name][recipe]
            lost = accuracy[name]["float32"] - value
            cells += [f"{value:.4f}", f"{100 * lost:+.2f}"]
        rows.append([recipe, *cells])
    return output.markdown_table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", default="runs/outliers", metavar="DIR", help="bundles, results")
    parser.add_argument("--limit", type=int, help="use only the first N examples of each split")
    parser.add_argument("--readme", metavar="FILE", help="put the table into this file")
    args = parser.parse_args()
    import sqb_tf
    from sqb_tf.data.task import Task

    folder, accuracy = Path(args.output), {}
    examples = list(Task("sst2", SST2, limit=args.limit).split("dev"))
    for name in ("plain", "stressed"):
        if not (folder / name).is_dir():
            train(folder / name, name == "stressed", args.limit)
        model = sqb_tf.load(folder / name)
        if name == "stressed":
            rescale(model)
        accuracy[name] = accuracies(model, examples)
    output.write_json(folder / "accuracy.json", accuracy)
    print(table(accuracy))
    if args.readme:
        output.update_markdown(args.readme, "outliers", table(accuracy))


if __name__ == "__main__":
    main()
