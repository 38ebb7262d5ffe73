"""An evaluation as a folder: a page, every wrong decision, the confusion matrix, another model's changes."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.json_text import to_json
from sqb_tf.page.page import bullets, card, document, download, table

from . import pictures
from .assessment import Assessment
from .comparison import Comparison
from .ranked_rows import RankedRows

PAGE, JSON, ERRORS = "report.html", "evaluation.json", "errors.csv"
CONFUSION, CHANGES = "confusion.csv", "changes.csv"
# Rows of the page's tables; the files have all.
SHOWN = 200
# The matrix grows with the square of the classes.
MOST_CLASSES = 1000
# Columns that are not numbers.
WORDS = {
    **dict.fromkeys(("class", "gold", "predicted", "part", "right", "other", "group"), "words"),
    **dict.fromkeys(("text", "pair"), "words sentence"),
    "figure": "words",
}
Figures = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Report:
    """What the folder shows.

    Attributes:
        data: the file that was evaluated.
        summary: what `evaluate` returns.
        assessment: the decisions, counted.
        comparison: with another model, if there is one.
    """

    data: str
    summary: dict[str, Any]
    assessment: Assessment
    comparison: Comparison | None = None

    def write(self, folder: Path) -> None:
        """Writes the folder's files, the figures last; others in it stay.

        Raises:
            InputError: a file cannot be written.
        """
        self.assessment.errors.write(folder / ERRORS)
        optional = {
            CONFUSION: self._write_confusion
            if 0 < len(self.assessment.classes()) <= MOST_CLASSES
            else None,
            CHANGES: self.comparison.changes.write if self.comparison else None,
        }
        for name, write in optional.items():
            # A file of an earlier evaluation would be taken for this one's.
            (folder / name).unlink(missing_ok=True)
            if write is not None:
                write(folder / name)
        for name, text in (
            (PAGE, self.page()),
            (JSON, to_json(self.summary, indent=2) + "\n"),
        ):
            with staged_file(folder / name) as staged:
                staged.write_text(text, encoding="utf-8", errors="backslashreplace")

    def _write_confusion(self, path: Path) -> None:
        """Rows: gold; columns: predicted."""
        names = ["", *self.assessment.classes()]
        with staged_file(path) as staged, staged.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["gold \\ predicted", *names])
            for gold in names:
                writer.writerow([gold, *(self.assessment.pairs[gold, said] for said in names)])

    def page(self) -> str:
        """One HTML file."""
        parts = [
            card(
                {"Data": self.data, "Examples": f"{self.summary['examples']:,}", **self._metrics()}
            ),
            bullets("summary", list(self._findings())),
            *self._comparison_parts(),
            *self._class_parts(),
            *self._calibration_parts(),
            *self._scope_parts(),
            *self._group_parts(),
            *self._error_parts(),
            download("As JSON", JSON, self.summary),
        ]
        return document("Evaluation", parts)

    def _metrics(self) -> dict[str, str]:
        return {name: f"{value:.4f}" for name, value in self.summary["metrics"].items()}

    def _findings(self) -> Iterator[str]:
        wrong = len(self.assessment.errors)
        yield f"{wrong:,} decisions are wrong; {ERRORS} has all of them, the highest scores first"
        scores = self.assessment.classes()
        weak = sorted((s for s in scores.items() if s[1].gold), key=lambda item: item[1].f1)[:3]
        if len(scores) > 3:
            worst = ", ".join(f"{name} ({score.f1:.2f})" for name, score in weak)
            yield f"the classes with the lowest F1: {worst}"
        if confusions := self.assessment.confusions():
            gold, said, count = confusions[0]
            yield (
                f"the most frequent mistake: {said or 'nothing'} in place of {gold or 'nothing'} ({count:,})"
            )
        if abstention := self.summary.get("abstention"):
            yield (
                f"{abstention['answered']:.1%} are answered, of those {abstention['precision']:.1%} are "
                "right; in the metrics and below, a text without a label is wrong"
            )
        if others := self.summary.get("others"):
            yield f"of {others['texts']:,} texts of no class {others['caught']:.1%} get no label"
        if calibration := self.assessment.confidence.to_json():
            yield f"expected calibration error: {calibration['expected_calibration_error']:.3f}"

    def _class_parts(self) -> Iterator[str]:
        scores = self.assessment.classes()
        if not scores:
            return
        rows = [["class", "precision", "recall", "F1", "in the data", "predicted"]]
        for name, score in scores.items():
            shares = (f"{value:.3f}" for value in (score.precision, score.recall, score.f1))
            rows.append([name, *shares, str(score.gold), str(score.predicted)])
        for name, average in self.assessment.averages().items():
            shares = (f"{average[key]:.3f}" for key in ("precision", "recall", "f1"))
            rows.append([f"({name} average)", *shares, "", ""])
        yield f"<h2>Classes</h2>{table('Precision, recall and F1 by class', rows, WORDS)}"
        yield "<h2>What is taken for what</h2>"
        yield pictures.confusion_matrix(self.assessment)
        if len(scores) > pictures.MOST_CLASSES:
            yield f'<p class="quiet">The {pictures.MOST_CLASSES} classes with the most mistakes.</p>'
        rows = [["gold", "predicted", "decisions"]]
        for gold, said, count in self.assessment.confusions()[:SHOWN]:
            rows.append([gold or "(nothing)", said or "(nothing)", str(count)])
        if len(rows) > 1:
            yield table("Mistakes by their number", rows, WORDS)

    def _calibration_parts(self) -> Iterator[str]:
        calibration = self.assessment.confidence.to_json()
        if calibration is None:
            return
        yield "<h2>How sure, and how often right</h2>"
        yield pictures.calibration_curve(calibration["bins"])
        rows = [["decisions", "mean confidence", "share that is right"]]
        for entry in calibration["bins"]:
            shares = (f"{entry[key]:.3f}" for key in ("confidence", "accuracy"))
            rows.append([str(entry["count"]), *shares])
        yield table("Decisions by confidence", rows, WORDS)

    def _scope_parts(self) -> Iterator[str]:
        others = self.summary.get("others")
        if others is None:
            return
        yield "<h2>Texts of no class</h2>"
        yield pictures.scope_curve(others["curve"])
        rows = [
            ["texts of a class that are answered", "of no class: caught", "precision", "threshold"]
        ]
        for point in others["curve"]:
            shares = (f"{point[name]:.1%}" for name in ("kept", "caught", "precision"))
            rows.append([*shares, f"{point['threshold']:.4f}"])
        yield table("What a threshold (--abstain-below) would refuse", rows, WORDS)

    def _group_parts(self) -> Iterator[str]:
        groups = self.summary.get("groups", {})
        if groups:
            rows = [["group", "decisions", "share that is right"]]
            rows += [[name, str(g["count"]), f"{g['right']:.3f}"] for name, g in groups.items()]
            yield f"<h2>By length</h2>{table('Decisions by length of the context', rows, WORDS)}"

    def _error_parts(self) -> Iterator[str]:
        if self.assessment.errors:
            yield f"<h2>Wrong decisions</h2>{_ranked_table(self.assessment.errors)}"

    def _comparison_parts(self) -> Iterator[str]:
        if self.comparison is None:
            return
        counts = self.summary["comparison"]
        yield "<h2>Beside the other model</h2>"
        yield bullets(
            "summary",
            [
                f"of {counts['examples']:,} examples {counts['changed']:,} are decided differently",
                f"right here, wrong there: {counts['only_this_right']:,}",
                f"wrong here, right there: {counts['only_other_right']:,}",
                f"right in both: {counts['both_right']:,}; in neither: {counts['neither_right']:,}",
            ],
        )
        both = (self.summary, counts["other"])
        yield table("Both models", _side_by_side("figure", *map(_figures, both)), WORDS)
        if differing := _differing_classes(*both):
            rows = _side_by_side("class", *differing)
            yield table("F1 of the classes that differ", rows, WORDS)
        if self.comparison.changes:
            yield _ranked_table(self.comparison.changes)


def _figures(result: dict[str, Any]) -> dict[str, float]:
    """The figures of one model that are compared."""
    figures = dict(result["metrics"])
    if abstention := result.get("abstention"):
        figures |= {"answered": abstention["answered"], "of those right": abstention["precision"]}
    if calibration := result.get("calibration"):
        figures["expected calibration error"] = calibration["expected_calibration_error"]
    return figures


def _differing_classes(*results: dict[str, Any]) -> list[Figures]:
    """The F1 of the classes that two models tell differently well, the largest difference first."""
    ours, theirs = ({n: c["f1"] for n, c in of.get("classes", {}).items()} for of in results)
    # A class that one model alone predicts, never rightly, has an F1 of 0 in both.
    differences = {name: abs(f1 - theirs.get(name, 0.0)) for name, f1 in ours.items()}
    names = sorted(filter(differences.get, differences), key=lambda name: -differences[name])
    return [{name: of[name] for name in names} for of in (ours, theirs)] if names else []


def _side_by_side(header: str, ours: Figures, theirs: Figures) -> list[list[str]]:
    """A table of both models' figures and their difference; no cell where a model has none."""
    rows = [[header, "this model", "the other", "difference"]]
    for name in dict.fromkeys([*ours, *theirs]):
        figures = [side[name] for side in (ours, theirs) if name in side]
        difference = f"{figures[0] - figures[1]:+.4f}" if len(figures) == 2 else ""
        cells = [f"{side[name]:.4f}" if name in side else "" for side in (ours, theirs)]
        rows.append([name, *cells, difference])
    return rows


def _ranked_table(ranked: RankedRows) -> str:
    """The first rows, without columns that are empty in all of them."""
    rows = [list(ranked.columns), *ranked.rows(SHOWN)]
    kept = [i for i, _ in enumerate(ranked.columns) if any(row[i] for row in rows[1:])]
    shown, total = len(rows) - 1, len(ranked)
    caption = f"All {total:,}" if shown == total else f"The first {shown:,} of {total:,}"
    return table(caption, [[row[i] for i in kept] for row in rows], WORDS)
