"""README's picture and table of five rows, from a results page that `make bench` wrote.

    python benchmarks/readme_summary.py --results docs/results/PAGE.md

The page's `comparison` table has latency and size, its `outliers` table the accuracy of squeezebert-small.
BERT-base and MobileBERT are measured with random weights, so their accuracy is not known.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output

Row = Mapping[str, str]  # column title -> cell


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of README's table.

    `package` and `any_length` are rows of the `comparison` table: the file as it is usually converted, and,
    where that one has a fixed length, the same model of any length. `recipe` is a row of `outliers`.
    """

    title: str
    package: str
    any_length: str | None = None
    recipe: str | None = None


LINES = (
    Line("BERT-base int8", "bert-base-dynamic-128", "bert-base-dynamic-any"),
    Line("MobileBERT int8", "mobilebert-dynamic-128", "mobilebert-dynamic-any"),
    Line("SqueezeBERT float32", "squeezebert-float32", recipe="float32"),
    Line("SqueezeBERT int8", "squeezebert-int8", recipe="int8"),
    Line("SqueezeBERT int4", "squeezebert-int4", recipe="int4"),
)
TOKENS, SENTENCE = "128 tokens", "SST-2"  # beginnings of column titles


def rows(page: str, block: str) -> dict[str, Row]:
    """The first table between a page's markers of `block`, by the first cell of each row."""
    table = page.split(f"<!-- {block} -->")[1].split("\n\n")[0]
    head, _, *body = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in table.split("\n")[1:]
    )
    return {cells[0]: dict(zip(head, cells)) for cells in body}


def cell(row: Row, title: str) -> str:
    """The cell of the first column whose title begins with `title`."""
    return next(value for name, value in row.items() if name.startswith(title))


def milliseconds(row: Row, title: str) -> float:
    """The median of a cell such as `62.8 ± 1.0`."""
    return float(cell(row, title).split(" ")[0])


def points_lost(accuracy: Mapping[str, Row], recipe: str) -> float:
    """Percentage points of accuracy between float32 and a recipe, without outlier channels."""
    return 100 * (float(accuracy["float32"]["plain"]) - float(accuracy[recipe]["plain"]))


def table(packages: Mapping[str, Row], accuracy: Mapping[str, Row]) -> str:
    """README's table in Markdown."""
    lines = [["", "128 tokens, ms", "typical sentence, ms", "MB", "accuracy lost on SST-2, points"]]
    for line in LINES:
        row = packages[line.package]
        sentence = f"{milliseconds(row, SENTENCE):.1f}"
        if line.any_length:
            converted = milliseconds(packages[line.any_length], SENTENCE)
            sentence += f" ({converted:.1f} converted for any length)"
        lost = f"{points_lost(accuracy, line.recipe):.2f}" if line.recipe else "not measured"
        latency = milliseconds(row, TOKENS)
        lines.append([line.title, f"{latency:.1f}", sentence, cell(row, "MB"), lost])
    return output.markdown_table(lines)


def draw(packages: Mapping[str, Row], host: str, path: Path) -> None:
    """Bars of latency at 128 tokens and on typical sentences. The same input gives the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    from sqb_tflite.bench.reports.drawing import COLOURS, STYLE

    style = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": "sqb"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9, 2.6))
        panels = figure.subplots(1, 2, sharey=True)
        titles = ("128 tokens", "a typical sentence (25 tokens)")
        for axes, title, column in zip(panels, titles, (TOKENS, SENTENCE)):
            for index, line in enumerate(LINES):
                position = len(LINES) - index
                colour = COLOURS[0] if line.recipe else "#888888"
                value = milliseconds(packages[line.package], column)
                if line.any_length and column == SENTENCE:
                    axes.barh(position, value, color=colour, alpha=0.3)
                    axes.text(
                        value, position, f" {value:.1f} fixed at 128", va="center", fontsize=8
                    )
                    value = milliseconds(packages[line.any_length], column)
                axes.barh(position, value, color=colour)
                axes.text(
                    value, position, f" {value:.1f}", va="center", fontsize=8, fontweight="bold"
                )
            axes.set_title(title, fontsize=10)
            axes.set_xlim(0, 92)
            axes.grid(False)
            axes.set_xticks([])
            axes.spines[["top", "right", "bottom"]].set_visible(False)
        panels[0].set_yticks(
            range(len(LINES), 0, -1), labels=[line.title for line in LINES], fontsize=9
        )
        figure.suptitle(f"Milliseconds per text, median, {host}", fontsize=9, y=0.02, va="bottom")
        figure.tight_layout(rect=(0, 0.07, 1, 1))
        figure.savefig(path, metadata={"Date": None})


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="results page")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), metavar="FILE")
    parser.add_argument("--picture", type=Path, default=Path("docs/latency.svg"), metavar="FILE")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_args()
    page = args.results.read_text(encoding="utf-8")
    packages, accuracy = rows(page, "comparison"), rows(page, "outliers")
    comparison = page.split("<!-- comparison -->")[1].split("<!-- /comparison -->")[0]
    host, date = re.search(
        r"^(1 thread of .*?);.*?(\d{4}-\d{2}-\d{2})\.", comparison, re.M
    ).groups()
    draw(packages, f"{host}, {date}", args.picture)
    foot = f"{host}, {date}, by `make bench` ([all tables]({args.results.as_posix()}))."
    output.update_markdown(args.readme, "summary", f"{table(packages, accuracy)}\n\n{foot}")


if __name__ == "__main__":
    main()
