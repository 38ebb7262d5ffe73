"""Result -> what it says, in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator

from .records import (
    Record,
    Result,
    by_device,
    focus,
    is_mean,
    milliseconds,
    names_of,
    speed_up,
    where,
)


def findings(result: Result) -> list[str]:
    """The fastest package of each device, and how it compares with the baselines measured there."""
    names, found = names_of(result), []
    for title, records in by_device(result["records"]).items():
        compared = focus(records)
        own = [record for record in compared if not record.get("baseline")] or compared
        best, fastest = min(own, key=milliseconds), min(compared, key=milliseconds)
        line = (
            f"{title}: {names[best['package']]}"
            f"{' is the fastest' if len(own) > 1 else ' runs'} at {_time(best)} for {where(best)}"
        )
        times = speed_up(best, records)
        line += f", {times:.1f} times as fast as BERT-base" if times else ""
        if milliseconds(fastest) < milliseconds(best):
            line += f"; the baseline {names[fastest['package']]} takes {_time(fastest)}"
        found.append(line + ".")
    return found or ["Nothing was measured."]


def warnings(result: Result) -> list[str]:
    """What makes a result less than whole or less than fair, counted; none: nothing does."""
    return [f"{_plural(n, thing)} {what}." for n, thing, what in _counts(result) if n]


def _counts(result: Result) -> Iterator[tuple[int, str, str]]:
    records = result["records"]
    yield len(result["failures"]), "run", "failed"
    yield len(result["missing"]), "planned measurement", "missing"
    yield sum(bool(r.get("throttled")) for r in records), "measurement", "throttled"
    yield sum(map(is_mean, records)), "measurement", "known by the mean alone"
    yield sum(_extent(r) == "partial" for r in records), "measurement", "delegated in part"
    yield sum(_extent(r) == "none" for r in records), "measurement", "not delegated at all"


def _time(record: Record) -> str:
    return f"{milliseconds(record):.2f} ms ({'mean' if is_mean(record) else 'median'})"


def _extent(record: Record) -> str | None:
    return (record.get("delegated") or {}).get("extent")


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")
