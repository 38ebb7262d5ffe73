"""The `count=` line of `benchmark_model`, in every form since 2019, and checks that its figures are possible.

Source: XLA's `tsl/util/stats_calculator`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from .tool_lines import (
    INTEGER,
    NUMBER,
    garbled,
    match_one,
    number,
)

_PERCENTILES = rf"(?: p5=(?P<p5>{INTEGER}) median=(?P<median>{INTEGER}) p95=(?P<p95>{INTEGER}))?"
_SPREAD = (
    rf"min=(?P<min>{INTEGER}) max=(?P<max>{INTEGER}) avg=(?P<mean>{NUMBER}) std=(?P<std>{INTEGER})"
)
_COUNT, _CURR = rf"count=(?P<count>{INTEGER})", rf"curr=(?P<curr>{INTEGER})"
_STATISTICS = [
    re.compile(rf"{_COUNT} first=(?P<first>{INTEGER}) {_CURR} {_SPREAD}{_PERCENTILES}"),
    re.compile(rf"{_COUNT} {_CURR}(?P<same>\(all same\))?{_PERCENTILES}"),
    re.compile(rf"count=(?P<count>0){_PERCENTILES}"),
    re.compile(rf"{_CURR} {_COUNT} {_SPREAD}"),  # before 2019, as is the next
    re.compile(rf"{_CURR} {_COUNT}(?P<same>\(all same\))?"),
]


@dataclass(frozen=True)
class Statistics:
    """The runs of one phase, in milliseconds. `std` divides by the count and is cut to microseconds."""

    count: int
    min: float
    max: float
    mean: float  # six significant digits
    std: float
    median: float | None  # None, like p5 and p95: builds before 2024 do not print them
    p5: float | None
    p95: float | None
    first: float | None  # None: not printed


def read_statistics(line: str) -> Statistics | None:
    """The statistics of a `count=` line, in microseconds as printed; None for no runs."""
    fields = match_one(_STATISTICS, line)
    values: dict[str, Any] = {
        name: None if fields.get(name) is None else int(fields[name])
        for name in ("count", "min", "max", "std", "median", "p5", "p95", "first", "curr")
    }
    count, curr = values["count"], values.pop("curr")
    if curr is None:
        return None
    if values["min"] is not None:
        statistics = Statistics(mean=number(fields["mean"], line), **values)
        if not statistics.min <= curr <= statistics.max:
            garbled(line, "curr is outside of min and max")
    else:
        if count < 1 or (count > 1) != (fields["same"] is not None):
            garbled(line)
        if any(values[name] not in (None, curr) for name in ("p5", "median", "p95")):
            garbled(line, "percentiles of equal runs differ")
        statistics = Statistics(count, curr, curr, curr, 0, curr, curr, curr, curr)
    check_statistics(statistics, 1, line)
    return statistics


def check_statistics(figures: Statistics, slack: float, line: str) -> None:
    """Rejects statistics that no set of runs can have; `slack` is the largest rounding error of a figure.

    With one run at the minimum and one at the maximum, the mean keeps a distance from both and `std` from 0;
    the median is never farther than `std` from the mean. Most damaged digits violate one of these.
    """
    spread = figures.max - figures.min
    slack += 1e-5 * figures.max
    order = [figures.min, figures.p5, figures.median, figures.p95, figures.max]
    ordered = [value for value in order if value is not None]
    if figures.count < 1:
        garbled(line, "no runs")
    if ordered != sorted(ordered):
        garbled(line, "min, p5, median, p95, max are out of order")
    if figures.first is not None and not figures.min <= figures.first <= figures.max:
        garbled(line, "first is outside of min and max")
    nearest = spread / figures.count - slack
    if not figures.min + nearest <= figures.mean <= figures.max - nearest:
        garbled(line, "no such mean of this number of runs")
    if not spread / math.sqrt(2 * figures.count) - slack <= figures.std <= spread / 2 + slack:
        garbled(line, "no such standard deviation of this number of runs")
    if figures.median is not None and abs(figures.median - figures.mean) > figures.std + slack:
        garbled(line, "the median is too far from the mean")


def to_milliseconds(microseconds: Statistics) -> Statistics:
    """Divides everything but the count by 1000."""
    times = dataclasses.asdict(microseconds)
    count = times.pop("count")
    scaled: dict[str, Any] = {
        name: None if us is None else round(us / 1e3, 9) for name, us in times.items()
    }
    return Statistics(count=count, **scaled)
