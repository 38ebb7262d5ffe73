"""Which layers, groups and widths earn their place: accuracy over latency of students of one teacher.

Squeezes each setting on the same number of tokens, fine-tunes it on CLINC150 like its teacher, converts it to
int8, and times all of them in one interleaved run. Every result is kept in --output, so that the same command
goes on after an interruption. Writes the table of a results page, and a picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output, package_latency
from benchmarks.package_latency import LENGTHS, measured_on, medians
from benchmarks.pareto_tasks import BENCHMARKS, Contender, score

TASK = "CLINC150"
TEACHER = "teacher"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A student; a teacher of 6 layers is meant."""

    layers: int
    groups: int
    hidden: int | None = None  # None: the teacher's
    feed_forward: int | None = None

    @property
    def name(self) -> str:
        """Such as `3 layers, 2 groups`."""
        groups = f"{self.groups} groups" if self.groups > 1 else "dense"
        width = f", {self.hidden} wide" if self.hidden else ""
        between = f", feed-forward {self.feed_forward}" if self.feed_forward else ""
        return f"{self.layers} layers, {groups}{width}{between}"


SETTINGS = (
    Setting(2, 1),
    Setting(3, 1),
    Setting(3, 2),
    Setting(3, 4),
    Setting(3, 2, feed_forward=768),
    Setting(4, 1, hidden=288),
    Setting(6, 2, hidden=240),
    Setting(4, 1),
    Setting(4, 2),
    Setting(5, 2),
    Setting(6, 2),
    Setting(6, 4),
)


def squeeze(setting: Setting, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The metrics of the student's bundle in `folder`; a killed run is resumed."""
    from sqb_tf.training.pretraining.shards import Shards
    from sqb_tf.training.squeezing.options import SqueezeOptions
    from sqb_tf.training.squeezing.squeeze import squeeze as run

    if not (folder / "metrics.json").is_file():
        print(f"squeezing to {setting.name}", file=sys.stderr)
        shards = Shards(args.shards)
        options = SqueezeOptions(
            teacher=args.teacher,
            layers=setting.layers,
            groups=setting.groups,
            hidden=setting.hidden,
            feed_forward=setting.feed_forward,
            steps=round(args.tokens / (args.batch_size * shards.index.seq_length)),
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            precision="mixed_bfloat16",
        )
        run(shards, folder, options, resume=True)
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def measure(name: str, model: str, folder: Path) -> dict[str, Any]:
    """Fine-tunes a student or the teacher, converts it to int8, and evaluates the package."""
    from sqb_tflite import Runner, convert

    print(f"fine-tuning {name}", file=sys.stderr)
    package = folder / "int8.tflite"
    Contender(init=model).train(BENCHMARKS[TASK], 0, folder / "tuned")
    package.write_bytes(convert(folder / "tuned", "int8"))
    return {
        "accuracy": score(Runner(package, num_threads=2), BENCHMARKS[TASK]),
        "bytes": package.stat().st_size,
    }


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Everything measured."""

    def measured(name: str, model: str, folder: Path) -> dict[str, Any]:
        return output.kept(folder / "scores.json", lambda: measure(name, model, folder))

    rows, packages = {}, {}
    made_of = output.digest(
        *(args.teacher, str(args.shards), args.tokens, args.batch_size, args.learning_rate),
        dataclasses.asdict(BENCHMARKS[TASK]),
    )
    work = args.output / made_of
    folder = work / TEACHER
    rows[TEACHER] = measured(TEACHER, args.teacher, folder)
    packages[TEACHER] = folder / "int8.tflite"
    for setting in SETTINGS:
        folder = work / setting.name.replace(", ", "-").replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        metrics = squeeze(setting, args, folder / "student")
        rows[setting.name] = measured(setting.name, str(folder / "student"), folder)
        rows[setting.name] |= {name: metrics[name] for name in ("metric", "seconds", "parameters")}
        packages[setting.name] = folder / "int8.tflite"
    return {
        "tokens": args.tokens,
        "rows": rows,
        "records": package_latency.measure(packages, work, args.runs),
    }


def best(rows: dict[str, Any], times: dict[str, dict[int, float]], length: int) -> list[str]:
    """The students that no other one beats in accuracy and latency."""
    students = [name for name in rows if name != TEACHER]

    def beats(one: str, other: str) -> bool:
        accuracy = rows[one]["accuracy"], rows[other]["accuracy"]
        latency = times[one][length], times[other][length]
        better = accuracy[0] > accuracy[1] or latency[0] < latency[1]
        return accuracy[0] >= accuracy[1] and latency[0] <= latency[1] and better

    return [name for name in students if not any(beats(other, name) for other in students)]


def table(report: dict[str, Any]) -> str:
    """A row for each setting, in bold if none is faster and better."""
    rows, times = report["rows"], medians(report["records"])
    titles = [
        f"{TASK}, %",
        *(f"{n} tokens, ms" for n in LENGTHS),
        "MB",
        "last layer's error",
        "min",
    ]
    lines = [["student", *titles]]
    front = set(best(rows, times, LENGTHS[0])) & set(best(rows, times, LENGTHS[1]))
    for name, row in rows.items():
        cells = [f"{100 * row['accuracy']:.1f}", *(f"{times[name][n]:.2f}" for n in LENGTHS)]
        cells += [f"{row['bytes'] / 1e6:.1f}"]
        if name != TEACHER:
            cells += [f"{row['metric']['value']:.3f}", f"{row['seconds'] / 60:.0f}"]
        title = f"**{name}**" if name in front else name
        lines.append([title, *cells, *[""] * (len(titles) - len(cells))])
    foot = (
        f"Each student after {report['tokens'] / 1e6:.1f} million tokens, one seed; bold: no other is faster "
        f"and better at {' nor at '.join(map(str, LENGTHS))} tokens. int8, {measured_on(report['records'])}"
    )
    return f"{output.markdown_table(lines)}\n\n{foot}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Accuracy over latency at both lengths. The same input gives the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    from sqb_tflite.bench.reports.drawing import COLOURS, STYLE

    rows, times = report["rows"], medians(report["records"])
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": "sqb"}):
        figure = Figure(figsize=(9, 3.6))
        for axes, length in zip(figure.subplots(1, 2, sharey=True), LENGTHS, strict=True):
            front = best(rows, times, length)
            for name, row in rows.items():
                x, y = times[name][length], 100 * row["accuracy"]
                colour = COLOURS[0] if name in front else "#888888"
                axes.plot(x, y, "o", color=COLOURS[1] if name == TEACHER else colour)
                axes.annotate(name, (x, y), (4, 4), textcoords="offset points", fontsize=7)
            axes.set_xlabel(f"milliseconds at {length} tokens, int8, 1 thread")
            axes.set_ylabel(f"{TASK}, accuracy in %")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True, help="MiniLM's folder or hub name")
    parser.add_argument(
        "--shards", required=True, help="shards that `sqb squeeze` made of the text"
    )
    parser.add_argument("--tokens", type=float, default=2e6, help="tokens that each student reads")
    parser.add_argument("--batch-size", type=int, default=16, help="instances of a step")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="peak rate")
    parser.add_argument("--output", type=Path, default=Path("runs/squeeze-curve"))
    parser.add_argument(
        "--runs", type=int, default=60, help="timed runs of each package and length"
    )
    parser.add_argument("--picture", type=Path, help="an .svg: accuracy over latency")
    output.add_flags(parser)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    report = collect(args)
    output.publish(args, "squeeze-curve", report, table(report))
    if args.picture:
        draw(report, args.picture)


if __name__ == "__main__":
    main()
