"""The tables and the picture of `pareto.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.package_latency import measured_on, medians, megabytes
from benchmarks.pareto_tasks import BENCHMARKS

# README's rows: model and recipe.
SUMMARY = (
    ("from scratch", "int8"),
    ("MiniLM-L6", "float32"),
    ("MiniLM-L6", "int8"),
    ("squeezebert-micro", "int8"),
    ("squeezebert-mini", "int8"),
)
# Its columns of accuracy: a sentiment, and two sets of many intents.
SUMMARY_TASKS = ("SST-2", "CLINC150", "BANKING77")


def score_table(report: Mapping[str, Any]) -> str:
    """A row for each model and recipe, a column for each task: 100 times the metric, ± over the seeds."""
    scores = report["scores"]
    rows = [["model", "recipe", *scores]]
    models = dict.fromkeys(model for task in scores.values() for model in task)
    for model in models:
        for recipe in _recipes(scores, model):
            cells = [_score(task.get(model, {}).get(recipe)) for task in scores.values()]
            rows.append([model, recipe, *cells])
    missed = [
        f"{model} {recipe} on {title} ({'; '.join(run['misses'])})"
        for title, task in scores.items()
        for model, recipes in task.items()
        for recipe, row in recipes.items()
        for run in row["runs"]
        if run["misses"]
    ]
    foot = f"{_note(report)} Missed a bound, without a search: {', '.join(missed) or 'none'}."
    return f"{output.markdown_table(rows)}\n\n{foot}"


def _score(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return output.mean_and_spread([run["score"] for run in row["runs"]])


def latency_table(records: list[dict[str, Any]]) -> str:
    """A row for each package: size, and the median latency at each length."""
    if not records:
        return ""
    sizes, times = megabytes(records), medians(records)
    lengths = sorted({length for row in times.values() for length in row})
    rows = [["package", "MB", *(f"{length} tokens, ms" for length in lengths)]]
    for name, row in times.items():
        rows.append([name, f"{sizes[name]:.1f}", *(f"{row[n]:.2f}" for n in lengths)])
    return f"{output.markdown_table(rows)}\n\n{measured_on(records)}"


def package_name(model: str, recipe: str) -> str:
    """The name of the file whose latency is measured."""
    return f"{model.replace(' ', '-')}-{recipe}"


def summary_table(report: Mapping[str, Any]) -> str:
    """README's table: size, latency and three accuracies of five packages; MobileBERT for comparison."""
    scores, records = report["scores"], report["records"]
    sizes, times = megabytes(records), medians(records)
    lengths = sorted(next(iter(times.values())))
    titles = ["", "MB", *(f"{n} tokens, ms" for n in lengths), *SUMMARY_TASKS]
    rows = [titles]

    def row(title: str, name: str, accuracies: list[str]) -> list[str]:
        cells = [f"{times[name][length]:.2f}" for length in lengths]
        return [title, f"{sizes[name]:.1f}", *cells, *accuracies]

    rows.append(row("MobileBERT int8", "mobilebert-dynamic-any", [""] * len(SUMMARY_TASKS)))
    for model, recipe in SUMMARY:
        name = package_name(model, recipe)
        if name in times:
            accuracies = [
                _score(scores.get(t, {}).get(model, {}).get(recipe)) for t in SUMMARY_TASKS
            ]
            rows.append(row(f"{model} {recipe}", name, accuracies))
    return f"{output.markdown_table(rows)}\n\n{measured_on(records)}"


def card_table(report: Mapping[str, Any], model: str) -> str:
    """A model card's table: the model's score by task and recipe, beside the other models' in float32."""
    scores = report["scores"]
    recipes = _recipes(scores, model)
    others = dict.fromkeys(m for task in scores.values() for m in task if m != model)
    rows = [["task", *recipes, *(f"{other}, float32" for other in others)]]
    for title, task in scores.items():
        model_scores = [_score(task.get(model, {}).get(recipe)) for recipe in recipes]
        other_scores = [_score(task.get(other, {}).get("float32")) for other in others]
        rows.append([title, *model_scores, *other_scores])
    return f"{output.markdown_table(rows)}\n\n{_note(report)}"


def _recipes(scores: Mapping[str, Any], model: str) -> list[str]:
    """The recipes that the model was measured with, in order."""
    return list(dict.fromkeys(r for task in scores.values() for r in task.get(model, {})))


def _note(report: Mapping[str, Any]) -> str:
    """What a score is."""
    tested = [title for title in report["scores"] if BENCHMARKS[title].test]
    but = f" but for {', '.join(tested)}" if tested else ""
    return (
        "100 times the metric, ± the standard deviation over seeds; the evaluated split also chose the "
        f"checkpoint{but}. Trained in {report['precision']}."
    )


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Mean score over latency and over size, a line for each model. The same input gives the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    from sqb_tflite.bench.reports.drawing import COLOURS, MARKERS, STYLE

    scores, records = report["scores"], report["records"]
    sizes, times = megabytes(records), medians(records)
    models = dict.fromkeys(model for task in scores.values() for model in task)
    longest = max(length for row in times.values() for length in row)
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": "sqb"}):
        figure = Figure(figsize=(9, 3.6))
        by_latency, by_size = figure.subplots(1, 2, sharey=True)
        for model, colour, marker in zip(models, COLOURS, MARKERS, strict=False):
            points = []
            for recipe in next(iter(scores.values()))[model]:
                values = [task[model][recipe]["score"] for task in scores.values()]
                name = package_name(model, recipe)
                points.append(
                    (times[name][longest], sizes[name], 100 * statistics.mean(values), recipe)
                )
            for axes, column in ((by_latency, 0), (by_size, 1)):
                xs, ys = [p[column] for p in points], [p[2] for p in points]
                axes.plot(xs, ys, color=colour, marker=marker, label=model)
                for x, y, point in zip(xs, ys, points, strict=True):
                    axes.annotate(point[3], (x, y), (3, 3), textcoords="offset points", fontsize=7)
        by_latency.set_xscale("log")
        by_size.set_xscale("log")
        by_latency.set_xlabel(f"milliseconds at {longest} tokens, 1 thread")
        by_size.set_xlabel("MB")
        by_latency.set_ylabel(f"mean of {len(scores)} tasks, %")
        by_latency.legend(loc="lower right", fontsize=8)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
