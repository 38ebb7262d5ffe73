"""A result in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator

from ..record import Record, Result
from .records import (
    comparable_group,
    crowding_load,
    describe_setting,
    differing_runtimes,
    group_by_device,
    is_split,
    result_package_names,
    speed_up,
)


def findings(result: Result) -> list[str]:
    """The fastest package of each device, and how it compares with the baselines measured there."""
    names, sentences = result_package_names(result), []
    for title, records in group_by_device(result.records).items():
        compared = comparable_group(records)
        ours = [record for record in compared if not record.baseline] or compared
        best = min(ours, key=lambda record: record.typical_ms)
        fastest = min(compared, key=lambda record: record.typical_ms)
        sentence = (
            f"{title}: {names[best.package]}{' is the fastest' if len(ours) > 1 else ' runs'} "
            f"at {_time(best)} for {describe_setting(best)}"
        )
        times = speed_up(best, records)
        sentence += f", {times:.1f} times as fast as BERT-base" if times else ""
        if fastest.typical_ms < best.typical_ms:
            sentence += f"; the baseline {names[fastest.package]} takes {_time(fastest)}"
        sentences.append(sentence + ".")
    return sentences or ["Nothing was measured."]


def warnings(result: Result) -> list[str]:
    """What makes a result incomplete or unfair, counted; empty: nothing does."""
    lines = [f"{_plural(n, noun)} {state}." for n, noun, state in _counts(result) if n]
    if differing_runtimes(result.records):
        lines.append("The devices ran different runtimes: their times do not compare the machines.")
    return lines


def _counts(result: Result) -> Iterator[tuple[int, str, str]]:
    records = result.records
    delegated = [record.delegated for record in records if record.delegated]
    yield len(result.failures), "run", "failed"
    fell_back = sum(failure.cause == "not delegated" for failure in result.failures)
    yield fell_back, "run", "fell back to the CPU, or the tool does not say"
    yield len(result.missing), "planned measurement", "missing"
    yield sum(bool(r.throttled) for r in records), "measurement", "throttled"
    yield sum(crowding_load(r) is not None for r in records), "measurement", "on a busy machine"
    yield sum(not r.has_median for r in records), "measurement", "with a mean but no median"
    yield sum(map(is_split, records)), "measurement", "delegated in part"
    yield sum(d.extent == "none" for d in delegated), "measurement", "not delegated at all"


def _time(record: Record) -> str:
    return f"{record.typical_ms:.2f} ms ({'median' if record.has_median else 'mean'})"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
