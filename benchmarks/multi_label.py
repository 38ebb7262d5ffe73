"""Several labels for a text: GoEmotions by `sqb finetune`, in every recipe and by several thresholds.

With --torch-python also by transformers: from the same weights, with the same batch size, rate and epochs,
and the threshold of the best micro F1 on dev. Every result is kept in --results, so that the command goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

MARKER = "multi-label"
DATA = SHARED_DATA / "multilabel" / "goemotions"
SETTINGS = {"epochs": 3, "batch_size": 32, "seq_length": 64, "seed": 0}
RECIPES = ("float32", "int8", "int4", "int4-all")
METRICS = ("micro_f1", "macro_f1", "subset_accuracy")


def task() -> Any:
    """GoEmotions, with its test split."""
    from sqb_tf.data.example import Columns
    from sqb_tf.data.task import Task

    return Task("multi_label", DATA, Columns(label="labels"), test=DATA / "test.tsv")


def measure_ours(init: str, folder: Path) -> dict[str, Any]:
    """Fine-tunes, converts by each recipe, and evaluates on test."""
    from sqb_tf.training.finetune import finetune
    from sqb_tf.training.options import FinetuneOptions
    from sqb_tflite import Runner, convert
    from sqb_tflite.evaluation.evaluate import evaluate

    bundle = folder / "bundle"
    if not (bundle / "metrics.json").is_file():
        finetune(task(), bundle, FinetuneOptions(init=init, **SETTINGS), resume=True)
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    scores = {
        recipe: evaluate(Runner(convert(bundle, recipe)), task(), "test")["metrics"]
        for recipe in RECIPES
    }
    return {"learning_rate": metrics["learning_rate"], "scores": scores}


def measure_thresholds(folder: Path) -> dict[str, dict[str, float]]:
    """The scores on test, in Keras, by thresholds of each kind."""
    from sqb_tflite.verification.bundle_backend import BundleBackend

    backend = BundleBackend(folder / "bundle")
    results, references = {}, {}
    for which in ("dev", "test"):
        examples = list(task().split(which))
        results[which] = [result for _, result in backend.stream(e.texts for e in examples)]
        references[which] = backend.head.references(examples)
    heads = {"all labels at 0.5": backend.head.update_settings({"thresholds": 0.5})}
    for name, metric in (("one for all labels", "micro_f1"), ("each label's own", "macro_f1")):
        heads[name] = backend.head.fitted(results["dev"], references["dev"], metric)
    return {
        name: head.scores(METRICS, head.metric_inputs(results["test"]), references["test"])
        for name, head in heads.items()
    }


def measure_theirs(init: str, rate: float, python: str, folder: Path) -> dict[str, float]:
    """The scores on test of a model that `transformers` fine-tuned, at the epoch that is best on dev."""
    from sqb_tf.checkpoint.hugging_face import export_folder
    from sqb_tf.heads.multi_label import MultiLabel, MultiLabelHead

    splits = {which: list(task().split(which)) for which in ("train", "dev", "test")}
    labels = sorted(
        {label for e in splits["train"] for label in MultiLabelHead().read_labels(e, "")}
    )
    head = MultiLabelHead(labels)
    texts = {
        which: [[e.text, [head.label_ids[x] for x in head.read_labels(e, "")]] for e in examples]
        for which, examples in splits.items()
    }
    export_folder(init, folder / "hf")
    content = {**texts, **SETTINGS, "labels": len(labels), "learning_rate": rate}
    (folder / "texts.json").write_text(json.dumps(content), encoding="utf-8")
    script = Path(__file__).with_name("torch_multi_label.py")
    outputs = folder / "outputs.npz"
    subprocess.run([python, script, folder / "hf", folder / "texts.json", outputs], check=True)
    probabilities = np.load(outputs)

    def results(name: str) -> list[MultiLabel]:
        rows = probabilities[name].tolist()
        return [MultiLabel((), dict(zip(labels, row, strict=True))) for row in rows]

    dev, test = (head.references(splits[which]) for which in ("dev", "test"))
    fitted = [
        head.fitted(results(f"dev{epoch}"), dev, METRICS[0]) for epoch in range(SETTINGS["epochs"])
    ]
    best = max(
        range(len(fitted)),
        key=lambda i: fitted[i].scores(
            ["micro_f1"], fitted[i].metric_inputs(results(f"dev{i}")), dev
        )["micro_f1"],
    )
    return fitted[best].scores(METRICS, fitted[best].metric_inputs(results(f"test{best}")), test)


def table(report: dict[str, Any], init: str) -> str:
    """A row for each recipe, for each kind of thresholds, and one for `transformers` if it was measured."""
    named = {f"{recipe} package": scores for recipe, scores in report["ours"]["scores"].items()}
    named |= {f"Keras, {name}": scores for name, scores in report["thresholds"].items()}
    if "transformers" in report:
        named["`transformers`"] = report["transformers"]
    rows = [["model", *METRICS]]
    for name, scores in named.items():
        rows.append([name, *(f"{100 * scores[metric]:.1f}" for metric in METRICS)])
    foot = (
        f"{init} on GoEmotions, test, {SETTINGS['epochs']} epochs, one seed, float32 training, peak rate "
        f"{report['ours']['learning_rate']:g}; thresholds fitted on dev, one for all labels unless it says "
        "otherwise."
    )
    if "transformers" not in report:
        foot += " `transformers` was not measured yet."
    return f"{output.markdown_table(rows)}\n\n{foot}"


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--init", default="squeezebert-micro", help="default: %(default)s")
    parser.add_argument("--torch-python", help="a Python that has transformers, to compare with")
    output.add_results(parser, "multi-label")
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    from benchmarks.pareto_tasks import weights_digest

    kept, digest = (
        output.Results(args.results),
        output.digest(weights_digest(args.init), SETTINGS, RECIPES),
    )
    folder = args.output / f"{args.init}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    ours = kept.get("ours", digest, functools.partial(measure_ours, args.init, folder))
    report = {"ours": ours}
    run = functools.partial(measure_thresholds, folder)
    report["thresholds"] = kept.get("thresholds", digest, run)
    if args.torch_python:
        rate = ours["learning_rate"]
        run = functools.partial(measure_theirs, args.init, rate, args.torch_python, folder)
        report["transformers"] = kept.get("transformers", digest, run)
    output.publish(args, MARKER, report, table(report, args.init))


if __name__ == "__main__":
    main()
