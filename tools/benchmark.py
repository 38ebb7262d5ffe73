"""Measures packaged .tflite files: latency by length and on real text, load time, memory."""

import argparse
from pathlib import Path

import cli

from sqb_tf.errors import InputError
from tflite.bench.baselines import check_names

BASELINES = Path("runs/baselines")

EPILOG = """examples:
  python tools/benchmark.py --package float32.tflite int8.tflite --threads 1,2 --lengths 16,128
  python tools/benchmark.py --package dynamic.tflite fixed128.tflite --data GLUE/SST-2 --task sst2 \\
      --limit 200 --report runs/benchmark

The packages take turns, so that a slow minute of the machine falls on all alike. With --data or --text
every text is also run at its own length, as an app would."""


def main(args: argparse.Namespace) -> int:
    if args.device != "host":
        raise InputError(f"--device {args.device}: only host, this machine, is built so far")
    baselines = args.baselines.split(",") if args.baselines else []
    check_names(baselines)
    threads = cli.numbers(args.threads, "--threads")
    lengths = cli.numbers(args.lengths, "--lengths")
    from sqb_tf.files import check_writable
    from tflite.bench import report, session

    # A long measurement must not end at a folder that cannot be written.
    if args.report:
        check_writable(Path(args.report) / report.RECORDS_FILE)
    if args.json and args.json != "-":
        check_writable(args.json)
    plan = session.Plan(
        packages=[*args.package, *_made(args.package[0], baselines, max(lengths))],
        threads=threads,
        lengths=lengths,
        runs=args.runs,
        text=_text(args),
        each_text=bool(args.data or args.text),
        seed=args.seed,
    )
    records = session.measure(plan)
    if args.report:
        report.write(args.report, records)
    cli.emit(args, report.table(records), {"records": records})
    return cli.DONE


def _made(package: str, names: list[str], longest: int) -> list[str]:
    """Packages of the baselines with that one's tokenizer: float32 and int8, of one length."""
    from tflite.bench import baselines
    from tflite.runner import Runner

    if not names:
        return []
    preprocessor = Runner(package).preprocessor
    wanted = [
        baselines.Baseline(name, recipe, longest)
        for name in names
        for recipe in ("float32", "dynamic")
    ]
    tokenizer = preprocessor.tokenizer
    made = baselines.make(wanted, BASELINES, tokenizer.vocabulary, tokenizer.lowercase)
    return [str(path) for path in made]


def _text(args: argparse.Namespace):
    """The text that the flags name."""
    from sqb_tf.tasks.delimited import Columns
    from sqb_tf.tasks.task import Task
    from tflite.bench.inputs import Text

    if args.data and args.text:
        raise InputError("give --data or --text, not both")
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: expected at least 1")
    if args.text:
        return Text.of_file(args.text, args.limit)
    if args.data:
        columns = Columns(args.text_column, args.pair_column, args.label_column)
        return Text.of_task(Task(args.task, args.data, columns, args.limit))
    return Text.demo()


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument(
        "--package",
        required=True,
        nargs="+",
        metavar="FILE",
        help="packaged .tflite files; the others are compared with the first",
    )
    made.add_argument(
        "--baselines",
        metavar="NAME,NAME",
        help="measure these too, random weights, float32 and int8, fixed at the longest of --lengths: "
        "bert-base, mobilebert; converted once into runs/baselines",
    )
    made.add_argument("--device", default="host", help="where to run: host, this machine")
    made.add_argument("--threads", default="1", metavar="N,N", help="CPU threads")
    made.add_argument("--lengths", default="16,64,128", metavar="N,N", help="lengths in tokens")
    made.add_argument("--runs", type=int, default=30, help="timed runs of each")
    made.add_argument("--data", help="folder or file: time the texts of its dev split too")
    made.add_argument("--task", default="classification", help="layout of --data")
    cli.add_columns(made)
    made.add_argument(
        "--text",
        metavar="FILE",
        help="file of a text a line (a tab parts a pair), in place of --data",
    )
    made.add_argument("--limit", type=int, help="use only the first N texts")
    made.add_argument("--report", metavar="DIR", help="write records, table and plots there")
    made.add_argument(
        "--seed", type=int, default=0, help="of the order in which packages take turns"
    )
    return made


if __name__ == "__main__":
    cli.run(main, flags())
