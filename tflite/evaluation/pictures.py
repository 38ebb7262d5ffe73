"""The pictures of an evaluation's page, in SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqb_tf.page.page import text as as_html

from .assessment import Assessment

# Classes of a matrix, and the pixels of a cell; of more classes, those with the most mistakes are shown.
MOST_CLASSES, CELL, LETTER = 40, 16, 6.2
# A square plot of shares: its side, and where it begins.
SIDE, LEFT, TOP = 240, 34, 8


def confusion_matrix(assessment: Assessment) -> str:
    """Rows: what is right; columns: what is predicted; the darker, the larger the share of the row."""
    names = _shown_classes(assessment)
    shown = [name or "(nothing)" for name in names]
    margin = round(LETTER * max(map(len, shown))) + 8
    side = margin + CELL * len(names)
    totals = {name: score.gold for name, score in assessment.classes().items()}
    parts = []
    for row, gold in enumerate(names):
        y = margin + CELL * row
        parts.append(
            f'<text x="{margin - 4}" y="{y + 12}" text-anchor="end">{as_html(shown[row])}</text>'
            f'<text transform="translate({margin + CELL * row + 12} {margin - 4}) rotate(-90)">'
            f"{as_html(shown[row])}</text>"
        )
        total = totals.get(gold) or sum(assessment.pairs[gold, said] for said in names) or 1
        for column, said in enumerate(names):
            count = assessment.pairs[gold, said]
            if not count:
                continue
            colour = "var(--series-2)" if gold == said else "var(--series-1)"
            title = f"{shown[row]} predicted as {shown[column]}: {count:,} of {total:,}"
            parts.append(
                f'<rect x="{margin + CELL * column}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" '
                f'fill="{colour}" opacity="{0.15 + 0.85 * min(count / total, 1) ** 0.5:.2f}">'
                f"<title>{as_html(title)}</title></rect>"
            )
    label = "Confusion matrix: rows are what is right, columns what is predicted"
    return _svg(side, side, label, parts)


def _shown_classes(assessment: Assessment) -> list[str]:
    """All classes, or those with the most mistakes, in the table's order; "" where nothing is a class."""
    scores = assessment.classes()
    names = list(scores)
    if len(names) > MOST_CLASSES:
        mistakes = {n: s.gold + s.predicted - 2 * s.right for n, s in scores.items()}
        kept = set(sorted(names, key=lambda name: -mistakes[name])[:MOST_CLASSES])
        names = [name for name in names if name in kept]
    if any("" in pair for pair in assessment.pairs):
        names.append("")
    return names


def calibration_curve(bins: Sequence[Mapping[str, Any]]) -> str:
    """The share that is right over confidence; on the diagonal both are the same."""
    most = max(entry["count"] for entry in bins)
    parts = [
        f'<line x1="{LEFT}" y1="{TOP + SIDE}" x2="{LEFT + SIDE}" y2="{TOP}" stroke="var(--edge)" '
        'stroke-dasharray="4 4"/>',
    ]
    for entry in bins:
        x, y = _place(entry["confidence"], entry["accuracy"])
        title = (
            f"{entry['count']:,} decisions: confidence {entry['confidence']:.3f}, "
            f"right {entry['accuracy']:.3f}"
        )
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 7 * (entry["count"] / most) ** 0.5:.1f}" '
            f'fill="var(--series-0)" opacity="0.8"><title>{as_html(title)}</title></circle>'
        )
    label = "Calibration: the share of decisions that is right over the model's confidence"
    return _square("confidence", "right", label, parts)


def scope_curve(points: Sequence[Mapping[str, float]]) -> str:
    """The share of texts of no class that is caught, over that of the others that is answered."""
    places = [_place(point["kept"], point["caught"]) for point in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{line}" fill="none" stroke="var(--series-0)" stroke-width="2"/>']
    for (x, y), point in zip(places, points, strict=True):
        title = f"below {point['threshold']:.3f}: {point['kept']:.1%} answered, {point['caught']:.1%} caught"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--series-0)"><title>{as_html(title)}'
            "</title></circle>"
        )
    label = "Texts of no class that get no label, over texts of a class that are answered"
    return _square("answered", "caught", label, parts)


def _place(x: float, y: float) -> tuple[float, float]:
    """Where two shares are in the square."""
    return LEFT + SIDE * x, TOP + SIDE * (1 - y)


def _square(x_title: str, y_title: str, label: str, parts: Sequence[str]) -> str:
    """A plot of two shares, from 0 to 1."""
    frame = [
        f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="var(--grid)"/>'
    ]
    for value in (0, 0.5, 1):
        x, y = _place(value, value)
        frame.append(
            f'<text x="{x:.0f}" y="{TOP + SIDE + 16}" text-anchor="middle">{value:g}</text>'
        )
        frame.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>')
    frame.append(
        f'<text x="{LEFT + SIDE / 2}" y="{TOP + SIDE + 32}" text-anchor="middle">{x_title}</text>'
        f'<text transform="translate(10 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>'
    )
    return _svg(LEFT + SIDE + 14, TOP + SIDE + 40, label, [*frame, *parts])


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{as_html(label)}">\n'
        f'<svg class="drawing" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{as_html(label)}">\n{"".join(parts)}</svg>\n</div>\n'
        f'<p class="quiet">{as_html(label)}.</p>\n'
    )
