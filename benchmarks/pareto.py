"""Accuracy over latency and over size: what each model reaches on ten tasks, in float32, int8 and int4.

Each model is fine-tuned on each task, converted by each recipe without a search, and evaluated on the
published dev or test split; then all are timed beside BERT-base and MobileBERT in one interleaved run. Every
result is kept in --results, so that the same command goes on where it stopped, on another machine too. From
all of them it writes the tables of a results page, of README and of the model cards, and a picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output, package_latency
from benchmarks.pareto_report import (
    LATENCY,
    card_table,
    draw,
    latency_table,
    make_report,
    package_name,
    score_table,
    summary_table,
)
from benchmarks.pareto_tasks import BENCHMARKS, Benchmark, Contender, add_precision, score
from benchmarks.random_bundle import BERT_VOCABULARY, untrained_package

MARKER = "pareto"
RECIPES = ("float32", "int8", "int4", "int4-all")
BASELINES = ("bert-base", "mobilebert")


def contenders(args: argparse.Namespace) -> dict[str, Contender]:
    """The models by the names of `pareto_report.MODELS`."""
    from sqb_tf.checkpoint import pretrained

    models = {"from scratch": Contender(preset="squeezebert-small")}
    models["MiniLM-L6"] = Contender(init=args.teacher)
    models |= {name: Contender(init=name) for name in pretrained.CHECKPOINTS}
    return {
        name: dataclasses.replace(model, precision=args.precision) for name, model in models.items()
    }


def measure(model: Contender, benchmark: Benchmark, seed: int, folder: Path) -> dict[str, Any]:
    """Scores, sizes and verdicts of one fine-tuning, by recipe."""
    model.train(benchmark, seed, folder / "bundle")
    recipes = {
        recipe: convert_and_score(folder / "bundle", recipe, benchmark, folder / f"{recipe}.tflite")
        for recipe in RECIPES
    }
    return {"precision": model.precision, "recipes": recipes}


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
        "score": score(Runner(package), benchmark),
        "bytes": package.stat().st_size,
        "misses": report.misses,
        "sqnr_db": report.sqnr_db,
        "agreement": report.agreement,
    }


def collect_scores(args: argparse.Namespace, results: output.Results) -> None:
    """Every model on a task, seed by seed, before the next task."""
    models = contenders(args)
    for title in args.tasks:
        benchmark = BENCHMARKS[title]
        for seed in range(min(benchmark.seeds, args.seeds)):
            for name in args.models or models:
                print(f"{name} on {title}, seed {seed}", file=sys.stderr)
                digest = models[name].digest(benchmark, seed, RECIPES)
                folder = args.output / f"{title}-{name}-{seed}-{digest}".replace(" ", "-")
                run = functools.partial(measure, models[name], benchmark, seed, folder)
                results.get(f"{title}/{name}/{seed}", digest, run)


def collect_latency(args: argparse.Namespace, results: output.Results) -> None:
    """The latency of every model, with random weights, which it does not depend on."""
    configs = {name: model.config() for name, model in contenders(args).items()}
    settings = {name: config.to_dict() for name, config in configs.items()}
    digest = output.digest(settings, RECIPES, BASELINES, args.runs, output.processor())

    def measure_latency() -> list[dict[str, Any]]:
        packages = {
            package_name(name, recipe): untrained_package(config, recipe)
            for name, config in configs.items()
            for recipe in RECIPES
        }
        return package_latency.measure(packages, args.output, args.runs, baselines())

    results.get(LATENCY, digest, measure_latency)


def baselines() -> list[Path]:
    """Packages of `BASELINES`, which take any length."""
    from sqb_tf.text.vocabulary import read_vocabulary
    from sqb_tflite.bench.baselines import Baseline, convert_baselines

    requested = [Baseline(name, "dynamic", None) for name in BASELINES]
    folder = package_latency.ROOT / "runs" / "baselines"
    return convert_baselines(requested, folder, read_vocabulary(BERT_VOCABULARY), lowercase=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--teacher", required=True, help="the checkpoints' teacher: MiniLM's folder or hub name"
    )
    output.add_results(parser, "pareto")
    parser.add_argument("--tasks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--models", nargs="+", help="some of the models; default: all")
    parser.add_argument(
        "--seeds",
        type=int,
        default=3,
        help="at most so many runs of a task (default: %(default)s, where the data is small)",
    )
    add_precision(parser)
    parser.add_argument(
        "--runs", type=int, default=60, help="timed runs of each package and length"
    )
    parser.add_argument(
        "--scores-only",
        action="store_true",
        help="time nothing, write no table: for several processes that share --results",
    )
    parser.add_argument("--picture", type=Path, help="an .svg: accuracy over latency and over size")
    parser.add_argument("--summary", type=Path, help="put the table of six rows into this file")
    parser.add_argument(
        "--cards", action="store_true", help="put each checkpoint's scores into its model card"
    )
    output.add_flags(parser)
    args = parser.parse_args()
    unknown = set(args.models or ()) - contenders(args).keys()
    if unknown:
        parser.error(f"--models {', '.join(unknown)}: expected {', '.join(contenders(args))}")
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
    results = output.Results(args.results)
    collect_scores(args, results)
    if args.scores_only:
        return
    collect_latency(args, results)
    report = make_report(results.entries())
    output.publish(args, MARKER, report, f"{score_table(report)}\n\n{latency_table(report)}")
    if args.picture:
        draw(report, args.picture)
    if args.summary:
        output.update_markdown(args.summary, "summary", summary_table(report))
    for card, marker in _cards(args).items():
        output.update_markdown(card, marker, card_table(report, card.parent.name))


if __name__ == "__main__":
    main()
