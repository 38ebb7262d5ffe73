"""The operator profiles of `benchmark_model`: tables among the lines of its output.

Source: LiteRT's `tflite/profiling` and XLA's `tsl/util/stats_calculator`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..record import Operation
from .tool_lines import INTEGER, NUMBER, ToolError, garbled, match_one, number
from .tool_statistics import read_statistics

_INITIALIZATION = "Profiling Info for Benchmark Initialization:"
_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_TIMINGS = re.compile(r"Timings \(microseconds\): (?P<statistics>.*)")
_SUBGRAPH = re.compile(
    r"(?P<index>Primary graph|Subgraph \(index: [0-9]+)(?:(?: \(|, )name: (?P<name>.*?))?\)? "
    rf"(?P<what>profile:|{_TIMINGS.pattern})"
)
_TITLE = re.compile(
    r"=+ (Run Order|Top by Computation Time|Top by Memory Use|Summary by node type) =+"
)
_EXECUTED = re.compile(rf"Number of nodes executed: (?P<nodes>{INTEGER})")
_TRAILER = re.compile(r"Memory \(bytes\): .*|[0-9]+ nodes observed")
_DROPPED = "Dropping ProfileBuffer event."
_DELEGATE_INTERNAL = "Delegate internal"
_KERNEL = "Delegate/"  # how the names of a delegate's kernels begin
_SHARE = rf"(?:{NUMBER}|-?nan)%"  # nan: no time at all was measured
_NODE_COLUMNS = "node type, first, avg ms, %, cdf%, mem kb, times called, name"
_COLUMNS = {
    _NODE_COLUMNS,
    _NODE_COLUMNS.replace("first", "start, first"),  # before 2022
    "node type, count, avg ms, avg %, cdf %, mem kb, times called",
}
_CELLS = {
    "node type": r"(?P<type>[^\t]+?)",
    "start": NUMBER,
    "first": f"(?P<first>{NUMBER})",
    "count": f"(?P<count>{INTEGER})",
    "avg ms": f"(?P<avg>{NUMBER})",
    "%": f"(?P<percent>{_SHARE})",
    "avg %": f"(?P<percent>{_SHARE})",
    "cdf%": _SHARE,
    "cdf %": _SHARE,
    "mem kb": f"(?P<memory>-?{NUMBER})",  # Apple's systems report falling memory
    "times called": f"(?P<times>{INTEGER})",
    "name": r"(?P<name>[^\t]+)",
}


@dataclass(frozen=True)
class Node:
    """A row of "Run Order"."""

    type: str
    name: str  # output tensors, or "Delegate/" and the kernel; without the index that the tool appends
    first_ms: float
    avg_ms: float  # of a call
    percent: float
    memory_kb: float
    times_called: int  # in a run

    @property
    def is_kernel(self) -> bool:
        """Whether it is a part of a delegate's work."""
        return self.name.startswith(_KERNEL)

    @property
    def is_delegate(self) -> bool:
        """Whether it is a delegate as a whole, such as `TfLiteXNNPackDelegate`."""
        return not self.is_kernel and "Delegate" in self.type

    @property
    def kind(self) -> str:
        """What it computes: its type, or the kernel where the type is that of every kernel."""
        return self.name.removeprefix(_KERNEL) if self.type == "DelegateOpInvoke" else self.type


@dataclass(frozen=True)
class Profile:
    """The profile of one subgraph, or of the kernels that a delegate reports, named "Delegate internal"."""

    subgraph: str  # "": the only one
    nodes: tuple[Node, ...]
    average_ms: float  # of a run: all nodes together

    def times(self) -> list[tuple[Node, float]]:
        """Each node with its milliseconds in a run, from its share: its time is cut to microseconds."""
        return [(node, node.percent / 100 * self.average_ms) for node in self.nodes]


def time_by_kind(profiles: Sequence[Profile]) -> tuple[Operation, ...]:
    """The time of a run by what is computed, most first.

    Where an older build lists a delegate as a node and its kernels in a table of their own, the kernels
    stand for it: its time would count twice.
    """
    twice = any(profile.subgraph == _DELEGATE_INTERNAL for profile in profiles)
    kinds: dict[str, list[tuple[Node, float]]] = {}
    for node, milliseconds in _node_times(profiles):
        if not (twice and node.is_delegate):
            kinds.setdefault(node.kind, []).append((node, milliseconds))
    times = {kind: sum(ms for _, ms in members) for kind, members in kinds.items()}
    whole = sum(times.values())
    return tuple(
        Operation(
            kind,
            len(kinds[kind]),
            round(milliseconds, 6),
            round(100 * milliseconds / whole, 3) if whole else 0.0,
            round(sum(node.memory_kb for node, _ in kinds[kind]), 3),
            sum(node.times_called for node, _ in kinds[kind]),
        )
        for kind, milliseconds in sorted(times.items(), key=lambda item: -item[1])
    )


def outside_delegates(profiles: Sequence[Profile]) -> tuple[int, float]:
    """How many operations of the graph no delegate took, and their percent of a run's time."""
    graph = _node_times(p for p in profiles if p.subgraph != _DELEGATE_INTERNAL)
    outside = [ms for node, ms in graph if not (node.is_kernel or node.is_delegate)]
    whole = sum(ms for _, ms in graph)
    return len(outside), round(100 * sum(outside) / whole, 3) if whole else 0.0


def _node_times(profiles: Iterable[Profile]) -> list[tuple[Node, float]]:
    return [pair for profile in profiles for pair in profile.times()]


@functools.cache
def _row_pattern(columns: str) -> re.Pattern[str]:
    return re.compile("\t".join(_CELLS[column] for column in columns.split(", ")))


def _separate_by_tabs(line: str) -> str:
    """One tab between cells; terminals turn the tool's tabs into spaces."""
    if "\t" in line:
        return "\t".join(map(str.strip, line.split("\t")))
    return re.sub(" {2,}", "\t", line)


def _check_shares(operations: Sequence[Operation]) -> None:
    """Checks each share, which is far from exact in a short profile: times are cut to microseconds."""
    total = sum(row.avg_ms for row in operations)
    for row in operations if total else ():
        share = 100 * row.avg_ms / total
        slack = 0.002 + 100 * 0.001 * (len(operations) + 1) / total
        if abs(row.percent - share) > slack:
            garbled(row.type, f"{row.percent}% of the time in the profile, not {share:.3f}%")


def _check_types(profile: Profile, operations: Sequence[Operation]) -> None:
    """Checks the nodes against the summary by type, whose times are sums of whole microseconds, cut."""
    times: dict[str, list[float]] = {}
    for node, milliseconds in profile.times():
        times.setdefault(node.type, []).append(milliseconds)
    counts = {row.type: row.count for row in operations}
    if {name: len(of_type) for name, of_type in times.items()} != counts:
        garbled(profile.subgraph or "the only graph", "the profile lists other nodes by type")
    for row in operations:
        exact = sum(times[row.type])
        rounding = 1e-5 * row.count * profile.average_ms + 1e-3  # of shares, and of the sum
        if not -rounding <= exact - row.avg_ms <= 1e-3 * row.count + rounding:
            garbled(row.type, f"{row.avg_ms:.3f} ms by type in the profile, not {exact:.3f} ms")


@dataclass
class _Draft:
    """A profile being read."""

    subgraph: str
    regular: bool
    nodes: list[Node] | None = None
    operations: list[Operation] | None = None
    executed: int | None = None
    average_ms: float | None = None

    def finish(self) -> Profile:
        name = self.subgraph or "the only graph"
        if self.nodes is None or self.operations is None or self.executed is None:
            garbled(name, "incomplete profile")
        if {len(self.nodes), sum(row.count for row in self.operations)} != {self.executed}:
            garbled(name, f"profile does not list the {self.executed} nodes executed")
        if self.nodes and self.average_ms is None:
            garbled(name, "profile without the time of a run")
        _check_shares(self.operations)
        profile = Profile(self.subgraph, tuple(self.nodes), self.average_ms or 0.0)
        _check_types(profile, self.operations)
        return profile


class ProfileReader:
    """Reads the tables of profiles among other lines."""

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._draft: _Draft | None = None  # of the current tables; None: the next table begins one
        self._regular = True  # LiteRT's tool prints no heading
        self._announced = False
        self._title: str | None = None  # of the current table
        self._columns: str | None = None
        self._dropped = False

    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of the regular runs.

        Raises:
            ToolError: garbled; or failed: nodes are missing, as the tool's buffer was full.
        """
        if self._dropped:
            raise ToolError("failed", f"the profile lacks nodes: the tool says: {_DROPPED}")
        finished = [(draft.regular, draft.finish()) for draft in self._drafts]
        regular = tuple(profile for is_regular, profile in finished if is_regular)
        if self._announced and not regular:
            garbled(_REGULAR, "no table after")
        return regular

    def read(self, line: str) -> bool:
        """Whether the line belongs to a profile."""
        if line.endswith(_DROPPED):
            self._dropped = True
        elif line in (_INITIALIZATION, _REGULAR):
            self._regular = line == _REGULAR
            self._announced |= self._regular
            for draft in self._drafts:  # also of an initialization whose heading is damaged
                draft.regular &= not self._regular
            self._draft = self._title = None
        elif line.startswith(("Primary graph", "Subgraph (index: ")):
            fields = match_one([_SUBGRAPH], line)
            self._title = None
            if fields["what"] == "profile:":
                self._begin(fields["name"] or fields["index"].replace("(index: ", ""))
            else:
                self._read_timings(fields["statistics"], line)
        elif line == f"{_DELEGATE_INTERNAL}:":
            self._begin(_DELEGATE_INTERNAL)
        elif match := _TITLE.fullmatch(line):
            self._open(match[1], line)
        elif line.startswith("Number of nodes executed"):
            nodes = int(match_one([_EXECUTED], line)["nodes"])
            if self._draft is None or self._draft.executed is not None:
                garbled(line, "it belongs to no profile")
            self._draft.executed, self._title = nodes, None
        elif match := _TIMINGS.fullmatch(line):
            self._read_timings(match["statistics"], line)
        elif not line or _TRAILER.fullmatch(line):
            self._title = None
        elif self._title is None:
            if line.lower().startswith("[node type]"):
                garbled(line, "a table without a title")
            return False
        elif self._columns is None:
            self._read_header(line, self._title)
        else:
            self._read_row(line, self._title, self._columns)
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
                garbled(line, "printed twice in a profile")
            setattr(self._draft, part, [])
        self._title, self._columns = title, None

    def _read_timings(self, statistics: str, line: str) -> None:
        if self._draft is None or self._draft.average_ms is not None:
            garbled(line, "it belongs to no profile")
        runs = read_statistics(statistics)
        self._draft.average_ms, self._title = runs.mean / 1e3 if runs else 0.0, None

    def _read_header(self, line: str, title: str) -> None:
        cells = _separate_by_tabs(line).split("\t")
        columns = ", ".join(cell.strip("[]").lower().replace("_", " ") for cell in cells)
        if columns not in _COLUMNS or ("count" in columns) != title.startswith("Summary"):
            garbled(line, f"not the columns of {title}")
        self._columns = columns

    def _read_row(self, line: str, title: str, columns: str) -> None:
        fields = match_one([_row_pattern(columns)], _separate_by_tabs(line))
        figure = functools.partial(number, line=line, form=".3f")
        average, percent = figure(fields["avg"]), fields["percent"].removesuffix("%")
        if percent.endswith("nan") and average:
            garbled(line)
        figures: dict[str, Any] = {
            "avg_ms": average,
            "percent": 0.0 if percent.endswith("nan") else figure(percent),
            "memory_kb": figure(fields["memory"]),
            "times_called": int(fields["times"]),
        }
        draft = self._draft
        assert draft is not None, "a title begins a profile"
        if title == "Run Order" and draft.nodes is not None:
            name = re.sub(":[0-9]+$", "", fields["name"])
            if name.startswith("[") and name.endswith("]"):
                name = name[1:-1]
            draft.nodes.append(Node(fields["type"], name, figure(fields["first"]), **figures))
        elif title == "Summary by node type" and draft.operations is not None:
            draft.operations.append(Operation(fields["type"], int(fields["count"]), **figures))
