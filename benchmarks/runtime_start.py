"""What the runtime costs beside the model: install size, start, memory, one text, many lines.

    python benchmarks/runtime_start.py --package demo.tflite --venv VENV --previous WORKTREE

Measures this version and, with --previous, an earlier one, in alternating fresh processes. A start imports
the runtime, opens the package and classifies one text; its CPU time counts from the start of the process. One
text of 16 tokens is timed alternately with the interpreter alone on 16 tokens. The lines go through
tools/predict.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "sqb_tf" / "demo" / "train.tsv"
WORDS = 8  # of a short line
# The most that the figures may be, by key.
TARGETS = {"install_mb": 300, "start_cpu_s": 0.5, "start_rss_mb": 130, "text_overhead_ms": 0.3}
SPEED_UP = 3.0  # at least, in lines per second, against the previous version

# The last argument is the runner's module.
IMPORT = """
import importlib, json, sys, time
Runner = importlib.import_module(sys.argv.pop()).Runner
"""
START = (
    IMPORT
    + """
runner = Runner(sys.argv[1])
runner.classify(["a quiet and moving film"])
cpu = time.process_time()
status = open("/proc/self/status").read()
rss = int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6
print(json.dumps({"start_cpu_s": cpu, "start_rss_mb": rss, "tensorflow": "tensorflow" in sys.modules}))
"""
)
TEXT = (
    IMPORT
    + """
import numpy as np
runner, runs = Runner(sys.argv[1]), int(sys.argv[2])
words = [token for token in runner.package.vocabulary if token.isalpha() and token.islower()]
text = " ".join(words[:14])  # with [CLS] and [SEP] 16 tokens
ids = np.full([1, 16], len(runner.package.vocabulary) // 2, np.int32)
inputs = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": 0 * ids}
whole, alone = [], []
for index in range(runs + 3):  # the first three warm up
    for times, call in ((whole, lambda: runner.classify([text])), (alone, lambda: runner(inputs))):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
whole, alone = np.median(whole[3:]), np.median(alone[3:])
print(json.dumps({"text_ms": whole, "interpreter_ms": alone, "text_overhead_ms": whole - alone}))
"""
)


@dataclasses.dataclass(frozen=True)
class Version:
    """A checkout and the Python that runs it."""

    root: Path
    python: str

    def run(self, script: str, *arguments: object) -> dict[str, Any]:
        """The JSON that a script prints in a process of its own."""
        command = [self.python, "-P", "-c", script, *map(str, arguments), self._runner_module]
        completed = subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if completed.returncode:
            raise SystemExit(f"{self.root}: {completed.stderr.strip()[-2000:]}")
        return json.loads(completed.stdout.splitlines()[-1])

    def predict(self, package: Path, lines: Path) -> tuple[float, float]:
        """Seconds of tools/predict.py over a file, and the peak of its resident memory in MB."""
        command = [self.python, str(self.root / "tools" / "predict.py")]
        command += ["--package", str(package), "--input", str(lines), "--jsonl"]
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
        return seconds, usage.ru_maxrss * 1024 / 1e6

    @property
    def _runner_module(self) -> str:
        """The runner of this version's layout, or of commit ff36b52's; both may be importable."""
        old = (self.root / "tflite" / "runner.py").is_file()
        return "tflite.runner" if old else "sqb_tflite.runtime.runner"

    @property
    def _environment(self) -> dict[str, str]:
        """The previous version is imported from its folder, this one as it is installed."""
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if self.root != ROOT:
            environment["PYTHONPATH"] = str(self.root)
        return environment


def install_mb(venv: Path) -> float:
    """MB of the site-packages of an environment."""
    (folder,) = venv.glob("lib/python*/site-packages")
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def short_lines(path: Path, count: int) -> None:
    """Writes `count` lines: the first words of the demo's sentences, repeated."""
    sentences = [line.split("\t")[0] for line in DEMO.read_text(encoding="utf-8").splitlines()[1:]]
    with path.open("w", encoding="utf-8") as file:
        for sentence in itertools.islice(itertools.cycle(sentences), count):
            file.write(" ".join(sentence.split()[:WORDS]) + "\n")


def measure(
    versions: Mapping[str, Version], package: Path, args: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """{version: its figures}, medians over the rounds; each round runs every version once."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    with tempfile.TemporaryDirectory() as folder:
        tenth, all_lines = Path(folder) / "tenth.txt", Path(folder) / "all.txt"
        short_lines(tenth, max(args.lines // 10, 1))
        short_lines(all_lines, args.lines)
        for index, (name, version) in itertools.product(range(args.rounds), versions.items()):
            print(f"round {index + 1} of {args.rounds}: {name}", file=sys.stderr)
            figures = version.run(START, package) | version.run(TEXT, package, args.texts)
            if args.lines:
                _, figures["tenth_peak_mb"] = version.predict(package, tenth)
                seconds, figures["lines_peak_mb"] = version.predict(package, all_lines)
                figures["lines_per_s"] = args.lines / seconds
            rounds[name].append(figures)
    return {
        name: {key: statistics.median(figures[key] for figures in runs) for key in runs[0]}
        for name, runs in rounds.items()
    }


ROWS = {
    "install_mb": "base install, site-packages, MB",
    "start_cpu_s": "process start to first answer, CPU s",
    "start_rss_mb": "resident memory then, MB",
    "text_ms": "one text of 16 tokens, ms",
    "interpreter_ms": "the interpreter alone, ms",
    "text_overhead_ms": "one text beyond the interpreter, ms",
    "lines_per_s": "tools/predict.py, lines per second",
    "tenth_peak_mb": "peak memory, a tenth of the lines, MB",
    "lines_peak_mb": "peak memory, all lines, MB",
}


def table(report: Mapping[str, Any]) -> str:
    """The figures in Markdown: a row for each, a column for each version."""
    figures = report["figures"]
    rows = [["", "at most", *figures]]
    for key, title in ROWS.items():
        cells = [_cell(values.get(key)) for values in figures.values()]
        if any(cells):
            rows.append([title, _cell(TARGETS.get(key)), *cells])
    lines = [output.markdown_table(rows)]
    if "lines_speed_up" in report:
        lines += [
            "",
            f"Lines per second against the previous version: {report['lines_speed_up']:.1f}x "
            f"(at least {SPEED_UP:g}x).",
        ]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--package",
        type=Path,
        required=True,
        help="a classifier of single texts, such as the demo's",
    )
    parser.add_argument("--venv", type=Path, help="environment of the base install, for its size")
    parser.add_argument("--python", default=sys.executable, help="runs this version")
    parser.add_argument("--previous", type=Path, metavar="DIR", help="worktree of commit ff36b52")
    parser.add_argument("--previous-python", default=sys.executable, help="runs it; has TensorFlow")
    parser.add_argument(
        "--lines", type=int, default=300_000, help="lines for predict; 0: skip it (300000)"
    )
    parser.add_argument("--texts", type=int, default=100, help="timed texts of each round (100)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="repetitions of everything, for medians (3)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser.parse_args(arguments)


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    args = parse_args()
    versions = {"now": Version(ROOT, args.python)}
    if args.previous:
        versions["previous"] = Version(args.previous.resolve(), args.previous_python)
    figures = measure(versions, args.package.resolve(), args)
    if args.venv:
        figures["now"]["install_mb"] = install_mb(args.venv)
    report: dict[str, Any] = {"figures": figures, "targets": TARGETS, "lines": args.lines}
    if args.previous and args.lines:
        now, previous = (figures[name]["lines_per_s"] for name in ("now", "previous"))
        report["lines_speed_up"] = now / previous
    print(table(report))
    if args.json:
        output.write_json(args.json, report)


if __name__ == "__main__":
    main()
