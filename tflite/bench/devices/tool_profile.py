"""The operator profiles of `benchmark_model`: tables among the lines of its output.

Source: LiteRT's `tflite/profiling` and XLA's `tsl/util/stats_calculator`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..record import Operation
from .tool_lines import INTEGER, NUMBER, garbled, match_one, number

_INITIALIZATION = "Profiling Info for Benchmark Initialization:"
_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_SUBGRAPH = re.compile(
    r"(?P<index>Primary graph|Subgraph \(index: [0-9]+)(?:(?: \(|, )name: (?P<name>.*?))?\)? "
    r"(?P<what>profile:|Timings \(microseconds\): .*)"
)
_TITLE = re.compile(
    r"=+ (Run Order|Top by Computation Time|Top by Memory Use|Summary by node type) =+"
)
_EXECUTED = re.compile(rf"Number of nodes executed: (?P<nodes>{INTEGER})")
_TRAILER = re.compile(r"Timings \(microseconds\): .*|Memory \(bytes\): .*|[0-9]+ nodes observed")
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


@dataclass(frozen=True)
class Profile:
    """The profile of one subgraph, or of the kernels that a delegate reports, named "Delegate internal"."""

    subgraph: str  # "": the only one
    operations: tuple[Operation, ...]
    nodes: tuple[Node, ...]


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


@dataclass
class _Draft:
    """A profile being read."""

    subgraph: str
    regular: bool
    nodes: list[Node] | None = None
    operations: list[Operation] | None = None
    executed: int | None = None

    def finish(self) -> Profile:
        name = self.subgraph or "the only graph"
        if self.nodes is None or self.operations is None or self.executed is None:
            garbled(name, "incomplete profile")
        if {len(self.nodes), sum(row.count for row in self.operations)} != {self.executed}:
            garbled(name, f"profile does not list the {self.executed} nodes executed")
        _check_shares(self.operations)
        return Profile(self.subgraph, tuple(self.operations), tuple(self.nodes))


class ProfileReader:
    """Reads the tables of profiles among other lines."""

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._draft: _Draft | None = None  # of the current tables; None: the next table begins one
        self._regular = True  # LiteRT's tool prints no heading
        self._announced = False
        self._title: str | None = None  # of the current table
        self._columns: str | None = None

    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of the regular runs."""
        finished = [(draft.regular, draft.finish()) for draft in self._drafts]
        regular = tuple(profile for is_regular, profile in finished if is_regular)
        if self._announced and not regular:
            garbled(_REGULAR, "no table after")
        return regular

    def read(self, line: str) -> bool:
        """Whether the line belongs to a profile."""
        if line in (_INITIALIZATION, _REGULAR):
            self._regular = line == _REGULAR
            self._announced |= self._regular
            self._draft = self._title = None
        elif line.startswith(("Primary graph", "Subgraph (index: ")):
            fields = match_one([_SUBGRAPH], line)
            self._title = None
            if fields["what"] == "profile:":
                self._begin(fields["name"] or fields["index"].replace("(index: ", ""))
        elif line == "Delegate internal:":
            self._begin("Delegate internal")
        elif match := _TITLE.fullmatch(line):
            self._open(match[1], line)
        elif line.startswith("Number of nodes executed"):
            nodes = int(match_one([_EXECUTED], line)["nodes"])
            if self._draft is None or self._draft.executed is not None:
                garbled(line, "it belongs to no profile")
            self._draft.executed, self._title = nodes, None
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
