"""The overhead of the device harness on a simulated device: copying, time per run, agreement of medians.

    python benchmarks/harness.py

The simulated device (tests/simulators) is not a phone: it speaks adb's wire protocol on loopback, and its
stand-in for `benchmark_model` runs packages through LiteRT. The harness is compared with adb alone, and the
stand-in's medians with those of our runner on this machine.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output, simulated_devices
from benchmarks.simulated_devices import Phone, tool
from sqb_tf.atomic_write import staged_file
from sqb_tflite.bench.devices import fleet
from sqb_tflite.bench.devices.adb import AdbShell
from sqb_tflite.bench.devices.device_files import DeviceFiles
from sqb_tflite.bench.devices.journal import Journal
from sqb_tflite.bench.devices.targets import Target
from sqb_tflite.bench.inputs import Text
from sqb_tflite.bench.plan import Plan

LENGTHS = (16, 64, 128)
WORK = Path("runs/bench/harness")  # for packages, kept between runs


def copying(phone: Phone, path: Path, rounds: int) -> dict[str, float]:
    """MB/s of copying a file through the harness and with `adb push` alone, interleaved."""
    shell = AdbShell(threading.Event(), phone.address)
    files = DeviceFiles(shell, lambda *_, **__: None)
    files.refresh()
    size_mb, folder = path.stat().st_size / 1e6, shell.folder
    adb = ["adb", "-s", phone.address]

    def alone() -> None:
        subprocess.run([*adb, "push", path, f"{folder}/alone"], check=True, capture_output=True)

    times: dict[str, list[float]] = {"adb": [], "harness": []}
    for _ in range(rounds):
        for name, copy in (("adb", alone), ("harness", lambda: files.copy(path, "ours"))):
            subprocess.run([*adb, "shell", f"rm -f {folder}/alone {folder}/ours"], check=True)
            files.refresh()  # both are gone
            times[name].append(_seconds(copy))
    return {name: size_mb / statistics.median(taken) for name, taken in times.items()}


def overhead(phone: Phone, package: str, binary: Path, runs: int) -> dict[str, float]:
    """Median seconds of a run through the harness, and of the tool alone with the same command line."""
    plan = Plan([package], [1], [16], 10, Text.demo(), repeats=runs, precision=1e-9)
    phone.runs.clear()
    journal = _TimedJournal()
    options = fleet.ConnectionOptions([str(binary)])
    fleet.measure([Target("adb", phone.address)], plan, options, journal)
    command = shlex.split(phone.runs[-1].replace("/data/local/tmp", str(phone.tmp)))
    command[0] = str(binary)
    alone = [
        _seconds(lambda: subprocess.run(command, check=True, capture_output=True))
        for _ in range(runs)
    ]
    each = [after - before for before, after in zip(journal.times, journal.times[1:])]
    return {"harness": statistics.median(each), "tool": statistics.median(alone)}


class _TimedJournal(Journal):
    """Keeps the time of arrival of each result."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def add_repeat(self, key: str, repeat: dict) -> None:
        super().add_repeat(key, repeat)
        self.times.append(time.monotonic())


def agreement(phone: Phone, package: str, binary: Path, rounds: int) -> list[dict[str, float]]:
    """Medians in ms by length: the stand-in's through the harness, and our runner's, interleaved."""
    plan = Plan([package], [1], LENGTHS, 30, Text.demo(), repeats=1)
    targets = [Target("adb", phone.address), Target("host", "host")]
    options = fleet.ConnectionOptions([str(binary)])
    medians: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for record in fleet.measure(targets, plan, options).records:
            side = "host" if record.device == "host" else "device"
            medians.setdefault((side, record.seq_length), []).append(record.latency_ms.median)
    return [
        {"length": length}
        | {side: statistics.median(medians[side, length]) for side in ("device", "host")}
        for length in LENGTHS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="squeezebert-base")
    parser.add_argument(
        "--rounds", type=int, default=9, help="repetitions of each measurement (default: 9)"
    )
    parser.add_argument("--readme", metavar="FILE", help="update the measured lines in it")
    parser.add_argument("--json", default="runs/bench/harness.json", metavar="FILE")
    args = parser.parse_args()
    path = package(args.preset, "int8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        binary = tool(folder)
        with simulated_devices.connected(folder, ["Pixel 3"]) as (phone,):
            figures = {
                "package_mb": round(path.stat().st_size / 1e6, 1),
                "copy_mb_s": copying(phone, path, args.rounds),
                "run_s": overhead(phone, str(path), binary, args.rounds),
                "median_ms": agreement(phone, str(path), binary, args.rounds),
            }
    output.publish(args, "harness", figures, summary(figures))


def summary(figures: dict) -> str:
    """The figures as a list."""
    copy, run = figures["copy_mb_s"], figures["run_s"]
    lines = [
        f"- copying {figures['package_mb']} MB: {copy['harness']:.0f} MB/s, "
        f"{copy['harness'] / copy['adb']:.0%} of `adb push` alone ({copy['adb']:.0f} MB/s)",
        f"- one run: {run['harness']:.2f} s; the tool alone {run['tool']:.2f} s",
    ]
    lines += [
        f"- {row['length']} tokens: {row['device']:.2f} ms by the stand-in, {row['host']:.2f} by our "
        f"runner ({row['device'] / row['host'] - 1:+.1%})"
        for row in figures["median_ms"]
    ]
    return "\n".join(lines)


def package(preset: str, recipe: str) -> Path:
    """The preset with random weights, converted once."""
    from benchmarks.random_bundle import random_bundle
    from sqb_tflite import convert

    path = WORK / f"{preset}-{recipe}.tflite"
    if not path.exists():
        if not (WORK / preset).exists():
            WORK.mkdir(parents=True, exist_ok=True)
            random_bundle(WORK / preset, preset)
        with staged_file(path) as staged:
            staged.write_bytes(convert(WORK / preset, recipe))
    return path


def _seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


if __name__ == "__main__":
    main()
