"""What distillation gains on the demo with few labels: from logits, and from hidden states too.

The teacher trains on all of the demo's data; its students, half as wide, on a tenth of it, with the labels
alone or with the teacher's outputs for the same texts too. Each runs with several seeds, at the tools'
default temperature and alpha; dev chooses the epoch, test is reported.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output

TEACHER, STUDENT = "squeezebert-small", "squeezebert-tiny"
# Options of each student; the teacher's folder is added.
STUDENTS: dict[str, dict[str, Any]] = {
    "labels": {},
    "labels and the teacher's logits": {"hidden_weight": 0.0},
    "labels, logits and hidden states": {"hidden_weight": 1.0},
}


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=600, help="training examples of a student")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of a student")
    parser.add_argument("--teacher-epochs", type=int, default=10, help="epochs of the teacher")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each student")
    parser.add_argument("--work", default="runs/bench/distillation", help="kept between runs")
    output.add_flags(parser)
    return parser.parse_args()


def train(folder: Path, limit: int | None, **options: Any) -> float:
    """Fine-tunes on the demo, unless `folder` has the result; returns the accuracy on test."""
    from sqb_tf.data.task import DEMO, Task
    from sqb_tf.training.finetune import finetune
    from sqb_tf.training.options import FinetuneOptions
    from sqb_tflite.evaluation.evaluate import evaluate
    from sqb_tflite.verification.bundle_backend import BundleBackend

    if not (folder / "metrics.json").is_file():
        print(f"training {folder}", file=sys.stderr)
        settings = FinetuneOptions(vocab_size=4000, batch_size=32, seq_length=64, **options)
        finetune(Task("classification", DEMO, limit=limit), folder, settings, resume=True)
    result = evaluate(BundleBackend(folder), Task("classification", DEMO), "test")
    return result["metrics"]["accuracy"]


def table(report: dict[str, Any]) -> str:
    """The results page's table."""
    rows = [["a student learns from", "test accuracy", "seeds"]]
    for name, values in report["rows"].items():
        cells = ", ".join(f"{value:.3f}" for value in values)
        rows.append([name, f"{statistics.mean(values):.3f}", cells])
    foot = (
        f"{STUDENT} on {report['limit']} of the demo's 6,000 training examples, {report['epochs']} epochs; "
        f"the teacher, {TEACHER} on all of them, has {report['teacher']:.3f}."
    )
    return f"{output.markdown_table(rows)}\n\n{foot}"


def main() -> None:
    """Trains, prints the table, writes the JSON."""
    args = parse_args()
    work = Path(args.work)
    teacher = work / f"teacher-{args.teacher_epochs}"
    report: dict[str, Any] = {"limit": args.limit, "epochs": args.epochs, "rows": {}}
    report["teacher"] = train(teacher, None, preset=TEACHER, epochs=args.teacher_epochs)
    for number, (name, options) in enumerate(STUDENTS.items()):
        distillation = {"teacher": str(teacher), **options} if options else {}
        report["rows"][name] = [
            train(
                work / f"{number}-{args.limit}-{args.epochs}-{args.teacher_epochs}-{seed}",
                args.limit,
                preset=STUDENT,
                epochs=args.epochs,
                seed=seed,
                **distillation,
            )
            for seed in range(args.seeds)
        ]
    output.publish(args, "distillation", report, table(report))


if __name__ == "__main__":
    main()
