"""When a measurement on a device needs no further start of the tool."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from .. import latency_stats
from ..plan import Plan


class RepeatPolicy:
    """Repeats until the median is known to the plan's precision, or repeats or budget are used up."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._end = float("inf")
        self._spent = False

    def start(self) -> None:
        """Starts the clock of the plan's budget."""
        self._end = time.monotonic() + self._plan.budget_s

    def budget_spent(self) -> bool:
        """Whether the budget is used up; once it is, it stays so."""
        self._spent = self._spent or time.monotonic() > self._end
        return self._spent

    def settled(self, repeats: Sequence[Mapping[str, Any]]) -> bool:
        """Whether these starts are enough; profiled ones do not count."""
        times = [latency_stats.repeat_time(r) for r in repeats if not r["profiled"]]
        if len(times) < self._plan.fewest_repeats:
            return self._spent and bool(times)
        interval = latency_stats.repeat_interval(times)
        precise = (
            interval is not None and latency_stats.half_width(interval) <= self._plan.precision
        )
        return precise or self._spent or len(times) >= self._plan.repeats
