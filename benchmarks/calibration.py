"""Whether scores mean something: the calibration error of packages, and how texts of no class are told.

Fine-tunes a checkpoint on CLINC150, BANKING77 and SST-2, whose temperature is fitted on dev, and compares the
scores of its float32 and int8 packages on the published test with how often they are right. By CLINC150's
1,000 out-of-scope texts it shows what a threshold (`--abstain`) catches at what price. Every result is kept
in --results, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.pareto_tasks import BENCHMARKS, Benchmark, Contender, add_precision

MARKER = "calibration"
TASKS = ("CLINC150", "BANKING77", "SST-2")
RECIPES = ("float32", "int8")
# The task that has texts of no class, and their label.
SCOPE, OUT_OF_SCOPE = "CLINC150", "oos"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A text's true label, the one given, and its score, calibrated and as trained."""

    gold: str
    label: str
    score: float
    uncalibrated: float


def measure(model: Contender, benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """The errors of each recipe's package on the evaluated split, and the curve of texts of no class."""
    from sqb_tflite import Runner, convert

    model.train(benchmark, 0, folder / "bundle")
    metrics = json.loads((folder / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    calibration = metrics["calibration"]  # None: too few wrong answers on dev
    temperature = 1.0 if calibration is None else calibration["temperature"]
    recipes = {}
    for recipe in RECIPES:
        answers = answer(Runner(convert(folder / "bundle", recipe)), benchmark, temperature)
        recipes[recipe] = {
            "errors": errors(answers),
            "errors_in_scope": errors([a for a in answers if a.gold != OUT_OF_SCOPE]),
            "curve": curve(answers) if any(a.gold == OUT_OF_SCOPE for a in answers) else None,
        }
    return {"temperature": temperature, "recipes": recipes}


def answer(runner: Any, benchmark: Benchmark, temperature: float) -> list[Answer]:
    """The answers of a package; dividing logits by 1 / temperature undoes the calibration."""
    from sqb_tf.data.task import Task

    data, split = benchmark.evaluated
    examples = list(Task(benchmark.task, data).split(split))
    answers = []
    rows = runner.stream(example.texts for example in examples)
    for example, (_, result) in zip(examples, rows, strict=True):
        scores = np.array(list(result.scores.values()))
        raw = scores**temperature / (scores**temperature).sum()
        best = int(scores.argmax())
        label = list(result.scores)[best]
        answers.append(Answer(example.label_text, label, float(scores[best]), float(raw[best])))
    return answers


def errors(answers: Sequence[Answer]) -> dict[str, float]:
    """How many texts there are, and the expected calibration error, as trained and calibrated."""
    from sqb_tf.heads.confidence import ConfidenceBins

    raw, calibrated = ConfidenceBins(), ConfidenceBins()
    for a in answers:
        raw.add(a.uncalibrated, a.label == a.gold)
        calibrated.add(a.score, a.label == a.gold)
    both = {"as trained": raw.to_json(), "calibrated": calibrated.to_json()}
    rates = {name: bins["expected_calibration_error"] for name, bins in both.items() if bins}
    return {"texts": len(answers), **rates}


def curve(answers: Sequence[Answer]) -> list[dict[str, float]]:
    """What is caught, by the share of texts of a class that keep an answer.

    Caught is what `--abstain` and the class of no intent refuse together: a text given that class, or whose
    score is below the threshold.
    """
    from sqb_tflite.evaluation.out_of_scope import threshold_curve

    refused = -1.0  # below any threshold
    scores = np.array([refused if a.label == OUT_OF_SCOPE else a.score for a in answers])
    outside = np.array([a.gold == OUT_OF_SCOPE for a in answers])
    return threshold_curve(scores[~outside], scores[outside])


def table(rows: dict[str, Any], args: argparse.Namespace) -> str:
    """A row for each task and recipe; below, a row for each point of the curve of the last recipe."""
    lines = [["task", "recipe", "temperature", "texts", "error as trained", "error calibrated"]]
    for title, row in rows.items():
        for recipe, scores in row["recipes"].items():
            kinds = {"errors": title}
            if scores["curve"]:
                kinds = {"errors_in_scope": f"{title}, texts of a class", "errors": f"{title}, all"}
            for key, name in kinds.items():
                both = [f"{scores[key][which]:.3f}" for which in ("as trained", "calibrated")]
                lines.append(
                    [name, recipe, f"{row['temperature']:.2f}", str(scores[key]["texts"]), *both]
                )
    foot = (
        f"{args.init}, expected calibration error, 15 bins, one seed, trained in {args.precision}; published "
        "test, of SST-2 dev, which also fitted its temperature."
    )
    points = [
        ["texts of a class that keep an answer", "of no class: caught", "precision", "threshold"]
    ]
    for point in rows[SCOPE]["recipes"][RECIPES[-1]]["curve"]:
        shares = [f"{point[name]:.1%}" for name in ("kept", "caught", "precision")]
        points.append([*shares, f"{point['threshold']:.3f}"])
    note = (
        f"{SCOPE}'s test, {RECIPES[-1]}: 4,500 texts of a class, 1,000 of none. Caught: given the class "
        f"`{OUT_OF_SCOPE}`, or a score below the threshold. Precision: of the refused, those of no class."
    )
    return "\n\n".join([output.markdown_table(lines), foot, output.markdown_table(points), note])


def draw(rows: dict[str, Any], path: Path) -> None:
    """What is caught over what is kept, a line for each recipe."""
    from sqb_tflite.bench.reports.drawing import COLOURS

    with output.svg_picture(path, (5.5, 3.6)) as figure:
        axes = figure.subplots()
        for colour, (recipe, scores) in zip(COLOURS, rows[SCOPE]["recipes"].items(), strict=False):
            for name, style in (("caught", "o-"), ("precision", "s--")):
                x, y = ([100 * p[key] for p in scores["curve"]] for key in ("kept", name))
                axes.plot(x, y, style, color=colour, label=f"{recipe}: {name}", markersize=4)
        axes.set_xlabel("texts of a class that keep an answer, %")
        axes.set_ylabel("texts of no class, %")
        axes.legend(fontsize=8)


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--init", default="squeezebert-micro", help="default: %(default)s")
    parser.add_argument("--picture", type=Path, help="an .svg: the curve of texts of no class")
    output.add_results(parser, "calibration")
    add_precision(parser)
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    kept, rows = output.Results(args.results), {}
    model = Contender(init=args.init, precision=args.precision)
    from sqb_tflite.evaluation.out_of_scope import KEPT

    for title in TASKS:
        print(title, file=sys.stderr)
        digest = model.digest(BENCHMARKS[title], 0, RECIPES, KEPT)
        folder = args.output / f"{title}-{digest}"
        run = functools.partial(measure, model, BENCHMARKS[title], folder)
        rows[title] = kept.get(title, digest, run)
    output.publish(args, MARKER, rows, table(rows, args))
    if args.picture:
        draw(rows, args.picture)


if __name__ == "__main__":
    main()
