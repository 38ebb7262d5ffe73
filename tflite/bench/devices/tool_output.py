"""Parses the output of `benchmark_model`. Strict, since a wrong number is worse than none.

A line of a known type must match to its end, with numbers formatted as C++ formats them, and figures that
the tool prints twice must agree. Other lines are ignored: devices print lines of their own.

Sources: LiteRT's `tflite/tools/benchmark`, `tflite/profiling` and `litert/tools/benchmark_litert_model.h`,
XLA's `tsl/util/stats_calculator`, and public logs since 2019.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..record import Delegation
from .tool_lines import (
    ERROR_LEVELS,
    INTEGER,
    NUMBER,
    ToolError,
    garbled,
    match_one,
    number,
    quote,
    split_lines,
)
from .tool_profile import Profile, ProfileReader
from .tool_statistics import (
    Statistics,
    check_statistics,
    read_statistics,
    to_milliseconds,
)

MIB = 2**20 / 1e6  # in MB; the tool prints MiB and calls them MB
_FLAG = re.compile(r"--([A-Za-z][A-Za-z0-9_-]*)(?:[=\s].*)?")
_TIMINGS = [
    re.compile(
        rf"Inference timings in us: Init: (?P<init>{INTEGER}), First inference: (?P<first>{INTEGER}), "
        rf"Warmup \(avg\): (?P<warmup>{NUMBER}), Inference \(avg\): (?P<inference>{NUMBER})"
    ),
    re.compile(  # before 2020
        rf"Average inference timings in us: Warmup: (?P<warmup>{NUMBER}), "
        rf"Init: (?P<init>{INTEGER}), Inference: (?P<inference>{NUMBER})"
    ),
]
_SESSION = re.compile(rf"Initialized session in (?P<ms>{NUMBER})ms\.")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "  # 2020: "Peak"
    rf"init=(?P<init>{NUMBER}) overall=(?P<overall>{NUMBER})"
)
_PEAK = re.compile(
    rf"Overall peak memory footprint \(MB\) via periodic monitoring: (?P<peak>{NUMBER})"
)
# At the end of the runs, where the peak was asked for; the tool's spelling.
_STATUS = re.compile(
    rf"[-+] (?P<what>VmRSS|RssAnn?on|RssFile \+ RssShmem) *: *(?P<size>{INTEGER}) MB"
)
_REPLACING = re.compile(
    rf"Replacing (?P<nodes>{INTEGER})(?: out of (?P<total>{INTEGER}))? node\(s\) with delegate "
    rf"\((?P<name>.+)\) node, yielding (?P<partitions>{INTEGER}) partitions"
    r"(?: for (?:the whole graph|subgraph [0-9]+(?: \(.*\))?))?\."
)
_APPLIED = [
    re.compile(
        r"Explicitly applied (?P<name>.+) delegate, and the model graph will be "
        r"(?:(?P<full>completely) executed by the delegate\."
        rf"|(?P<partial>partially) executed by the delegate w/ (?P<kernels>{INTEGER}) delegate kernels\.)"
    ),
    re.compile(
        r"Though (?P<name>.+) delegate is explicitly applied, the model graph will not be "
        r"executed by the delegate\."
    ),
]
# LiteRT's dispatch of an NPU's binary gave no kernel; the line on replaced nodes is printed all the same.
_NO_KERNEL = re.compile(
    r"Failed to (?:create a dispatch delegate kernel|initialize Dispatch API): .+"
)
# A build that has a delegate's flag for a system that lacks the delegate.
_UNSUPPORTED = re.compile(r"(?P<name>[\w-]+) acceleration is unsupported on this platform\.")
# Lines of LiteRT's results, and the text after their number.
_RESULTS = {
    "Model initialization": " ms",
    "Warmup (first)": " ms",
    "Warmup (avg)": rf" ms \(({INTEGER}) runs\)",
    "Inference (avg)": rf" ms \(({INTEGER}) runs\)",
    "Inference (min)": " ms",
    "Inference (max)": " ms",
    "Inference (std)": "",
    "Throughput": " MB/s",
    "Init footprint": " MB",
    "Overall footprint": " MB",
    "Peak memory": " MB",
}


@dataclass(frozen=True)
class Output:
    """The result of one run of the tool; MB are 10^6 bytes."""

    flavor: str  # "tflite", or "litert": the CompiledModel tool of the same name
    inference: Statistics
    warmup: Statistics | None  # None: no warm-up runs, or not printed in full
    init_ms: float
    init_memory_mb: float | None  # rise of the peak of resident memory while the model is opened
    overall_memory_mb: float | None  # the same until the end of the runs
    peak_memory_mb: float | None  # of the whole process
    delegations: tuple[Delegation, ...]  # one for each subgraph
    unsupported: Mapping[str, str]  # the build's warning, by delegate in lower case
    profiles: tuple[Profile, ...]  # of the regular runs; (): not requested
    private_memory_mb: float | None = None  # of the process at the end: no file backs it; to 1 MiB
    answers: bytes | None = None  # the start of the outputs of the last run; None: not written
    npu_failure: str | None = (
        None  # why a binary of an NPU did not run there; None: nothing is said
    )


def parse(text: str) -> Output:
    """Parses merged standard output and error of either tool, from a shell or from logcat.

    Raises:
        ToolError: of any cause.
    """
    lines = split_lines(text)
    errors = [line for level, line in lines if level in ERROR_LEVELS]
    _check_success([line for _, line in lines], errors)
    log = _Log()
    for _, line in lines:
        log.read(line)
    if "results" in log.facts:
        return _litert_output(log)
    if "timings" in log.facts:
        return _tflite_output(log)
    if errors:
        raise ToolError("failed", _cause(errors))
    printed = [line for _, line in lines if line]
    last = f"; the last is: {quote(printed[-1])}" if printed else ""
    raise ToolError("failed", f"no result in {len(printed)} lines{last}")


def parse_flags(help_text: str) -> frozenset[str]:
    """The names of the flags in the output of `--help`.

    Raises:
        ToolError: garbled: there are none.
    """
    matches = (_FLAG.fullmatch(line) for _, line in split_lines(help_text))
    names = frozenset(match[1] for match in matches if match)
    if not names:
        raise ToolError("garbled", f"no flags in the output of --help: {quote(help_text)}")
    return names


def detect_flavor(help_text: str) -> str:
    """Which of the two tools prints this `--help`: "tflite" or "litert".

    Raises:
        ToolError: garbled: neither.
    """
    names = parse_flags(help_text)
    if "enable_op_profiling" in names:
        return "tflite"
    if "use_profiler" in names:
        return "litert"
    raise ToolError("garbled", f"neither tool's --help: {quote(', '.join(sorted(names)))}")


def _check_success(lines: Sequence[str], errors: Sequence[str]) -> None:
    for line in lines:
        if line.startswith("Unconsumed cmdline flags:"):
            unknown = line.partition(":")[2]
            raise ToolError("flags", f"the build lacks {quote(unknown.strip())}")
    ends = [line for line in lines if line.startswith(("Benchmarking failed", "Disallowed CPU"))]
    if ends:
        raise ToolError("failed", _cause(errors) or quote(ends[0]))


def _cause(errors: Sequence[str]) -> str:
    """The first error, which is the cause, and the last, which adds where; empty if no line says why."""
    reasons = [
        line
        for line in errors
        if not line.startswith(("Benchmarking failed", "usage:")) and re.search("[A-Za-z]", line)
    ]
    return "; ".join(map(quote, dict.fromkeys(reasons[:1] + reasons[-1:])))


class _Log:
    """The facts of the lines read so far.

    Attributes:
        facts: {line type: (value, the line)}, of types that may be there only once.
        runs: announcements of runs, each with the `count=` line after it: warm-up, then regular runs.
    """

    def __init__(self) -> None:
        self.facts: dict[str, tuple[Any, str]] = {}
        self.runs: list[tuple[str, list[Statistics | None]]] = []
        self.delegations: list[Delegation] = []
        self.unsupported: dict[str, str] = {}
        self.npu_failure: str | None = None
        self.profiles = ProfileReader()
        self._merged = 0  # delegations up to this index are final

    def read(self, line: str) -> None:
        if self.profiles.read(line):
            return
        if line.startswith(("count=", "curr=")):
            self._read_count(line)
        elif line.startswith("Running benchmark for at least"):
            self.runs.append((line, []))
        elif "timings in us:" in line:
            fields = match_one(_TIMINGS, line)
            averages = {name: number(fields[name], line) for name in ("warmup", "inference")}
            integers = {name: int(fields[name]) for name in ("init", "first") if name in fields}
            self._note("timings", averages | integers, line)
        elif line.startswith("Initialized session in"):
            self._note("session", number(match_one([_SESSION], line)["ms"], line), line)
        elif line.startswith(("Memory footprint delta", "Peak memory footprint")):
            fields = match_one([_MEMORY], line)
            self._note("Init footprint", number(fields["init"], line), line)
            self._note("Overall footprint", number(fields["overall"], line), line)
        elif line.startswith("Overall peak memory footprint"):
            self._note("Peak memory", number(match_one([_PEAK], line)["peak"], line), line)
        elif line.startswith(("- VmRSS", "+ Rss")):
            fields = match_one([_STATUS], line)
            self._note(fields["what"].replace("nn", "n"), int(fields["size"]), line)
        elif line.startswith("Replacing "):
            self._read_replacing(line)
        elif line.startswith(("Explicitly applied ", "Though ")):
            self._read_applied(line)
        elif match := _NO_KERNEL.fullmatch(line):
            self.npu_failure = self.npu_failure or quote(match[0])
        elif match := _UNSUPPORTED.fullmatch(line):
            self.unsupported[match["name"].lower()] = line
        elif line == "========== BENCHMARK RESULTS ==========":
            self._note("results", True, line)
        elif "results" in self.facts and (label := line.partition(":")[0]) in _RESULTS:
            self._read_result(label, line)

    def value(self, line_type: str, scale: float = 1.0) -> float | None:
        return self.facts[line_type][0] * scale if line_type in self.facts else None

    def phases(self) -> tuple[Statistics | None, Statistics]:
        """Warm-up and regular runs, in microseconds."""
        if len(self.runs) not in (1, 2):
            raise ToolError("garbled", f"{len(self.runs)} announcements of runs; expected 2")
        for announced, statistics in self.runs:
            if not statistics:
                garbled(announced, "no count= line after")
        announced, (inference,) = self.runs[-1]
        if inference is None:
            garbled(announced, "no runs counted after")
        return self.runs[0][1][0] if len(self.runs) == 2 else None, inference

    def _note(self, line_type: str, value: Any, line: str) -> None:
        if self.facts.setdefault(line_type, (value, line))[0] != value:
            garbled(line, "printed twice with different figures")

    def _read_count(self, line: str) -> None:
        if not self.runs:
            garbled(line, "not after an announcement of runs")
        statistics, known = read_statistics(line), self.runs[-1][1]
        if known and known != [statistics]:
            garbled(line, "printed twice with different figures")
        known[:] = [statistics]

    def _read_replacing(self, line: str) -> None:
        fields = match_one([_REPLACING], line)
        nodes, partitions = int(fields["nodes"]), int(fields["partitions"])
        total = None if fields["total"] is None else int(fields["total"])
        if total is not None and nodes > total:
            garbled(line, "more nodes than the graph has")
        whole = partitions == 1 and total in (nodes, None)
        extent = "none" if nodes == 0 else "full" if whole else "partial"
        self.delegations.append(Delegation(fields["name"], extent, nodes, total, partitions))

    def _read_applied(self, line: str) -> None:
        """The tool's conclusion on a delegate, after the interpreter's lines on each subgraph."""
        fields = match_one(_APPLIED, line)
        extent = "full" if fields.get("full") else "partial" if fields.get("partial") else "none"
        kernels = int(fields["kernels"]) if fields.get("kernels") else None
        recent = self.delegations[self._merged :]
        if len(recent) == 1 and recent[0].extent != extent:
            garbled(line, f"contradicts {recent[0].nodes} of {recent[0].total} nodes")
        applied = {"name": fields["name"], "kernels": kernels}
        named = [dataclasses.replace(delegation, **applied) for delegation in recent]
        self.delegations[self._merged :] = named or [Delegation(extent=extent, **applied)]
        self._merged = len(self.delegations)

    def _read_result(self, label: str, line: str) -> None:
        pattern = rf"{re.escape(label)}: +([0-9]{{1,12}}\.[0-9]{{2}}){_RESULTS[label]}"
        if not (match := re.fullmatch(pattern, line)):
            garbled(line)
        self._note(label, number(match[1], line, ".2f"), line)
        if match.re.groups == 2:
            self._note(f"{label} runs", int(match[2]), line)


def _output(
    log: _Log, flavor: str, phases: tuple[Statistics | None, Statistics], init_ms: float
) -> Output:
    warmup, inference = phases
    return Output(
        flavor=flavor,
        inference=inference,
        warmup=warmup,
        init_ms=init_ms,
        init_memory_mb=log.value("Init footprint", MIB),
        overall_memory_mb=log.value("Overall footprint", MIB),
        peak_memory_mb=log.value("Peak memory", MIB),
        private_memory_mb=log.value("RssAnon", MIB),
        npu_failure=log.npu_failure,
        delegations=tuple(log.delegations),
        unsupported=log.unsupported,
        profiles=log.profiles.profiles(),
    )


def _tflite_output(log: _Log) -> Output:
    timings, line = log.facts["timings"]
    warmup, inference = log.phases()
    pairs = [
        ("inference", inference.mean, timings["inference"]),
        ("warm-up", 0 if warmup is None else warmup.mean, timings["warmup"]),
        ("first inference", warmup and warmup.first, timings.get("first")),
        ("initialization", timings["init"] / 1e3, log.value("session")),
    ]
    for name, detailed, summarized in pairs:
        if None not in (detailed, summarized) and f"{detailed:g}" != f"{summarized:g}":
            garbled(line, f"{name} is {detailed:g} elsewhere")
    _check_memory(log)
    phases = warmup and to_milliseconds(warmup), to_milliseconds(inference)
    return _output(log, "tflite", phases, timings["init"] / 1e3)


def _check_memory(log: _Log) -> None:
    """The tool subtracts whole numbers, so that they add up."""
    whole, *parts = (log.value(name) for name in ("VmRSS", "RssAnon", "RssFile + RssShmem"))
    if whole is not None and None not in parts and whole != sum(filter(None, parts)):
        garbled(log.facts["VmRSS"][1], "not the sum of its parts")


def _litert_output(log: _Log) -> Output:
    """From the `count=` lines where they are printed, since the results have only two decimals."""
    required = [label for label in _RESULTS if label.startswith(("Model", "Inference"))]
    if missing := [label for label in required if label not in log.facts]:
        garbled(log.facts["results"][1], f"no {missing[0]} after")
    values = {label: value for label, (value, _) in log.facts.items()}
    rounded = Statistics(
        count=values["Inference (avg) runs"],
        min=values["Inference (min)"],
        max=values["Inference (max)"],
        mean=values["Inference (avg)"],
        std=values["Inference (std)"],
        median=None,
        p5=None,
        p95=None,
        first=None,
    )
    check_statistics(rounded, 0.02, log.facts["Inference (avg)"][1])
    init_ms, session = values["Model initialization"], values.get("session")
    pairs = [("Model initialization", init_ms, session)]
    warmup, inference = None, rounded
    if log.runs:
        warmup, inference = log.phases()
        warmup, inference = warmup and to_milliseconds(warmup), to_milliseconds(inference)
        pairs += [
            ("Inference (avg)", rounded.mean, inference.mean),
            ("Inference (min)", rounded.min, inference.min),
            ("Inference (max)", rounded.max, inference.max),
            ("Inference (std)", rounded.std, inference.std),
            ("Inference (avg)", rounded.count, inference.count),
        ]
    for label, shown, exact in pairs:
        if exact is not None and not math.isclose(shown, exact, rel_tol=1e-5, abs_tol=0.006):
            garbled(log.facts[label][1], f"{exact:g} elsewhere")
    return _output(log, "litert", (warmup, inference), init_ms if session is None else session)
