"""Measures packaged .tflite files here and on devices: latency by length and on real text, memory."""

import argparse
import sys
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tflite.bench.baselines import check_names
from sqb_tools import cli

BASELINES = Path("runs/baselines")

EPILOG = """examples:
  python tools/benchmark.py --package float32.tflite int8.tflite --threads 1,2 --lengths 16,128
  python tools/benchmark.py --package dynamic.tflite fixed128.tflite --data GLUE/SST-2 --task sst2 \\
      --limit 200 --report runs/benchmark
  python tools/benchmark.py --package int8.tflite --device all --baselines bert-base --report runs/phones

On this machine packages take turns, so that a slow minute falls on all alike; with --data or --text every
text is also run at its own length, as an app would. On devices TFLite's benchmark_model is started several
times for each line, in shuffled rounds. With --report, an interrupted run or one that lost a device goes on
where it was when the same command is given again.

other commands, each with a --help of its own:
  python tools/benchmark.py compare OLD NEW --fail-over 5%    did it get slower?
  python tools/benchmark.py report RESULT [RESULT ...] --report DIR    one report of several results
  python tools/benchmark.py ios ...    TensorFlow's iOS benchmark app: what it needs, and its results"""


def main(args: argparse.Namespace) -> int:
    baselines = args.baselines.split(",") if args.baselines else []
    check_names(baselines)
    threads = cli.numbers(args.threads, "--threads")
    lengths = cli.numbers(args.lengths, "--lengths")
    for tool in args.tool:
        if not Path(tool).is_file():
            raise InputError(f"--tool {tool}: no such file: expected benchmark_model or its .apk")
    from sqb_tflite.bench.devices import fleet, journal, targets
    from sqb_tflite.bench.reports import report

    wanted = targets.find(args.device.split(","))
    _check_outputs(args, report.RECORDS_FILE)
    from sqb_tflite.bench.plan import Plan

    plan = Plan(
        packages=[*args.package, *_made(args.package[0], baselines, max(lengths))],
        threads=threads,
        lengths=lengths,
        runs=args.runs,
        text=_text(args),
        each_text=bool(args.data or args.text),
        seed=args.seed,
        delegates=args.delegates.split(","),
        core_masks=args.core_masks.split(",") if args.core_masks else [None],
        repeats=args.repeats,
        precision=cli.share(args.precision, "--precision"),
        budget_s=60 * args.budget,
        min_seconds=args.min_seconds,
        max_temperature_c=args.max_temperature,
        cool_down_s=args.cool_down,
        reconnect_s=args.reconnect,
        timeout_s=args.timeout,
        profile=args.profile,
    )
    kept = journal.Journal(Path(args.report) / journal.FILE if args.report else None)
    result = fleet.measure(wanted, plan, fleet.Access(args.tool, args.ssh_config), kept)
    if args.report:
        report.write(args.report, result)
    cli.emit(args, report.table(result), result)
    return cli.MISSED if result["missing"] else cli.DONE


def compare(args: argparse.Namespace) -> int:
    fail_over = cli.share(args.fail_over, "--fail-over")
    from sqb_tflite.bench.reports import compare, records

    found = compare.compare(records.read(args.old), records.read(args.new), fail_over)
    cli.emit(args, compare.table(found), compare.to_json(found))
    return cli.MISSED if found.regressed else cli.DONE


def report(args: argparse.Namespace) -> int:
    from sqb_tflite.bench.reports import records, report

    results = [records.read(path) for path in args.result]
    joined = {key: [one for r in results for one in r[key]] for key in results[0]}
    report.write(args.report, joined)
    cli.emit(args, report.table(joined), joined)
    return cli.MISSED if joined["missing"] else cli.DONE


def ios(args: argparse.Namespace) -> int:
    from sqb_tf.atomic_write import staged_file
    from sqb_tflite.bench.devices import ios
    from sqb_tflite.bench.reports import report

    if args.log is None:
        with staged_file(args.params) as staged:
            staged.write_text(ios.params(args.package, args.length, args.threads, args.runs))
        print(f"{args.params}: put it and {args.package} into the app's benchmark_data folder")
        return cli.DONE
    _check_outputs(args, report.RECORDS_FILE)
    record = ios.record(args.log, args.params, args.package, args.phone, args.system)
    result = {"records": [record], "failures": [], "missing": []}
    if args.report:
        report.write(args.report, result)
    cli.emit(args, report.table(result), result)
    return cli.DONE


def _check_outputs(args: argparse.Namespace, name: str) -> None:
    """A long measurement must not end at a file that cannot be written."""
    from sqb_tf.atomic_write import check_writable

    if args.report:
        check_writable(Path(args.report) / name)
    if args.json and args.json != "-":
        check_writable(args.json)


def _made(package: str, names: list[str], longest: int) -> list[str]:
    """Packages of the baselines with that one's tokenizer: float32 and int8, of one length."""
    from sqb_tflite.bench import baselines
    from sqb_tflite.runtime.runner import Runner

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
    from sqb_tf.data.example import Columns
    from sqb_tf.data.task import Task
    from sqb_tflite.bench.inputs import Text

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
    made.add_argument(
        "--device",
        default="host",
        metavar="NAME,NAME",
        help="where to run: host (this machine, by our runner), local (benchmark_model here), adb (all "
        "Android devices that adb lists), a serial or model of one, ssh:user@host[:port], all (adb and "
        "host)",
    )
    made.add_argument("--threads", default="1", metavar="N,N", help="CPU threads")
    made.add_argument("--lengths", default="16,64,128", metavar="N,N", help="lengths in tokens")
    made.add_argument(
        "--runs", type=int, default=30, help="timed runs of each; on a device in each start"
    )
    made.add_argument("--data", help="folder or file: time the texts of its dev split too")
    made.add_argument("--task", default="classification", help="layout of --data")
    cli.add_columns(made)
    made.add_argument(
        "--text",
        metavar="FILE",
        help="file of a text a line (a tab parts a pair), in place of --data",
    )
    made.add_argument("--limit", type=int, help="use only the first N texts")
    made.add_argument("--report", metavar="DIR", help="write records, table, plots and page there")
    made.add_argument(
        "--seed", type=int, default=0, help="of the order in which packages take turns"
    )
    _add_device_flags(made.add_argument_group("on devices"))
    return made


def _add_device_flags(made: argparse._ArgumentGroup) -> None:
    made.add_argument(
        "--tool",
        nargs="+",
        default=[],
        metavar="FILE",
        help="benchmark_model executables, the fitting one is used on each device, or its .apk; none: "
        "the published nightly build, downloaded once",
    )
    made.add_argument(
        "--delegates", default="xnnpack", metavar="NAME,NAME", help="xnnpack, gpu, nnapi, none"
    )
    made.add_argument(
        "--core-masks",
        metavar="MASK,MASK",
        help="cores to run on, hexadecimal, as f0 for cores 4 to 7; none: all",
    )
    made.add_argument(
        "--repeats", type=int, default=5, help="starts of the tool for a line at most"
    )
    made.add_argument(
        "--precision",
        default="3%",
        help="no more starts once the 95%% confidence interval of the median is within this",
    )
    made.add_argument(
        "--budget", type=float, default=30, metavar="MINUTES", help="no repeats after that"
    )
    made.add_argument(
        "--min-seconds", type=float, default=1, help="the least that a start measures for"
    )
    made.add_argument(
        "--max-temperature",
        type=float,
        default=40,
        metavar="CELSIUS",
        help="a run waits until the device is no warmer",
    )
    made.add_argument(
        "--cool-down", type=float, default=300, metavar="SECONDS", help="the longest such wait"
    )
    made.add_argument(
        "--reconnect", type=float, default=120, metavar="SECONDS", help="wait for a lost device"
    )
    made.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="a tool slower than this hangs",
    )
    made.add_argument(
        "--profile", action="store_true", help="one more start of each line, for its operators"
    )
    made.add_argument("--ssh-config", metavar="FILE", help="in place of ~/.ssh/config")


def compare_flags() -> argparse.ArgumentParser:
    made = cli.parser("Compares two results of tools/benchmark.py; exits with 1 if one is slower.")
    made.add_argument("old", help="records.json of a --report, or a file of --json")
    made.add_argument("new", help="the same of another day")
    made.add_argument(
        "--fail-over",
        default="5%",
        help="slower by more than this, and more than chance makes it, is a failure",
    )
    return made


def report_flags() -> argparse.ArgumentParser:
    made = cli.parser("One report of several results, as of devices that were measured apart.")
    made.add_argument("result", nargs="+", help="records.json of a --report, or a file of --json")
    made.add_argument("--report", metavar="DIR", required=True, help="where to write it")
    return made


def ios_flags() -> argparse.ArgumentParser:
    made = cli.parser(
        "TensorFlow's iOS benchmark app (docs/ios.md): without --log writes the parameters that it needs, "
        "with it reads its results."
    )
    made.add_argument("--package", required=True, metavar="FILE", help="packaged .tflite file")
    made.add_argument(
        "--params",
        default="benchmark_params.json",
        metavar="FILE",
        help="the app's parameters, written or read",
    )
    made.add_argument("--length", type=int, default=128, help="in tokens")
    made.add_argument("--threads", type=int, default=1, help="CPU threads")
    made.add_argument("--runs", type=int, default=50, help="timed runs")
    made.add_argument("--log", metavar="FILE", help="what the app showed, or Xcode's console")
    made.add_argument("--phone", default="", help="as iPhone 15 Pro, for the record")
    made.add_argument("--system", default="", help="as iOS 18.1, for the record")
    made.add_argument("--report", metavar="DIR", help="write records, table, plots and page there")
    return made


COMMANDS = {
    "compare": (compare, compare_flags),
    "report": (report, report_flags),
    "ios": (ios, ios_flags),
}


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        tool, made = COMMANDS[name := sys.argv.pop(1)]
        parser = made()
        parser.prog += f" {name}"
        cli.run(tool, parser)
    cli.run(main, flags())
