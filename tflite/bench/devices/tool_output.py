"""What `benchmark_model` prints -> figures. Strict, since a wrong number is worse than none.

A line of a kind that is known here has to match to its end, with numbers written as C++ writes them, and
what the tool says twice has to agree. Other lines are ignored: devices print their own.

Sources: LiteRT's `tflite/tools/benchmark`, `tflite/profiling` and `litert/tools/benchmark_litert_model.h`,
XLA's `tsl/util/stats_calculator`, and public logs since 2019.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

MIB = 2**20 / 1e6  # in MB; the tool prints MiB and calls them MB


class ToolError(Exception):
    """The output holds no result to be trusted.

    Attributes:
        cause: "flags", the build does not know one; "failed", the tool ended without a result;
            "garbled", a line is damaged or contradicts another.
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(" ".join(text.split()))  # one line, whatever a device printed
        self.cause = cause


@dataclass(frozen=True)
class Statistics:
    """Of the runs of one phase, in milliseconds. `std` divides by the count, cut to microseconds."""

    count: int
    min: float
    max: float
    mean: float  # six significant digits
    std: float
    median: float | None  # None, like p5 and p95: builds before 2024 do not print them
    p5: float | None
    p95: float | None
    first: float | None  # None: not printed


@dataclass(frozen=True)
class Delegation:
    """What a delegate took of one subgraph. Several subgraphs have one each."""

    name: str  # the flag's ("XNNPACK", "GPU") where one asked for it, else the delegate's own
    extent: str  # "full", "partial" or "none"
    nodes: int | None
    total: int | None  # None: builds before 2021 print only `nodes`
    partitions: int | None


@dataclass(frozen=True)
class Operation:
    """All nodes of a type: a row of "Summary by node type"."""

    type: str
    count: int  # of nodes
    avg_ms: float  # in a run, all nodes together
    percent: float  # of the time of all types
    memory_kb: float
    times_called: int  # in a run


@dataclass(frozen=True)
class Node:
    """A row of "Run Order"."""

    type: str
    name: str  # output tensors, or "Delegate/" and the kernel; the index that the tool appends is cut off
    first_ms: float
    avg_ms: float  # of a call
    percent: float
    memory_kb: float
    times_called: int  # in a run


@dataclass(frozen=True)
class Profile:
    """Of one subgraph; kernels that a delegate reports apart are one named "Delegate internal"."""

    subgraph: str  # "": the only one
    operations: tuple[Operation, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Output:
    """The result of one run of the tool; MB are 10^6 bytes."""

    tool: str  # "tflite", or "litert": the CompiledModel tool of the same name
    inference: Statistics
    warmup: Statistics | None  # None: no warm-up runs, or not printed in full
    init_ms: float
    init_memory_mb: float | None  # rise of the peak of resident memory while it opens the model
    overall_memory_mb: float | None  # the same, to the end of the runs
    peak_memory_mb: float | None  # of the whole process
    delegations: tuple[Delegation, ...]
    profiles: tuple[Profile, ...]  # of the regular runs; (): not asked for


def parse(text: str) -> Output:
    """Reads standard output and error merged, of either tool, from a shell or from logcat.

    Raises:
        ToolError: of any cause.
    """
    lines = _lines(text)
    errors = [line for level, line in lines if level in _ERROR_LEVELS]
    _check_success([line for _, line in lines], errors)
    log = _Log()
    for _, line in lines:
        log.read(line)
    if "results" in log.facts:
        return _litert_output(log)
    if "timings" in log.facts:
        return _tflite_output(log)
    if errors:
        raise ToolError("failed", _quote(errors[-1]))
    printed = [line for _, line in lines if line]
    last = f"; the last is: {_quote(printed[-1])}" if printed else ""
    raise ToolError("failed", f"no result in {len(printed)} lines{last}")


def parse_profile_csv(text: str) -> tuple[Profile, ...]:
    """Reads the file of `--op_profiling_output_mode=csv`: the profiles of the regular runs.

    Raises:
        ToolError: garbled.
    """
    reader = _ProfileReader()
    for _, line in _lines(text):
        reader.read(line)
    if not (profiles := reader.profiles()):
        raise ToolError("garbled", "no profile of regular runs in the file")
    return profiles


def parse_result(data: bytes, tool: str = "tflite") -> Output:
    """Reads the file of `--result_file_path`. Warm-up, delegations and profiles are not in it.

    Raises:
        ToolError: garbled: not such a file, or a figure in it is missing or impossible.
    """
    try:
        result = result_class().FromString(data)
    except message.DecodeError as error:
        raise ToolError("garbled", f"not a BenchmarkResult: {error}") from None
    latency, memory, misc = result.latency_metrics, result.memory_metrics, result.misc_metrics
    names = ("min_ms", "max_ms", "avg_ms", "stddev_ms", "init_ms")
    for part, name in [*((latency, name) for name in names), (misc, "num_runs")]:
        if not part.HasField(name):
            raise ToolError("garbled", f"BenchmarkResult: no {name}")
    for part in (latency, memory):
        for field, value in part.ListFields():
            if not 0 <= value < math.inf:
                raise ToolError("garbled", f"BenchmarkResult: {field.name} is {value}")
    inference = Statistics(
        count=misc.num_runs,
        min=latency.min_ms,
        max=latency.max_ms,
        mean=latency.avg_ms,
        std=latency.stddev_ms,
        median=_optional(latency, "median_ms"),
        p5=_optional(latency, "p5_ms"),
        p95=_optional(latency, "p95_ms"),
        first=None,  # first_inference_ms is of the warm-up
    )
    _check_statistics(inference, 1e-3, "BenchmarkResult")
    return Output(
        tool=tool,
        inference=inference,
        warmup=None,
        init_ms=latency.init_ms,
        init_memory_mb=_optional(memory, "init_footprint_kb", MIB / 1024),
        overall_memory_mb=_optional(memory, "overall_footprint_kb", MIB / 1024),
        peak_memory_mb=_optional(memory, "peak_mem_mb", MIB),
        delegations=(),
        profiles=(),
    )


def flags(help_text: str) -> frozenset[str]:
    """The names of the flags in the answer to `--help`.

    Raises:
        ToolError: garbled: none.
    """
    found = (_FLAG.fullmatch(line) for _, line in _lines(help_text))
    names = frozenset(match[1] for match in found if match)
    if not names:
        raise ToolError("garbled", f"no flags in the answer to --help: {_quote(help_text)}")
    return names


def tool_of(help_text: str) -> str:
    """Which of the two tools answers `--help` so: "tflite" or "litert".

    Raises:
        ToolError: garbled: neither.
    """
    names = flags(help_text)
    if "enable_op_profiling" in names:
        return "tflite"
    if "use_profiler" in names:
        return "litert"
    raise ToolError("garbled", f"neither tool's --help: {_quote(', '.join(sorted(names)))}")


# Lines and numbers

_ERROR_LEVELS = ("ERROR", "FATAL", "E", "F")
_PREFIX = re.compile(
    r"(?:(?:(?:[0-9]{4}-)?[0-9]{2}-[0-9]{2} +[0-9:.]+ +)?(?:[0-9]+ +[0-9]+ +)?"  # logcat's
    r"(?P<letter>[VDIWEF])[/ ](?:tflite|litert) *(?:\( *[0-9]+\))?: ?)?"
    r"(?:(?P<word>VERBOSE|INFO|WARN|WARNING|ERROR|FATAL): )?"
    r"(?:\[[\w./-]+:[0-9]+\] ?)?"  # [file:line], LiteRT's
)
_FLAG = re.compile(r"--([A-Za-z][A-Za-z0-9_-]*)(?:[=\s].*)?")
_INTEGER = r"(?:0|[1-9][0-9]{0,17})"
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?(?:e[+-][0-9]{2})?"


def _lines(text: str) -> list[tuple[str, str]]:
    """(level or "", what is said) of each line, without surrounding space."""
    lines = []
    for line in map(str.strip, text.split("\n")):
        prefix = _PREFIX.match(line)
        lines.append((prefix["word"] or prefix["letter"] or "", line[prefix.end() :].strip()))
    return lines


def _quote(line: str) -> str:
    return line if len(line) <= 200 else f"{line[:200]}..."


def _garbled(line: str, why: str = "a damaged line") -> NoReturn:
    raise ToolError("garbled", f"{why}: {_quote(line)}")


def _match(patterns: Sequence[re.Pattern[str]], line: str) -> dict[str, str | None]:
    for pattern in patterns:
        if match := pattern.fullmatch(line):
            return match.groupdict()
    _garbled(line)


def _number(text: str, line: str, form: str = "g") -> float:
    """A number that C++ printed: `<<` of a double is Python's format "g"."""
    value = float(text)
    if format(value, form) != text:
        _garbled(line, f"{text} is not how the tool prints a number")
    return value


def _check_success(lines: Sequence[str], errors: Sequence[str]) -> None:
    for line in lines:
        if line.startswith("Unconsumed cmdline flags:"):
            unknown = line.partition(":")[2]
            raise ToolError("flags", f"the build does not know {_quote(unknown.strip())}")
    ends = [line for line in lines if line.startswith(("Benchmarking failed", "Disallowed CPU"))]
    if ends:
        reasons = [line for line in errors if not line.startswith("Benchmarking failed")]
        raise ToolError("failed", _quote(reasons[-1] if reasons else ends[0]))


# Statistics

_PERCENTILES = rf"(?: p5=(?P<p5>{_INTEGER}) median=(?P<median>{_INTEGER}) p95=(?P<p95>{_INTEGER}))?"
_SPREAD = rf"min=(?P<min>{_INTEGER}) max=(?P<max>{_INTEGER}) avg=(?P<mean>{_NUMBER}) std=(?P<std>{_INTEGER})"
_COUNT, _CURR = rf"count=(?P<count>{_INTEGER})", rf"curr=(?P<curr>{_INTEGER})"
_STATISTICS = [
    re.compile(rf"{_COUNT} first=(?P<first>{_INTEGER}) {_CURR} {_SPREAD}{_PERCENTILES}"),
    re.compile(rf"{_COUNT} {_CURR}(?P<same>\(all same\))?{_PERCENTILES}"),
    re.compile(rf"count=(?P<count>0){_PERCENTILES}"),
    re.compile(rf"{_CURR} {_COUNT} {_SPREAD}"),  # before 2019, as is the next
    re.compile(rf"{_CURR} {_COUNT}(?P<same>\(all same\))?"),
]


def _statistics(line: str) -> Statistics | None:
    """Of a `count=` line, in microseconds as there; None for no runs."""
    found = _match(_STATISTICS, line)
    values = {
        name: None if found.get(name) is None else int(found[name])
        for name in ("count", "min", "max", "std", "median", "p5", "p95", "first", "curr")
    }
    count, curr = values["count"], values.pop("curr")
    if curr is None:
        return None
    if values["min"] is not None:
        statistics = Statistics(mean=_number(found["mean"], line), **values)
        if not statistics.min <= curr <= statistics.max:
            _garbled(line, "curr is outside of min and max")
    else:
        if count < 1 or (count > 1) != (found["same"] is not None):
            _garbled(line)
        if any(values[name] not in (None, curr) for name in ("p5", "median", "p95")):
            _garbled(line, "percentiles of equal runs differ")
        statistics = Statistics(count, curr, curr, curr, 0, curr, curr, curr, curr)
    _check_statistics(statistics, 1, line)
    return statistics


def _check_statistics(figures: Statistics, slack: float, line: str) -> None:
    """Rejects what no runs can have given; `slack` is what rounding may do to a figure.

    With one run at either end, the mean keeps a distance from both and `std` one from 0; no median is
    farther than `std` from the mean. A digit too many seldom passes.
    """
    spread = figures.max - figures.min
    slack += 1e-5 * figures.max
    ordered = [figures.min, figures.p5, figures.median, figures.p95, figures.max]
    ordered = [value for value in ordered if value is not None]
    if figures.count < 1:
        _garbled(line, "no runs")
    if ordered != sorted(ordered):
        _garbled(line, "min, p5, median, p95, max are out of order")
    if figures.first is not None and not figures.min <= figures.first <= figures.max:
        _garbled(line, "first is outside of min and max")
    nearest = spread / figures.count - slack
    if not figures.min + nearest <= figures.mean <= figures.max - nearest:
        _garbled(line, "no such mean of so many runs")
    if not spread / math.sqrt(2 * figures.count) - slack <= figures.std <= spread / 2 + slack:
        _garbled(line, "no such standard deviation of so many runs")
    if figures.median is not None and abs(figures.median - figures.mean) > figures.std + slack:
        _garbled(line, "the median is too far from the mean")


def _milliseconds(us: Statistics | None) -> Statistics | None:
    if us is None:
        return None
    count, *values = dataclasses.astuple(us)
    return Statistics(
        count, *(None if value is None else round(value / 1e3, 9) for value in values)
    )


# The log

_TIMINGS = [
    re.compile(
        rf"Inference timings in us: Init: (?P<init>{_INTEGER}), First inference: (?P<first>{_INTEGER}), "
        rf"Warmup \(avg\): (?P<warmup>{_NUMBER}), Inference \(avg\): (?P<inference>{_NUMBER})"
    ),
    re.compile(  # before 2020
        rf"Average inference timings in us: Warmup: (?P<warmup>{_NUMBER}), "
        rf"Init: (?P<init>{_INTEGER}), Inference: (?P<inference>{_NUMBER})"
    ),
]
_SESSION = re.compile(rf"Initialized session in (?P<ms>{_NUMBER})ms\.")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "  # 2020: "Peak"
    rf"init=(?P<init>{_NUMBER}) overall=(?P<overall>{_NUMBER})"
)
_PEAK = re.compile(
    rf"Overall peak memory footprint \(MB\) via periodic monitoring: (?P<peak>{_NUMBER})"
)
_REPLACING = re.compile(
    rf"Replacing (?P<nodes>{_INTEGER})(?: out of (?P<total>{_INTEGER}))? node\(s\) with delegate "
    rf"\((?P<name>.+)\) node, yielding (?P<partitions>{_INTEGER}) partitions"
    r"(?: for (?:the whole graph|subgraph [0-9]+(?: \(.*\))?))?\."
)
_APPLIED = [
    re.compile(
        r"Explicitly applied (?P<name>.+) delegate, and the model graph will be "
        r"(?:(?P<full>completely) executed by the delegate\."
        rf"|(?P<partial>partially) executed by the delegate w/ {_INTEGER} delegate kernels\.)"
    ),
    re.compile(
        r"Though (?P<name>.+) delegate is explicitly applied, the model graph will not be "
        r"executed by the delegate\."
    ),
]
# Lines of LiteRT's results, and what follows their number.
_RESULTS = {
    "Model initialization": " ms",
    "Warmup (first)": " ms",
    "Warmup (avg)": rf" ms \(({_INTEGER}) runs\)",
    "Inference (avg)": rf" ms \(({_INTEGER}) runs\)",
    "Inference (min)": " ms",
    "Inference (max)": " ms",
    "Inference (std)": "",
    "Throughput": " MB/s",
    "Init footprint": " MB",
    "Overall footprint": " MB",
    "Peak memory": " MB",
}


class _Log:
    """What the lines read so far say.

    Attributes:
        facts: {kind of line: (value, the line)}, for kinds that are there once.
        runs: an announcement of runs and the `count=` line after it: the warm-up, then the regular.
    """

    def __init__(self) -> None:
        self.facts: dict[str, tuple[Any, str]] = {}
        self.runs: list[tuple[str, list[Statistics | None]]] = []
        self.delegations: list[Delegation] = []
        self.profiles = _ProfileReader()
        self._merged = 0  # delegations up to here are done with

    def read(self, line: str) -> None:
        if self.profiles.read(line):
            return
        if line.startswith(("count=", "curr=")):
            self._read_count(line)
        elif line.startswith("Running benchmark for at least"):
            self.runs.append((line, []))
        elif "timings in us:" in line:
            found = _match(_TIMINGS, line)
            averages = {name: _number(found[name], line) for name in ("warmup", "inference")}
            whole = {name: int(found[name]) for name in ("init", "first") if name in found}
            self._note("timings", averages | whole, line)
        elif line.startswith("Initialized session in"):
            self._note("session", _number(_match([_SESSION], line)["ms"], line), line)
        elif line.startswith(("Memory footprint delta", "Peak memory footprint")):
            found = _match([_MEMORY], line)
            self._note("Init footprint", _number(found["init"], line), line)
            self._note("Overall footprint", _number(found["overall"], line), line)
        elif line.startswith("Overall peak memory footprint"):
            self._note("Peak memory", _number(_match([_PEAK], line)["peak"], line), line)
        elif line.startswith("Replacing "):
            self._read_replacing(line)
        elif line.startswith(("Explicitly applied ", "Though ")):
            self._read_applied(line)
        elif line == "========== BENCHMARK RESULTS ==========":
            self._note("results", True, line)
        elif "results" in self.facts and (label := line.partition(":")[0]) in _RESULTS:
            self._read_result(label, line)

    def value(self, kind: str, scale: float = 1.0) -> float | None:
        return self.facts[kind][0] * scale if kind in self.facts else None

    def phases(self) -> tuple[Statistics | None, Statistics]:
        """Warm-up and regular runs, in microseconds."""
        if len(self.runs) not in (1, 2):
            raise ToolError("garbled", f"{len(self.runs)} announcements of runs; expected 2")
        for announced, statistics in self.runs:
            if not statistics:
                _garbled(announced, "no count= line after")
        announced, (inference,) = self.runs[-1]
        if inference is None:
            _garbled(announced, "no runs counted after")
        return self.runs[0][1][0] if len(self.runs) == 2 else None, inference

    def _note(self, kind: str, value: Any, line: str) -> None:
        if self.facts.setdefault(kind, (value, line))[0] != value:
            _garbled(line, "there twice with different figures")

    def _read_count(self, line: str) -> None:
        if not self.runs:
            _garbled(line, "not after an announcement of runs")
        statistics, known = _statistics(line), self.runs[-1][1]
        if known and known != [statistics]:
            _garbled(line, "there twice with different figures")
        known[:] = [statistics]

    def _read_replacing(self, line: str) -> None:
        found = _match([_REPLACING], line)
        nodes, partitions = int(found["nodes"]), int(found["partitions"])
        total = None if found["total"] is None else int(found["total"])
        if total is not None and nodes > total:
            _garbled(line, "more nodes than there are")
        whole = partitions == 1 and total in (nodes, None)
        extent = "none" if nodes == 0 else "full" if whole else "partial"
        self.delegations.append(Delegation(found["name"], extent, nodes, total, partitions))

    def _read_applied(self, line: str) -> None:
        """The tool's conclusion on a delegate follows what the interpreter said on each subgraph."""
        found = _match(_APPLIED, line)
        extent = "full" if found.get("full") else "partial" if found.get("partial") else "none"
        recent = self.delegations[self._merged :]
        if len(recent) == 1 and recent[0].extent != extent:
            _garbled(line, f"contradicts {recent[0].nodes} of {recent[0].total} nodes")
        named = [dataclasses.replace(one, name=found["name"]) for one in recent]
        self.delegations[self._merged :] = named or [
            Delegation(found["name"], extent, None, None, None)
        ]
        self._merged = len(self.delegations)

    def _read_result(self, label: str, line: str) -> None:
        pattern = rf"{re.escape(label)}: +([0-9]{{1,12}}\.[0-9]{{2}}){_RESULTS[label]}"
        if not (match := re.fullmatch(pattern, line)):
            _garbled(line)
        self._note(label, _number(match[1], line, ".2f"), line)
        if match.re.groups == 2:
            self._note(f"{label} runs", int(match[2]), line)


def _output(log: _Log, tool: str, phases: Sequence[Statistics | None], init_ms: float) -> Output:
    warmup, inference = phases
    return Output(
        tool=tool,
        inference=inference,
        warmup=warmup,
        init_ms=init_ms,
        init_memory_mb=log.value("Init footprint", MIB),
        overall_memory_mb=log.value("Overall footprint", MIB),
        peak_memory_mb=log.value("Peak memory", MIB),
        delegations=tuple(log.delegations),
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
    for what, one, other in pairs:
        if None not in (one, other) and f"{one:g}" != f"{other:g}":
            _garbled(line, f"{what} is {one:g} elsewhere")
    phases = _milliseconds(warmup), _milliseconds(inference)
    return _output(log, "tflite", phases, timings["init"] / 1e3)


def _litert_output(log: _Log) -> Output:
    """From the `count=` lines where they are printed: the results have two decimals."""
    needed = [label for label in _RESULTS if label.startswith(("Model", "Inference"))]
    if missing := [label for label in needed if label not in log.facts]:
        _garbled(log.facts["results"][1], f"no {missing[0]} after")
    rounded = Statistics(
        count=log.facts["Inference (avg) runs"][0],
        min=log.value("Inference (min)"),
        max=log.value("Inference (max)"),
        mean=log.value("Inference (avg)"),
        std=log.value("Inference (std)"),
        median=None,
        p5=None,
        p95=None,
        first=None,
    )
    _check_statistics(rounded, 0.02, log.facts["Inference (avg)"][1])
    init_ms, session = log.value("Model initialization"), log.value("session")
    twice = [("Model initialization", init_ms, session)]
    warmup, inference = None, rounded
    if log.runs:
        warmup, inference = map(_milliseconds, log.phases())
        twice += [
            ("Inference (avg)", rounded.mean, inference.mean),
            ("Inference (min)", rounded.min, inference.min),
            ("Inference (max)", rounded.max, inference.max),
            ("Inference (std)", rounded.std, inference.std),
            ("Inference (avg)", rounded.count, inference.count),
        ]
    for label, shown, exact in twice:
        if exact is not None and not math.isclose(shown, exact, rel_tol=1e-5, abs_tol=0.006):
            _garbled(log.facts[label][1], f"{exact:g} elsewhere")
    return _output(log, "litert", (warmup, inference), init_ms if session is None else session)


# Profiles

_INITIALIZATION = "Profiling Info for Benchmark Initialization:"
_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_SUBGRAPH = re.compile(
    r"(?P<place>Primary graph|Subgraph \(index: [0-9]+)(?:(?: \(|, )name: (?P<name>.*?))?\)? "
    r"(?P<what>profile:|Timings \(microseconds\): .*)"
)
_TITLE = re.compile(
    r"=+ (Run Order|Top by Computation Time|Top by Memory Use|Summary by node type) =+"
)
_EXECUTED = re.compile(rf"Number of nodes executed: (?P<nodes>{_INTEGER})")
_TRAILER = re.compile(r"Timings \(microseconds\): .*|Memory \(bytes\): .*|[0-9]+ nodes observed")
_SHARE = rf"(?:{_NUMBER}|-?nan)%"  # nan: no time at all was measured
_NODE_COLUMNS = "node type, first, avg ms, %, cdf%, mem kb, times called, name"
_COLUMNS = {
    _NODE_COLUMNS,
    _NODE_COLUMNS.replace("first", "start, first"),  # before 2022
    "node type, count, avg ms, avg %, cdf %, mem kb, times called",
}
_CELLS = {
    "node type": r"(?P<type>[^\t]+?)",
    "start": _NUMBER,
    "first": f"(?P<first>{_NUMBER})",
    "count": f"(?P<count>{_INTEGER})",
    "avg ms": f"(?P<avg>{_NUMBER})",
    "%": f"(?P<percent>{_SHARE})",
    "avg %": f"(?P<percent>{_SHARE})",
    "cdf%": _SHARE,
    "cdf %": _SHARE,
    "mem kb": f"(?P<memory>-?{_NUMBER})",  # Apple's systems give a process less again
    "times called": f"(?P<times>{_INTEGER})",
    "name": r"(?P<name>[^\t]+)",
}


@functools.cache
def _row_pattern(columns: str, csv: bool) -> re.Pattern[str]:
    separator = ", " if csv else "\t"
    return re.compile(separator.join(_CELLS[column] for column in columns.split(", ")))


def _tabbed(line: str) -> str:
    """One tab between cells; terminals turn the tool's into spaces."""
    if "\t" in line:
        return "\t".join(map(str.strip, line.split("\t")))
    return re.sub(" {2,}", "\t", line)


@dataclass
class _Draft:
    """A profile being read."""

    subgraph: str
    regular: bool
    nodes: list[Node] | None = None
    operations: list[Operation] | None = None
    executed: int | None = None

    def finish(self) -> Profile:
        where = self.subgraph or "the only graph"
        if self.nodes is None or self.operations is None or self.executed is None:
            _garbled(where, "incomplete profile")
        if {len(self.nodes), sum(one.count for one in self.operations)} != {self.executed}:
            _garbled(where, f"profile does not list the {self.executed} nodes executed")
        self._check_shares()
        return Profile(self.subgraph, tuple(self.operations), tuple(self.nodes))

    def _check_shares(self) -> None:
        """Times are cut to microseconds: each share of a short profile is far from exact."""
        total = sum(one.avg_ms for one in self.operations)
        for one in self.operations if total else ():
            share = 100 * one.avg_ms / total
            slack = 0.002 + 100 * 0.001 * (len(self.operations) + 1) / total
            if abs(one.percent - share) > slack:
                _garbled(one.type, f"{one.percent}% of the time in the profile, not {share:.3f}%")


class _ProfileReader:
    """Reads the tables of profiles, as text or CSV, among other lines."""

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._draft: _Draft | None = None  # the one that tables are of; None: the next begins it
        self._regular = True  # LiteRT's tool prints no heading
        self._announced = False
        self._title: str | None = None  # of the table that we are in
        self._columns: str | None = None
        self._csv = False

    def profiles(self) -> tuple[Profile, ...]:
        """Those of the regular runs."""
        finished = [(draft.regular, draft.finish()) for draft in self._drafts]
        regular = tuple(profile for of_regular, profile in finished if of_regular)
        if self._announced and not regular:
            _garbled(_REGULAR, "no table after")
        return regular

    def read(self, line: str) -> bool:
        """Whether the line belongs to a profile."""
        if line in (_INITIALIZATION, _REGULAR):
            self._regular = line == _REGULAR
            self._announced |= self._regular
            self._draft = self._title = None
        elif line.startswith(("Primary graph", "Subgraph (index: ")):
            found = _match([_SUBGRAPH], line)
            self._title = None
            if found["what"] == "profile:":
                self._begin(found["name"] or found["place"].replace("(index: ", ""))
        elif line == "Delegate internal:":
            self._begin("Delegate internal")
        elif match := _TITLE.fullmatch(line):
            self._open(match[1], line)
        elif line.startswith("Number of nodes executed"):
            nodes = int(_match([_EXECUTED], line)["nodes"])
            if self._draft is None or self._draft.executed is not None:
                _garbled(line, "not of this profile")
            self._draft.executed, self._title = nodes, None
        elif not line or _TRAILER.fullmatch(line):
            self._title = None
        elif self._title is None:
            if line.lower().startswith(("[node type]", "node type,")):
                _garbled(line, "a table without a title")
            return False
        elif self._columns is None:
            self._read_header(line)
        else:
            self._read_row(line)
        return True

    def _begin(self, subgraph: str) -> None:
        self._draft, self._title = _Draft(subgraph, self._regular), None
        self._drafts.append(self._draft)

    def _open(self, title: str, line: str) -> None:
        if self._draft is None:
            self._begin("")
        part = {"Run Order": "nodes", "Summary by node type": "operations"}.get(title)
        if part:
            if getattr(self._draft, part) is not None:
                _garbled(line, "there twice in a profile")
            setattr(self._draft, part, [])
        self._title, self._columns = title, None

    def _read_header(self, line: str) -> None:
        self._csv = line.startswith("node type,")
        cells = line.split(", ") if self._csv else _tabbed(line).split("\t")
        columns = ", ".join(cell.strip("[]").lower().replace("_", " ") for cell in cells)
        if columns not in _COLUMNS or ("count" in columns) != self._title.startswith("Summary"):
            _garbled(line, f"not the columns of {self._title}")
        self._columns = columns

    def _read_row(self, line: str) -> None:
        # In CSV the tool writes the commas of names as tabs.
        row = line.replace("\t", ",") if self._csv else _tabbed(line)
        found = _match([_row_pattern(self._columns, self._csv)], row)
        number = functools.partial(_number, line=line, form="g" if self._csv else ".3f")
        average, percent = number(found["avg"]), found["percent"].removesuffix("%")
        if percent.endswith("nan") and average:
            _garbled(line)
        figures = {
            "avg_ms": average,
            "percent": 0.0 if percent.endswith("nan") else number(percent),
            "memory_kb": number(found["memory"]),
            "times_called": int(found["times"]),
        }
        if self._title == "Run Order":
            name = re.sub(":[0-9]+$", "", found["name"])
            if name.startswith("[") and name.endswith("]"):
                name = name[1:-1]
            self._draft.nodes.append(Node(found["type"], name, number(found["first"]), **figures))
        elif self._title == "Summary by node type":
            self._draft.operations.append(Operation(found["type"], int(found["count"]), **figures))


# The result file

_METRICS = {  # fields are numbered from 1 in this order
    "LatencyMetrics": (
        "float avg_ms",
        "float min_ms",
        "float max_ms",
        "float stddev_ms",
        "float median_ms",
        "float p5_ms",
        "float p95_ms",
        "float init_ms",
        "float first_inference_ms",
        "float average_warm_up_ms",
    ),
    "MemoryMetrics": (
        "int64 init_footprint_kb",
        "int64 overall_footprint_kb",
        "float peak_mem_mb",
    ),
    "MiscMetrics": (
        "float model_size_mb",
        "int32 num_runs",
        "int32 num_warmup_runs",
        "float model_throughput_in_mb_per_sec",
    ),
}


@functools.cache
def result_class() -> type[message.Message]:
    """The tool's `BenchmarkResult` message, built here: no package has it.

    Source: LiteRT's `tflite/tools/benchmark/proto/benchmark_result.proto`.
    """
    package, kinds = "tflite.tools.benchmark", descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="benchmark_result.proto", package=package)
    result = file.message_type.add(name="BenchmarkResult")
    result.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    for number, (metrics, fields) in enumerate(_METRICS.items(), 2):
        result.field.add(
            name=metrics.replace("Metrics", "_metrics").lower(),
            number=number,
            type=kinds.TYPE_MESSAGE,
            type_name=f".{package}.{metrics}",
            label=kinds.LABEL_OPTIONAL,
        )
        part = file.message_type.add(name=metrics)
        for place, (kind, name) in enumerate(map(str.split, fields), 1):
            part.field.add(
                name=name,
                number=place,
                type=kinds.Type.Value(f"TYPE_{kind.upper()}"),
                label=kinds.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.BenchmarkResult"))


def _optional(part: message.Message, name: str, scale: float = 1.0) -> float | None:
    return scale * getattr(part, name) if part.HasField(name) else None
