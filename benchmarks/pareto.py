"""Accuracy over latency and over size: what each model reaches on ten tasks, in float32, int8 and int4.

Each model is fine-tuned on each task, converted by each recipe without a search, and evaluated on the
published dev or test split; then all are timed beside BERT-base and MobileBERT in one interleaved run. Every
result is kept in --output, so that the same command goes on after an interruption. Writes the tables of a
results page, a picture, README's table, and those of the model cards.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output, package_latency
from benchmarks.pareto_report import (
    card_table,
    draw,
    latency_table,
    package_name,
    score_table,
    summary_table,
)
from benchmarks.pareto_tasks import BENCHMARKS, Benchmark, Contender, add_precision, score

MARKER = "pareto"
RECIPES = ("float32", "int8", "int4", "int4-all")
# Whose packages are timed: latency does not depend on the task.
TIMED = "SST-2"
BASELINES = ("bert-base", "mobilebert")


def contenders(args: argparse.Namespace) -> dict[str, Contender]:
    """The models by name; the teacher of the checkpoints too, if it is there."""
    from sqb_tf.checkpoint import pretrained

    models = {"from scratch": Contender(preset="squeezebert-small")}
    models |= {name: Contender(init=name) for name in pretrained.CHECKPOINTS}
    if args.teacher:
        models["MiniLM-L6"] = Contender(init=args.teacher)
    return {
        name: dataclasses.replace(model, precision=args.precision) for name, model in models.items()
    }


def measure(
    name: str, model: Contender, title: str, benchmark: Benchmark, seed: int, folder: Path
) -> dict[str, Any]:
    """Scores, sizes and verdicts of one fine-tuning, by recipe."""
    print(f"{name} on {title}, seed {seed}", file=sys.stderr)
    bundle = folder / "bundle"
    model.train(benchmark, seed, bundle)
    return {
        recipe: convert_and_score(bundle, recipe, benchmark, folder / f"{recipe}.tflite")
        for recipe in RECIPES
    }


def convert_and_score(
    bundle: Path, recipe: str, benchmark: Benchmark, package: Path
) -> dict[str, Any]:
    """The score of a recipe's package, its size, and which bounds it misses without a search."""
    import sqb_tf
    from sqb_tflite import Runner, convert
    from sqb_tflite.verification.verify import verify

    model = sqb_tf.load(bundle)
    package.write_bytes(convert(model, recipe))
    report = verify(model, package, model.info.sample("verification"))
    return {
        "score": score(Runner(package, num_threads=2), benchmark),
        "bytes": package.stat().st_size,
        "misses": report.misses,
        "sqnr_db": report.sqnr_db,
        "agreement": report.agreement,
    }


def runs(args: argparse.Namespace) -> Iterator[tuple[str, Contender, str, Benchmark, int]]:
    """What is fine-tuned, in order: every model on a task before the next task."""
    models = contenders(args)
    for title in args.tasks:
        benchmark = BENCHMARKS[title]
        for seed in range(benchmark.seeds):
            for name in args.models or models:
                yield name, models[name], title, benchmark, seed


def baselines(bundle: Path) -> list[Path]:
    """Packages of `BASELINES`, which take any length."""
    import sqb_tf
    from sqb_tflite.bench.baselines import Baseline, convert_baselines

    tokenizer = sqb_tf.load(bundle).tokenizer
    requested = [Baseline(name, "dynamic", None) for name in BASELINES]
    folder = package_latency.ROOT / "runs" / "baselines"
    return convert_baselines(requested, folder, tokenizer.vocabulary, tokenizer.lowercase)


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Everything measured: `scores[task][model][recipe]`, with the mean over the seeds, and latencies."""
    scores: dict[str, Any] = {title: {} for title in args.tasks}
    timed: dict[str, Path] = {}
    records: list[dict[str, Any]] = []
    for name, model, title, benchmark, seed in runs(args):
        digest = model.digest(benchmark, RECIPES)
        folder = args.output / f"{title}-{name}-{seed}-{digest}".replace(" ", "-")
        run = functools.partial(measure, name, model, title, benchmark, seed, folder)
        results = output.read_or_compute(folder / "scores.json", run)
        if title == TIMED:
            timed.setdefault(name, folder)
        for recipe, result in results.items():
            row = scores[title].setdefault(name, {}).setdefault(recipe, {"runs": []})
            row["runs"].append(result)
            row["score"] = statistics.mean(run["score"] for run in row["runs"])
    if timed:
        packages = {
            package_name(name, recipe): folder / f"{recipe}.tflite"
            for name, folder in timed.items()
            for recipe in RECIPES
        }
        bundle = next(iter(timed.values())) / "bundle"
        records = package_latency.measure(packages, args.output, args.runs, baselines(bundle))
    return {"scores": scores, "records": records, "precision": args.precision}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", help="the checkpoints' teacher: MiniLM's folder or hub name")
    parser.add_argument("--output", type=Path, default=Path("runs/pareto"), help="all results")
    parser.add_argument("--tasks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--models", nargs="+", help="some of the models; default: all")
    add_precision(parser)
    parser.add_argument(
        "--runs", type=int, default=60, help="timed runs of each package and length"
    )
    parser.add_argument("--picture", type=Path, help="an .svg: accuracy over latency and over size")
    parser.add_argument("--summary", type=Path, help="put the table of five rows into this file")
    parser.add_argument(
        "--cards", action="store_true", help="put each checkpoint's scores into its model card"
    )
    output.add_flags(parser)
    args = parser.parse_args()
    unknown = set(args.models or ()) - contenders(args).keys()
    if unknown:
        parser.error(f"--models {', '.join(unknown)}: expected {', '.join(contenders(args))}")
    if (args.picture or args.summary) and TIMED not in args.tasks:
        parser.error(f"--picture and --summary show latency: expected {TIMED} among --tasks")
    if args.cards and (args.models or not args.teacher or len(args.tasks) < len(BENCHMARKS)):
        parser.error(
            "--cards: a card has all tasks and models: leave out --tasks and --models, give --teacher"
        )
    for path, marker in ((args.readme, MARKER), (args.summary, "summary"), *_cards(args).items()):
        output.check_markers(path, marker)
    return args


def _cards(args: argparse.Namespace) -> dict[Path, str]:
    """The marker of the scores in each model card that is to be written."""
    from sqb_tf.checkpoint import pretrained

    names = pretrained.CHECKPOINTS if args.cards else ()
    return {pretrained.FOLDER / name / "README.md": "scores" for name in names}


def main() -> None:
    """Runs the command; see the module's docstring."""
    args = parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    report = collect(args)
    tables = [score_table(report), latency_table(report["records"])]
    output.publish(args, MARKER, report, "\n\n".join(table for table in tables if table))
    if args.picture:
        draw(report, args.picture)
    if args.summary:
        output.update_markdown(args.summary, "summary", summary_table(report))
    for card, marker in _cards(args).items():
        output.update_markdown(card, marker, card_table(report, card.parent.name))


if __name__ == "__main__":
    main()
