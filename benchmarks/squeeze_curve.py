"""Which layers, groups and widths earn their place: accuracy over latency of students of one teacher.

Squeezes each setting on the same number of tokens, fine-tunes it on CLINC150 (--tasks: on others too) like
its teacher, converts it to int8, and times all of them in one interleaved run. One student is squeezed with
other weights of the loss.
Every result is kept in --results, so that the same command goes on where it stopped, on another machine too.
Writes the tables of a results page, and a picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output, package_latency
from benchmarks.package_latency import LENGTHS, measured_on, medians
from benchmarks.pareto_tasks import (
    BENCHMARKS,
    Contender,
    add_precision,
    score,
    weights_digest,
)
from benchmarks.random_bundle import untrained_package

if TYPE_CHECKING:
    from sqb_tf.training.squeezing.options import SqueezeOptions

MARKER = "squeeze-curve"
TASK = "CLINC150"  # which decides what is faster and better
TASKS = (TASK, "BANKING77", "SST-2")
# Names of results that are no student's.
TEACHER, LATENCY = "teacher", "latency"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A student; a teacher of 6 layers is meant."""

    layers: int
    groups: int
    hidden: int | None = None  # None: the teacher's
    feed_forward: int | None = None
    attention_weight: float | None = None  # None: the default of `sqb squeeze`
    embedding_weight: float | None = None

    @property
    def name(self) -> str:
        """Such as `3 layers, 2 groups`."""
        parts = [f"{self.layers} layers", f"{self.groups} groups" if self.groups > 1 else "dense"]
        if self.hidden is not None:
            parts.append(f"{self.hidden} wide")
        if self.feed_forward is not None:
            parts.append(f"feed-forward {self.feed_forward}")
        for loss, weight in (
            ("attention", self.attention_weight),
            ("embedding", self.embedding_weight),
        ):
            if weight is not None:
                parts.append(f"{loss} loss times {weight:g}")
        return ", ".join(parts)

    @property
    def options(self) -> dict[str, Any]:
        """The fields that are not left to `sqb squeeze`."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


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
# One student, by what it learns besides the states.
BASE = Setting(3, 2)
LOSSES = (
    BASE,
    dataclasses.replace(BASE, attention_weight=0.0),
    dataclasses.replace(BASE, attention_weight=1.0),
    dataclasses.replace(BASE, embedding_weight=0.0),
)

STUDENTS = {setting.name: setting for setting in (*SETTINGS, *LOSSES)}


def squeeze_options(setting: Setting, args: argparse.Namespace) -> SqueezeOptions:
    """How the student is squeezed."""
    from sqb_tf.training.pretraining.shards import Shards
    from sqb_tf.training.squeezing.options import SqueezeOptions

    return SqueezeOptions(
        teacher=args.teacher,
        **setting.options,
        steps=round(args.tokens / (args.batch_size * Shards(args.shards).index.seq_length)),
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        precision=args.precision,
    )


def squeeze_student(setting: Setting, args: argparse.Namespace, folder: Path) -> str:
    """Squeezes a student, unless the folder has it, and returns where it is; a killed run is resumed."""
    from sqb_tf.training.pretraining.shards import Shards
    from sqb_tf.training.squeezing.squeeze import squeeze

    folder.mkdir(parents=True, exist_ok=True)
    student = folder / "student"
    if not (student / "metrics.json").is_file():
        print(f"squeezing to {setting.name}", file=sys.stderr)
        squeeze(Shards(args.shards), student, squeeze_options(setting, args), resume=True)
    return str(student)


def measure(
    setting: Setting | None, task: str, args: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """A student's accuracy on a task, and what squeezing it gave; the teacher's without a setting."""
    source = args.teacher if setting is None else squeeze_student(setting, args, folder)
    result = fine_tune(source, task, args, folder)
    if setting is None:
        return result
    metrics = json.loads((folder / "student" / "metrics.json").read_text(encoding="utf-8"))
    result |= {name: metrics[name] for name in ("metric", "seconds", "parameters")}
    return {**result, "held_out": metrics["curve"][-1]}


def fine_tune(source: str, task: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fine-tunes a student or the teacher, converts it to int8, and evaluates the package."""
    from sqb_tflite import Runner, convert

    print(f"fine-tuning {folder.name} on {task}", file=sys.stderr)
    tuned = folder / ("tuned" if task == TASK else f"tuned-{task}")
    Contender(init=source, precision=args.precision).train(BENCHMARKS[task], 0, tuned)
    package = convert(tuned, "int8")
    return {"accuracy": score(Runner(package), BENCHMARKS[task]), "bytes": len(package)}


def measure_latency(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The latency of the teacher and of every student, with random weights, which it does not depend on."""
    teacher = Contender(init=args.teacher).config()
    configs = {s.name: squeeze_options(s, args).student_config(teacher) for s in SETTINGS}
    packages = {
        name: untrained_package(config, "int8")
        for name, config in {TEACHER: teacher, **configs}.items()
    }
    return package_latency.measure(packages, args.output, args.runs)


def result_digest(
    setting: Setting | None, task: str, teacher: str, args: argparse.Namespace
) -> str:
    """Of all that a result depends on; `teacher`: the digest of its weights."""
    from sqb_tf.training.pretraining.shards import Shards

    training = (teacher, args.precision, BENCHMARKS[task].epochs)
    if setting is None:
        return output.digest(training)
    index = Shards(args.shards).index
    text = (index.seq_length, index.records, index.unigrams)
    squeezing = (setting.options, args.tokens, args.batch_size, args.learning_rate)
    return output.digest(training, text, squeezing)


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Everything measured."""
    results, teacher = output.Results(args.results), weights_digest(args.teacher)
    rows: dict[str, Any] = {}
    for name, setting in {TEACHER: None, **STUDENTS}.items():
        digests = {task: result_digest(setting, task, teacher, args) for task in TASKS}
        folder = args.output / f"{name}-{digests[TASK]}".replace(", ", "-").replace(" ", "-")
        for task, digest in digests.items():
            if setting is None:  # on other tasks: `pareto.py`
                requested = task == TASK
            else:
                requested = name in args.students and task in (TASK, *args.tasks)
            key = name if task == TASK else f"{name}/{task}"
            if (task != TASK and name not in rows) or not (requested or results.has(key, digest)):
                continue
            run = functools.partial(measure, setting, task, args, folder)
            result = results.get(key, digest, run)
            row = rows.setdefault(name, {**result, "accuracies": {}})
            row["accuracies"][task] = result["accuracy"]
    timed = output.digest(teacher, [s.options for s in SETTINGS], args.runs, output.processor())
    return {
        "tokens": args.tokens,
        "precision": args.precision,
        "rows": rows,
        "records": results.get(LATENCY, timed, functools.partial(measure_latency, args)),
    }


def best(rows: dict[str, Any], times: dict[str, dict[int, float]], length: int) -> list[str]:
    """The students that no other one beats in accuracy and latency."""
    students = [setting.name for setting in SETTINGS if setting.name in rows]

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
        *(f"{task}, %" for task in TASKS),
        *(f"{n} tokens, ms" for n in LENGTHS),
        "MB",
        "last layer's error",
        "min",
    ]
    lines = [["student", *titles]]
    front = set(best(rows, times, LENGTHS[0])) & set(best(rows, times, LENGTHS[1]))
    for name in [name for name in times if name in rows]:
        row = rows[name]
        accuracies = [row["accuracies"].get(task) for task in TASKS]
        cells = ["" if value is None else f"{100 * value:.1f}" for value in accuracies]
        cells += [f"{times[name][n]:.2f}" for n in LENGTHS]
        cells += [f"{row['bytes'] / 1e6:.1f}"]
        if name != TEACHER:
            cells += [f"{row['metric']['value']:.3f}", f"{row['seconds'] / 60:.0f}"]
        title = f"**{name}**" if name in front else name
        lines.append([title, *cells, *[""] * (len(titles) - len(cells))])
    foot = (
        f"Each student after {report['tokens'] / 1e6:.1f} million tokens, one seed, trained in "
        f"{report['precision']}; bold: no other is faster and better on {TASK} at "
        f"{' nor at '.join(map(str, LENGTHS))} tokens. int8, {measured_on(report['records'])}"
    )
    missing = ", ".join(name for name in STUDENTS if name not in rows)
    if missing:
        foot += f" Not measured yet: {missing}."
    return f"{output.markdown_table(lines)}\n\n{foot}"


def loss_table(report: dict[str, Any]) -> str:
    """A row for each of `LOSSES`: what the student reaches, and what it kept of the teacher."""
    lines = [["student", f"{TASK}, %", "hidden error", "attention divergence", "vectors' distance"]]
    for setting in [setting for setting in LOSSES if setting.name in report["rows"]]:
        row = report["rows"][setting.name]
        names = ("hidden_errors", "attention_divergences", "embedding_distance")
        last = [f"{row['held_out'][name][-1]:.3f}" for name in names]
        lines.append([setting.name, f"{100 * row['accuracy']:.1f}", *last])
    foot = "By `--attention-weight` (default: 0.2) and `--embedding-weight` (1); of the last layer."
    return f"{output.markdown_table(lines)}\n\n{foot}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Accuracy over latency at both lengths."""
    from sqb_tflite.bench.reports.drawing import COLOURS

    rows, times = report["rows"], medians(report["records"])
    with output.svg_picture(path, (9, 3.6)) as figure:
        for axes, length in zip(figure.subplots(1, 2, sharey=True), LENGTHS, strict=True):
            front = best(rows, times, length)
            for name in [name for name in times if name in rows]:
                x, y = times[name][length], 100 * rows[name]["accuracy"]
                colour = COLOURS[0] if name in front else "#888888"
                axes.plot(x, y, "o", color=COLOURS[1] if name == TEACHER else colour)
                axes.annotate(name, (x, y), (4, 4), textcoords="offset points", fontsize=7)
            axes.set_xlabel(f"milliseconds at {length} tokens, int8, 1 thread")
            axes.set_ylabel(f"{TASK}, accuracy in %")


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True, help="MiniLM's folder or hub name")
    parser.add_argument(
        "--shards", required=True, help="shards that `sqb squeeze` made of the text"
    )
    parser.add_argument(
        "--students",
        nargs="+",
        choices=STUDENTS,
        default=list(STUDENTS),
        metavar="STUDENT",
        help=f"some of: {'; '.join(STUDENTS)} (default: all); the tables also have what is kept",
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=TASKS[1:],
        default=[],
        help=f"what the students are fine-tuned on besides {TASK} (default: nothing)",
    )
    parser.add_argument(
        "--tokens", type=float, default=5e5, help="that each student reads (default: 500,000)"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="instances of a step")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="peak rate")
    output.add_results(parser, "squeeze-curve")
    add_precision(parser)
    parser.add_argument(
        "--runs", type=int, default=60, help="timed runs of each package and length"
    )
    parser.add_argument("--picture", type=Path, help="an .svg: accuracy over latency")
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    args.output.mkdir(parents=True, exist_ok=True)
    report = collect(args)
    tables = f"{table(report)}\n\n{loss_table(report)}"
    output.publish(args, MARKER, report, tables)
    if args.picture:
        draw(report, args.picture)


if __name__ == "__main__":
    main()
