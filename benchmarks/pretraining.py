"""What pretraining on plain text gains with few labels: fine-tuning from it against training from scratch.

Pretrains squeezebert-small once, then fine-tunes on SST-2 with 500 and 5,000 labels and on MRPC, from the
pretrained bundle and from random weights, with several seeds, batch size 32 and one learning rate. Each score
is the best evaluation on the whole dev split. Plots the pretraining loss.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

TEXT = ("openstax-ccby", "wikitext-2")
# {title: (task, folder under glue/, training examples, epochs)}; fewer examples get more epochs.
TASKS = {
    "SST-2, 500 labels": ("sst2", "SST-2", 500, 20),
    "SST-2, 5,000 labels": ("sst2", "SST-2", 5000, 5),
    "MRPC, 3,668 labels": ("mrpc", "MRPC", None, 5),
}


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4000, help="for pretraining")
    parser.add_argument("--batch-size", type=int, default=32, help="for pretraining")
    parser.add_argument("--dropout", type=float, default=0.1, help="for pretraining")
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="learning rate of every fine-tuning"
    )
    parser.add_argument("--seeds", type=int, default=3, help="fine-tunings of each task and start")
    parser.add_argument("--work", default="runs/bench/pretraining", help="kept between runs")
    output.add_flags(parser)
    parser.add_argument("--plot", type=Path, help="plot the pretraining loss into this .png")
    return parser.parse_args()


def pretrained(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Pretrains, or resumes it, unless it is finished; returns the bundle's metrics."""
    from sqb_tf.training.pretraining.options import PretrainOptions, ShardOptions
    from sqb_tf.training.pretraining.pretrain import pretrain
    from sqb_tf.training.pretraining.shard_writer import make_shards
    from sqb_tf.training.pretraining.shards import Shards

    if not (folder / "metrics.json").is_file():
        shards = folder.parent / "shards"
        make_shards(
            shards, ShardOptions(text=tuple(str(SHARED_DATA / "text" / name) for name in TEXT))
        )
        options = PretrainOptions(
            steps=args.steps,
            batch_size=args.batch_size,
            dropout=args.dropout,
        )
        pretrain(Shards(shards), folder, options, resume=True)
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def subset(source: Path, examples: int | None, folder: Path) -> Path:
    """A folder of a task with only its first training examples, and all of dev."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "dev.tsv", folder)
    lines = (source / "train.tsv").read_text(encoding="utf-8").split("\n")
    kept = lines if examples is None else [*lines[: examples + 1], ""]
    (folder / "train.tsv").write_text("\n".join(kept), encoding="utf-8")
    return folder


def tune(name: str, init: Path | None, seed: int, rate: float, work: Path) -> float:
    """Fine-tunes, unless it is finished; returns the metric on dev."""
    from sqb_tf.data.task import Task
    from sqb_tf.training.finetune import finetune
    from sqb_tf.training.options import FinetuneOptions

    task, folder, examples, epochs = TASKS[name]
    start = "scratch" if init is None else "pretrained"
    output = work / f"{task}-{examples}-{start}-{rate}-{seed}"
    if not (output / "metrics.json").is_file():
        print(f"fine-tuning {output}", file=sys.stderr)
        data = subset(SHARED_DATA / "glue" / folder, examples, work / f"data-{task}-{examples}")
        options = FinetuneOptions(
            preset="squeezebert-small" if init is None else None,
            init=None if init is None else str(init),
            epochs=epochs,
            batch_size=32,
            learning_rate=rate,
            evaluate_every=100,
            seed=seed,
        )
        finetune(Task(task, data), output, options, resume=True)
    return json.loads((output / "metrics.json").read_text(encoding="utf-8"))["metric"]["value"]


def table(report: dict[str, Any]) -> str:
    """The results page's table."""
    rows = [["mean (each seed)", "from scratch", "from the pretrained bundle"]]
    for name, row in report["rows"].items():
        cells = [
            f"{statistics.mean(values):.3f} ({', '.join(f'{v:.3f}' for v in values)})"
            for values in (row["scratch"], row["pretrained"])
        ]
        rows.append([f"{name}, {row['metric']}", *cells])
    metrics = report["pretraining"]
    options = metrics["options"]
    foot = (
        f"squeezebert-small after {options['steps']:,} steps of {options['batch_size']} x 128 tokens "
        f"({metrics['seconds'] / 60:.0f} minutes on 2 cores): held-out masked-LM loss "
        f"{metrics['metric']['value']:.3f}, {metrics['below_unigram']:.1%} below the loss of the unigram "
        f"frequencies, {metrics['unigram_loss']:.3f} ({metrics['held_out_predictions']:,} predictions)."
    )
    return f"{output.markdown_table(rows)}\n\n{foot}"


def draw(metrics: dict[str, Any], path: Path) -> None:
    """Plots the pretraining loss beside the unigram baseline."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    steps = [point["step"] for point in metrics["curve"]]
    axes.plot(steps, [p["masked_lm_loss"] for p in metrics["curve"]], label="squeezebert-small")
    axes.axhline(metrics["unigram_loss"], color="grey", ls="--", label="unigram frequencies")
    axes.axhline(0.9 * metrics["unigram_loss"], color="grey", ls=":", label="10% below them")
    axes.set(xlabel="steps", ylabel="held-out masked-LM loss, nats")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Pretrains, fine-tunes, prints the table."""
    args = parse_args()
    work = Path(args.work)
    bundle = work / "pretrained"
    report: dict[str, Any] = {"pretraining": pretrained(args, bundle), "rows": {}}
    if args.plot:
        draw(report["pretraining"], args.plot)
    for name, (task, *_) in TASKS.items():
        row = {
            start: [tune(name, init, seed, args.rate, work) for seed in range(args.seeds)]
            for start, init in (("scratch", None), ("pretrained", bundle))
        }
        report["rows"][name] = {"metric": "F1" if task == "mrpc" else "accuracy", **row}
    output.publish(args, "pretraining", report, table(report))


if __name__ == "__main__":
    main()
