"""Measures packaged .tflite files here and on devices: latency by length and on real text, memory."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.options import argument, option
from sqb_tf.terminal import show
from sqb_tflite.bench.baselines import check_names
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import DataOptions

BASELINES = Path("runs/baselines")

EPILOG = """examples:
  sqb benchmark --package float32.tflite int8.tflite --threads 1,2 --lengths 16,128
  sqb benchmark --package dynamic.tflite fixed128.tflite --data GLUE/SST-2 --task sst2 \\
      --limit 200 --report runs/benchmark
  sqb benchmark --package int8.tflite --device all --baselines bert-base --report runs/phones
  sqb benchmark compare OLD NEW --fail-over 5%

On this machine packages are measured in turns, so that a slow minute affects all alike; with --data or --text
every text is also run at its own length, as in an app. On devices TFLite's benchmark_model is started several
times for each measurement, in shuffled rounds. With --report, the same command resumes a run that was
interrupted or lost a device."""

# What a command that reads results takes.
RESULT = "the folder of a --report, its records.json, or a file of --json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportFolder:
    """Where the report of a measurement goes."""

    report: str | None = option(
        None, "write records, table, plots and page into this folder", group="saving", metavar="DIR"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(DataOptions, ReportFolder):
    """What is measured, on what text, and how long."""

    data: str | None = option(
        None,
        "folder or file: also time the texts of its dev split",
        group="data",
        metavar="PATH",
    )
    limit: int | None = option(None, "use only the first N texts", group="data", fallback="all")
    text: str | None = option(
        None,
        "file with one text per line (a tab separates a pair), in place of --data",
        group="data",
        metavar="FILE",
        fallback="the demo's dev sentences, without timing each",
    )
    package: tuple[str, ...] | None = option(
        None,
        "packaged .tflite files; the others are compared with the first",
        group="model",
        metavar="FILE",
    )
    baselines: str | None = option(
        None,
        "also measure these models with random weights, float32 and int8, fixed at the longest of --lengths: "
        "bert-base, mobilebert; converted once into runs/baselines",
        group="model",
        metavar="NAME,NAME",
    )
    device: str = option(
        "host",
        "where to run: host (this machine, with our runner), local (benchmark_model here), adb (all Android "
        "devices that adb lists), the serial or model of one, ssh:user@host[:port], all (adb and host)",
        group="measurement",
        metavar="NAME,NAME",
    )
    threads: str = option("1", "CPU threads", group="measurement", metavar="N,N")
    lengths: str = option("16,64,128", "lengths in tokens", group="measurement", metavar="N,N")
    runs: int = option(
        30, "timed runs of each measurement; on a device, of each start", group="measurement"
    )
    seed: int = option(0, "seed of the order in which packages take turns", group="measurement")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """How devices are reached and measured."""

    tool: tuple[str, ...] = option(
        (),
        "benchmark_model executables, one for each processor, or its .apk; without it "
        "the published nightly build of TFLite's is downloaded once",
        group="on devices",
        metavar="FILE",
    )
    delegates: str = option(
        "xnnpack",
        "of xnnpack, gpu, nnapi, npu, none; npu runs packages of sqb compile, with LiteRT's tool",
        group="on devices",
        metavar="NAME,NAME",
    )
    gpu_precision: str = option(
        "fp16",
        "what a GPU may compute in, of fp16, fp32",
        group="on devices",
        metavar="NAME,NAME",
    )
    npu_libraries: str | None = option(
        None,
        "folder with LiteRT's dispatch library and the NPU's own libraries, which are copied to the device",
        group="on devices",
        metavar="DIR",
    )
    core_masks: str | None = option(
        None,
        "cores to run on, hexadecimal, as f0 for cores 4 to 7",
        group="on devices",
        metavar="MASK,MASK",
        fallback="all cores",
    )
    repeats: int = option(5, "most starts of the tool for each measurement", group="on devices")
    confidence_width: str = option(
        "3%",
        "stop repeating once the 95% confidence interval of the median is within this share of it on either "
        "side; --precision is the older name",
        group="on devices",
        names=("--confidence-width", "--precision"),
        metavar="SHARE",
    )
    budget: float = option(
        30, "start no repeats after this long", group="on devices", metavar="MINUTES"
    )
    min_seconds: float = option(
        1, "measure at least this long in each start", group="on devices", metavar="SECONDS"
    )
    max_temperature: float = option(
        40, "wait until the device is no warmer than this", group="on devices", metavar="CELSIUS"
    )
    cool_down: float = option(
        300,
        "give up on a measurement if the device has not cooled down after this long",
        group="on devices",
        metavar="SECONDS",
    )
    reconnect: float = option(
        120, "wait this long for a lost device", group="on devices", metavar="SECONDS"
    )
    timeout: float = option(
        300, "declare a run hung after this long", group="on devices", metavar="SECONDS"
    )
    profile: bool = option(
        False, "run each measurement once more to time its operators", group="on devices"
    )
    ssh_config: str | None = option(
        None,
        "ssh configuration file",
        group="on devices",
        metavar="FILE",
        fallback="~/.ssh/config",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Two results, and how much slower the second may be."""

    old: str = argument(dataclasses.MISSING, RESULT, group="data")
    new: str = argument(dataclasses.MISSING, "a later one", group="data")
    fail_over: str = option(
        "5%",
        "a measurement fails if it is slower by more than this, and by more than chance explains",
        group="measurement",
        metavar="SHARE",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Several results, as of devices that were measured apart."""

    result: tuple[str, ...] = argument(dataclasses.MISSING, RESULT, group="data")
    report: str = option(
        dataclasses.MISSING, "folder to write the report to", group="saving", metavar="DIR"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class IosOptions(ReportFolder):
    """What the iOS app is to measure, or what it measured."""

    package: str = option(
        dataclasses.MISSING, "packaged .tflite file", group="model", metavar="FILE"
    )
    params: str = option(
        "benchmark_params.json",
        "the app's parameters, written or read",
        group="data",
        metavar="FILE",
    )
    log: str | None = option(
        None,
        "the results that the app showed, or Xcode's console",
        group="data",
        metavar="FILE",
        fallback="write --params instead",
    )
    length: int = option(128, "length in tokens", group="measurement")
    threads: int = option(1, "CPU threads", group="measurement")
    runs: int = option(50, "timed runs", group="measurement")
    phone: str = option("", "the phone, as iPhone 15 Pro, for the record", group="measurement")
    system: str = option("", "its system, as iOS 18.1, for the record", group="measurement")


def main(args: argparse.Namespace) -> int:
    return COMMANDS[args.command](args)


def measure(args: argparse.Namespace) -> int:
    """The tool without a command."""
    options = arguments.read(BenchmarkOptions, args)
    on_devices = arguments.read(DeviceOptions, args)
    if not options.package:
        raise InputError("--package is missing: name one or more packaged .tflite files")
    baselines = options.baselines.split(",") if options.baselines else []
    check_names(baselines)
    threads = arguments.whole_numbers(options.threads, "--threads")
    lengths = arguments.whole_numbers(options.lengths, "--lengths")
    for tool in on_devices.tool:
        if not Path(tool).is_file():
            raise InputError(f"--tool {tool}: no such file: expected benchmark_model or its .apk")
    delegates = _names(on_devices.delegates)
    for flag, delegate, value in (
        ("--gpu-precision", "gpu", on_devices.gpu_precision != "fp16"),
        ("--npu-libraries", "npu", on_devices.npu_libraries),
    ):
        if value and delegate not in delegates:
            raise InputError(f"{flag}: for --delegates {delegate}, which is not in --delegates")
    from sqb_tflite.bench.devices import fleet, journal, targets
    from sqb_tflite.bench.plan import Plan
    from sqb_tflite.bench.reports import report

    devices = targets.find_targets(options.device.split(","))
    _check_outputs(args, report.RECORDS_FILE)
    packages = [
        *options.package,
        *_baseline_packages(options.package[0], baselines, max(lengths)),
    ]
    plan = Plan(
        packages=packages,
        threads=threads,
        lengths=lengths,
        runs=options.runs,
        text=_text(options),
        each_text=bool(options.data or options.text),
        seed=options.seed,
        delegates=delegates,
        gpu_precisions=_names(on_devices.gpu_precision),
        core_masks=on_devices.core_masks.split(",") if on_devices.core_masks else [None],
        repeats=on_devices.repeats,
        precision=arguments.share(on_devices.confidence_width, "--confidence-width"),
        budget_s=60 * on_devices.budget,
        min_seconds=on_devices.min_seconds,
        max_temperature_c=on_devices.max_temperature,
        cool_down_s=on_devices.cool_down,
        reconnect_s=on_devices.reconnect,
        timeout_s=on_devices.timeout,
        profile=on_devices.profile,
    )
    journal_path = Path(options.report) / journal.FILE if options.report else None
    connection = fleet.ConnectionOptions(
        on_devices.tool, on_devices.ssh_config, on_devices.npu_libraries
    )
    result = fleet.measure(devices, plan, connection, journal.Journal(journal_path))
    return _show(args, result)


def compare(args: argparse.Namespace) -> int:
    fail_over = arguments.share(args.fail_over, "--fail-over")
    from sqb_tflite.bench.record import Result
    from sqb_tflite.bench.reports import compare

    comparison = compare.compare(Result.read(args.old), Result.read(args.new), fail_over)
    results.emit(args, compare.table(comparison), compare.to_json(comparison))
    return entry.MISSED if comparison.regressed else entry.DONE


def report(args: argparse.Namespace) -> int:
    from sqb_tflite.bench.record import Result

    return _show(args, Result.join(Result.read(path) for path in args.result))


def ios(args: argparse.Namespace) -> int:
    from sqb_tf.atomic_write import staged_file
    from sqb_tflite.bench.devices import ios_params, ios_results
    from sqb_tflite.bench.record import Result
    from sqb_tflite.bench.reports import report

    if args.log is None:
        params = ios_params.write_params(args.package, args.length, args.threads, args.runs)
        with staged_file(args.params) as staged:
            staged.write_text(params)
        show(f"{args.params}: put it and {args.package} into the app's benchmark_data folder")
        return entry.DONE
    _check_outputs(args, report.RECORDS_FILE)
    record = ios_results.read_record(args.log, args.params, args.package, args.phone, args.system)
    return _show(args, Result([record]))


def _names(text: str) -> list[str]:
    """Those of `a,b`, each once: a setting named twice would be measured twice, under one key."""
    return list(dict.fromkeys(text.split(",")))


def _show(args: argparse.Namespace, result: Any) -> int:
    """Writes the report, prints the tables; the exit code says whether anything is missing."""
    from sqb_tflite.bench.reports import report

    if args.report:
        report.write(args.report, result)
    results.emit(args, report.table(result), result.to_json())
    return entry.MISSED if result.missing else entry.DONE


def _check_outputs(args: argparse.Namespace, name: str) -> None:
    """`InputError` now, before a long measurement, if its files cannot be written."""
    from sqb_tf.atomic_write import check_writable

    if args.report:
        check_writable(Path(args.report) / name)
    if args.json and args.json != "-":
        check_writable(args.json)


def _baseline_packages(package: str, names: list[str], length: int) -> list[str]:
    """Packages of the baselines with the tokenizer of `package`: float32 and int8, of one length."""
    from sqb_tflite.bench import baselines
    from sqb_tflite.runtime.runner import Runner

    if not names:
        return []
    encoder = Runner(package).encoder
    requested = [
        baselines.Baseline(name, recipe, length)
        for name in names
        for recipe in ("float32", "dynamic")
    ]
    paths = baselines.convert_baselines(requested, BASELINES, encoder.vocabulary, encoder.lowercase)
    return [str(path) for path in paths]


def _text(options: BenchmarkOptions) -> Any:
    """The text that the options name."""
    from sqb_tflite.bench.inputs import Text

    if options.data and options.text:
        raise InputError("give --data or --text, not both")
    if options.text:
        return Text.from_file(options.text, options.limit)
    if options.data:
        return Text.from_task(options.load_task())
    return Text.demo()


COMMANDS = {None: measure, "compare": compare, "report": report, "ios": ios}


def flags() -> arguments.Parser:
    parser = arguments.parser("benchmark", __doc__, EPILOG, BenchmarkOptions, DeviceOptions)
    parser.add_command(
        "compare", "Compares two results; exit code 1 if the new one is slower.", CompareOptions
    )
    parser.add_command(
        "report",
        "Joins results, as of devices that were measured apart, into one report.",
        ReportOptions,
    )
    parser.add_command(
        "ios",
        "TensorFlow's iOS benchmark app (docs/benchmarking.md): writes the parameters that it needs, or "
        "with --log reads its results.",
        IosOptions,
    )
    return parser


if __name__ == "__main__":
    entry.run(main, flags())
