"""The tables and the picture of `pareto.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.package_latency import measured_on, medians, megabytes
from benchmarks.pareto_tasks import BENCHMARKS

# The name of the latencies among the results; a score's is `TASK/MODEL/SEED`.
LATENCY = "latency"
# The models in the order of the tables.
MODELS = ("from scratch", "MiniLM-L6", "squeezebert-mini", "squeezebert-micro")
# A package of the stock converter's int8, for comparison.
MOBILEBERT = "mobilebert-dynamic-any"
# Of both logarithmic axes.
TICKS = (1, 2, 5, 10, 20, 50, 100)
# The recipe of README's rows.
SUMMARY_RECIPE = "int8"
# Its columns of accuracy: a sentiment, and two sets of many intents.
SUMMARY_TASKS = ("SST-2", "CLINC150", "BANKING77")


def make_report(entries: Mapping[str, Any]) -> dict[str, Any]:
    """What `pareto.py` measured, from the entries of its `output.Results`.

    `scores[task][model][recipe]` has the runs of all seeds and their mean; `records` are latencies.
    """
    scores: dict[str, Any] = {}
    titles = list(BENCHMARKS)

    def order(name: str) -> tuple[int, int, str]:
        title, model, seed = name.split("/")
        return titles.index(title), MODELS.index(model), seed

    names = sorted(entries.keys() - {LATENCY}, key=order)
    for name in names:
        title, model, _ = name.split("/")
        for recipe, run in entries[name]["result"]["recipes"].items():
            row = (
                scores.setdefault(title, {}).setdefault(model, {}).setdefault(recipe, {"runs": []})
            )
            row["runs"].append(run)
            row["score"] = statistics.mean(run["score"] for run in row["runs"])
    return {
        "scores": scores,
        "records": entries[LATENCY]["result"],
        "precisions": sorted({entries[name]["result"]["precision"] for name in names}),
        "processors": sorted({entries[name]["processor"] for name in names}),
    }


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
    if unmeasured := [title for title in BENCHMARKS if title not in scores]:
        foot += f" Not measured yet: {', '.join(unmeasured)}."
    return f"{output.markdown_table(rows)}\n\n{foot}"


def _score(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return output.mean_and_spread([run["score"] for run in row["runs"]])


def latency_table(report: Mapping[str, Any]) -> str:
    """A row for each package: size, and the median latency at each length."""
    records = report["records"]
    sizes, times = _sizes(report), medians(records)
    lengths = sorted({length for row in times.values() for length in row})
    rows = [["package", "MB", *(f"{length} tokens, ms" for length in lengths)]]
    for name, row in times.items():
        rows.append([name, f"{sizes[name]:.1f}", *(f"{row[n]:.2f}" for n in lengths)])
    return f"{output.markdown_table(rows)}\n\n{measured_on(records)}"


def package_name(model: str, recipe: str) -> str:
    """The name of the file whose latency is measured."""
    return f"{model.replace(' ', '-')}-{recipe}"


def _sizes(report: Mapping[str, Any]) -> dict[str, float]:
    """Package name -> MB. A model from scratch has learned a vocabulary, so its size is that of a task."""
    sizes = megabytes(report["records"])
    for model, recipes in report["scores"].get(SUMMARY_TASKS[0], {}).items():
        for recipe, row in recipes.items():
            sizes[package_name(model, recipe)] = row["runs"][0]["bytes"] / 1e6
    return sizes


def summary_table(report: Mapping[str, Any]) -> str:
    """README's table: size, latency and three accuracies of each model; MobileBERT's speed for comparison."""
    scores, records = report["scores"], report["records"]
    sizes, times = _sizes(report), medians(records)
    lengths = sorted(next(iter(times.values())))
    titles = ["", "MB", *(f"{n} tokens, ms" for n in lengths), *SUMMARY_TASKS]
    rows = [titles]

    def row(title: str, name: str, accuracies: list[str]) -> list[str]:
        cells = [f"{times[name][length]:.2f}" for length in lengths]
        return [title, f"{sizes[name]:.1f}", *cells, *accuracies]

    rows.append(row("MobileBERT", MOBILEBERT, ["not measured"] * len(SUMMARY_TASKS)))
    for model in MODELS:
        runs = [scores.get(title, {}).get(model, {}) for title in SUMMARY_TASKS]
        accuracies = [_score(recipes.get(SUMMARY_RECIPE)) for recipes in runs]
        rows.append(row(model, package_name(model, SUMMARY_RECIPE), accuracies))
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
        f"checkpoint{but}. Trained in {' and '.join(report['precisions'])} on "
        f"{' and '.join(report['processors'])}."
    )


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Mean score over latency and over size, a line for each model.

    The mean is of the tasks that every model has been fine-tuned on.
    """
    from sqb_tflite.bench.reports.drawing import COLOURS, MARKERS

    sizes, times = _sizes(report), medians(report["records"])
    tasks = [task for task in report["scores"].values() if task.keys() >= set(MODELS)]
    if not tasks:
        raise SystemExit("no picture: no task has been measured for every model yet")
    longest = max(length for row in times.values() for length in row)
    with output.svg_picture(path, (9, 3.6)) as figure:
        by_latency, by_size = figure.subplots(1, 2, sharey=True)
        for model, colour, marker in zip(MODELS, COLOURS, MARKERS, strict=False):
            recipes = list(tasks[0][model])
            names = [package_name(model, recipe) for recipe in recipes]
            means = [
                100 * statistics.mean(task[model][recipe]["score"] for task in tasks)
                for recipe in recipes
            ]
            latencies, megabyte_sizes = (
                [times[n][longest] for n in names],
                [sizes[n] for n in names],
            )
            by_latency.plot(latencies, means, color=colour, marker=marker, label=model)
            by_size.plot(megabyte_sizes, means, color=colour, marker=marker)
            for x, y, recipe in zip(megabyte_sizes, means, recipes, strict=True):
                by_size.annotate(recipe, (x, y), (3, 4), textcoords="offset points", fontsize=7)
        by_latency.axvline(times[MOBILEBERT][longest], color="#888888", linestyle=":")
        by_latency.annotate(
            "MobileBERT int8",
            (times[MOBILEBERT][longest], 0.02),
            (3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=7,
            color="#666666",
        )
        for axes in (by_latency, by_size):
            axes.set_xscale("log")
            axes.minorticks_off()
            low, high = axes.get_xlim()
            axes.set_xticks(shown := [tick for tick in TICKS if low <= tick <= high])
            axes.set_xticklabels(map(str, shown))
        by_latency.set_xlabel(f"milliseconds at {longest} tokens, 1 thread")
        by_size.set_xlabel("MB")
        by_latency.set_ylabel(f"mean of {len(tasks)} tasks, %")
        by_latency.legend(loc="center left", fontsize=8)
