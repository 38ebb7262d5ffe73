"""Where the results of a benchmark go: a table, a JSON file, and a marked place in a Markdown file."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--json` and `--readme`, which `publish` reads."""
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--readme", type=Path, help="put the table into this file")


def add_results(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds `--results`, the file of `Results`, and `--output`, the folder of what is trained for them."""
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("runs") / name / "results.json",
        help="what was measured; what is there is not measured again (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs") / name,
        help="bundles and packages (default: %(default)s)",
    )


def publish(
    args: argparse.Namespace, name: str, report: Any, markdown: str, shown: str | None = None
) -> None:
    """Prints the results, and writes them as `--json` and `--readme` say.

    Args:
        name: of the markers in the Markdown file, see `update_markdown`.
        shown: printed in place of `markdown`.
    """
    print(shown or markdown)
    if args.json:
        write_json(args.json, report)
    if args.readme:
        update_markdown(args.readme, name, markdown)


def digest(*values: Any) -> str:
    """8 hexadecimal digits of JSON-ready values: in a folder's name, what its contents were made of."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Results:
    """Results in one JSON file, by name; what is there is not computed again.

    The file belongs into the repository, so that hours of work go on where they stopped, on any machine.
    Processes may share it: it is locked and read again before each write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, name: str, digest: str, compute: Callable[[], Any]) -> Any:
        """The JSON value of `name`; computed and written first, if there is none of this `digest`.

        It has passed through JSON in either case: its keys are strings, its tuples are lists.
        """
        entry = self.entries().get(name, {})
        if not self.has(name, digest):
            entry = {"digest": digest, "result": json.loads(json.dumps(compute()))}
            entry |= {"date": f"{datetime.date.today()}", "processor": processor()}
            with self._locked():
                write_json(self.path, dict(sorted({**self.entries(), name: entry}.items())))
        return entry["result"]

    def has(self, name: str, digest: str) -> bool:
        """Whether there is a result of this name and digest."""
        return self.entries().get(name, {}).get("digest") == digest

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the lock of the file's folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def entries(self) -> dict[str, Any]:
        """Name -> digest, result, date and processor."""
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}


def processor() -> str:
    """This machine's, with its SIMD."""
    from sqb_tflite.bench.host import host_info

    return host_info.processor(host_info.describe_host())


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file, and the folder that it is in."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path) as staged:
        staged.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def check_markers(path: Path | None, name: str) -> None:
    """Exits unless the file, if any, has the place that `update_markdown` writes to."""
    if path is None:
        return
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if [text.count(marker) for marker in _markers(name)] != [1, 1]:
        sys.exit(
            f"{path}: expected {' ... '.join(_markers(name))} once: copy the newest results page"
        )


def update_markdown(path: str | Path, name: str, content: str) -> None:
    """Replaces the text between `<!-- name -->` and `<!-- /name -->` in the file."""
    path, (begin, end) = Path(path), _markers(name)
    check_markers(path, name)
    head, rest = path.read_text(encoding="utf-8").split(begin)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{begin}\n{content}\n{end}{tail}", encoding="utf-8")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"


@contextlib.contextmanager
def svg_picture(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib figure of `size` inches, in the reports' style, written as an .svg at the end.

    The same input gives the same file.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from sqb_tflite.bench.reports.drawing import STYLE

    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": "sqb"}):
        figure = Figure(figsize=size)
        yield figure
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header."""
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)


def mean_and_spread(scores: Sequence[float]) -> str:
    """100 times the mean, ± the standard deviation if there are several."""
    values = [100 * score for score in scores]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"
