"""Two results -> what became slower or faster between them, and how certain that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.page.page import printable

from ..record import Record, Result
from . import tables
from .records import caveats, describe_setting, package_names, ratio, transport

# A corrected p-value below this counts as more than chance.
SIGNIFICANCE = 0.05
MIN_SAMPLES = 2
VERDICTS = ("regressed", "improved", "same", "unknown")


class _Test(NamedTuple):
    """The p-value of "no change", and the 95% confidence interval of new over old."""

    p_value: float
    ci95: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class MeasurementKey:
    """What identifies the same measurement in two results; the fields are JSON keys of a comparison."""

    package: str  # short name
    device: str  # name; with its address where several devices of a result share a name
    kind: str  # how the device is reached: `records.transport`
    threads: int
    delegate: str
    core_mask: str | None
    gpu_precision: str | None
    seq_length: int | None  # None: every text at its own length

    def __str__(self) -> str:
        return f"{self.package} on {self.device} ({self.kind}), {describe_setting(self)}"


@dataclasses.dataclass(frozen=True)
class Change:
    """A measurement that is in both results; the fields are JSON keys of a comparison.

    Attributes:
        figure: `median`, or `mean` where one of the two has no median.
        ratio: new time over old; above 1 is slower.
        ci95: the 95% confidence interval of the ratio of geometric means; None: unknown.
        p_value: of "no change", corrected for the number of measurements; None: unknown.
        verdict: `regressed`, `improved`, `same` or `unknown`.
        marks: caveats that only one of the two has, such as `new: padded to 128`; throttling of either.
    """

    cell: MeasurementKey
    figure: str
    old_ms: float
    new_ms: float
    ratio: float
    ci95: tuple[float, float] | None
    p_value: float | None
    verdict: str
    marks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The outcome of `compare`; a check fails if anything is in `regressed`."""

    fail_over: float
    changes: list[Change]
    only_old: list[MeasurementKey]
    only_new: list[MeasurementKey]

    @property
    def regressed(self) -> list[Change]:
        """The measurements that are slower by more than `fail_over`, and not by chance."""
        return self.with_verdict("regressed")

    def with_verdict(self, verdict: str) -> list[Change]:
        """The changes of one verdict."""
        return [change for change in self.changes if change.verdict == verdict]


def compare(old: Result, new: Result, fail_over: float = 0.05) -> Comparison:
    """Compares the measurements that are in both results.

    A measurement regressed if the new time is more than `1 + fail_over` times the old one and p < 0.05; it
    improved if the same holds the other way round. p comes from Welch's t-test on the logarithms of the
    samples; for the same texts at their own lengths, from the paired test. It is corrected by Holm's method
    for the number of measurements.

    Args:
        fail_over: a share, 0.05 for 5%.

    Raises:
        InputError: no measurement is in both, or one is in a result twice.
    """
    if fail_over < 0:
        raise InputError(f"fail over {fail_over}: expected a share of at least 0, such as 0.05")
    before, after = _records_by_key(old), _records_by_key(new)
    shared = [key for key in before if key in after]
    if not shared:
        raise InputError(
            f"the results have no measurement in common: {_first(before)} in the old, "
            f"{_first(after)} in the new"
        )
    pairs = [(before[key], after[key]) for key in shared]
    tests = [_test(*pair) for pair in pairs]
    corrected = iter(_holm([test.p_value for test in tests if test]))
    changes = [
        _change(key, pair, test and _Test(next(corrected), test.ci95), fail_over)
        for key, pair, test in zip(shared, pairs, tests, strict=True)
    ]
    only_old = [key for key in before if key not in after]
    only_new = [key for key in after if key not in before]
    return Comparison(fail_over, changes, only_old, only_new)


def table(comparison: Comparison) -> str:
    """A row for each measurement, regressions first; what only one result has; the method."""
    changes = sorted(comparison.changes, key=lambda change: VERDICTS.index(change.verdict))
    columns = [
        ("device", lambda c: f"{c.cell.device} ({c.cell.kind})"),
        ("tokens", lambda c: tables.tokens(c.cell)),
        *(
            (header, lambda c, show=show: show(c.cell))
            for header, show in tables.setting_columns([change.cell for change in changes])
        ),
        ("package", lambda c: c.cell.package),
        ("old ms", lambda c: f"{c.old_ms:.2f}"),
        ("new ms", lambda c: f"{c.new_ms:.2f}"),
        ("figure", lambda c: c.figure),
        ("new/old", lambda c: f"{c.ratio:.3f}"),
        ("95% CI", _interval),
        ("p", lambda c: _show_p_value(c.p_value)),
        ("verdict", lambda c: c.verdict),
        ("marks", lambda c: "; ".join(c.marks) or tables.NOTHING),
    ]
    rows = tables.aligned(tables.build_rows(columns, changes))
    return "\n\n".join([rows, "\n".join(_notes(comparison))])


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values."""
    counts = {name: len(comparison.with_verdict(name)) for name in VERDICTS}
    return {**dataclasses.asdict(comparison), "counts": counts}


def _first(keys: Iterable[MeasurementKey]) -> str:
    return str(next(iter(keys), "nothing"))


def _records_by_key(result: Result) -> dict[MeasurementKey, Record]:
    names = package_names(result.records)
    devices = {(r.device, r.hardware["name"]) for r in result.records}
    reached_as = [(name, transport(device)) for device, name in devices]
    by_key: dict[MeasurementKey, Record] = {}
    for record in result.records:
        name, reached_by = record.hardware["name"], transport(record.device)
        unique = reached_as.count((name, reached_by)) == 1
        key = MeasurementKey(
            names[record.package],
            printable(name if unique else f"{name} {record.device}"),
            reached_by,
            *record.setting,
            record.seq_length,
        )
        if key in by_key:
            raise InputError(f"{key}: twice in a result: expected one measurement")
        by_key[key] = record
    return by_key


def _change(
    key: MeasurementKey,
    pair: tuple[Record, Record],
    test: _Test | None,
    fail_over: float,
) -> Change:
    old, new = pair
    figure = "median" if old.has_median and new.has_median else "mean"
    times, bound = ratio(new, old), 1 + fail_over
    verdict = "same" if test else "unknown"
    if test and test.p_value < SIGNIFICANCE and not 1 / bound <= times <= bound:
        verdict = "regressed" if times > 1 else "improved"
    marks = [
        f"{side}: {mark}"
        for side, record, counterpart in (("old", old, new), ("new", new, old))
        for mark in caveats(record)
        if mark == "throttled" or mark not in caveats(counterpart)
    ]
    if old.hardware.get("cpu") != new.hardware.get("cpu"):
        marks.append("the CPUs differ")
    if _runtime(old) != _runtime(new):
        marks.append("the runtimes differ")
    p_value, ci95 = test or (None, None)
    old_ms, new_ms = (getattr(record.latency_ms, figure) for record in pair)
    return Change(key, figure, old_ms, new_ms, times, ci95, p_value, verdict, tuple(marks))


def _runtime(record: Record) -> tuple[str | None, str | None, Mapping[str, str]]:
    """What tells the runtime of a record from another one."""
    versions = {name: v for name, v in record.versions.items() if name != "python"}
    tool = record.tool
    return (tool.sha256 if tool else None), (tool.npu_libraries if tool else None), versions


def _test(old: Record, new: Record) -> _Test | None:
    """None: too few samples, or different texts."""
    from scipy import stats  # late: it takes half a second

    before, after = (np.log(_samples(record)) for record in (old, new))
    if min(before.size, after.size) < MIN_SAMPLES:
        return None
    paired = old.seq_length is None
    if paired and old.text_tokens != new.text_tokens:
        return None
    # Without any spread the test would divide by zero, and any difference is certain.
    spread = (after - before) if paired else np.concatenate([before - before[0], after - after[0]])
    if np.ptp(spread) == 0:
        change = float(np.exp(after[0] - before[0]))
        return _Test(float(change == 1.0), (change, change))
    test = (
        stats.ttest_rel(after, before)
        if paired
        else stats.ttest_ind(after, before, equal_var=False)
    )
    low, high = test.confidence_interval(0.95)
    return _Test(float(test.pvalue), (float(np.exp(low)), float(np.exp(high))))


def _samples(record: Record) -> Sequence[float]:
    return record.text_ms if record.seq_length is None else record.samples_ms


def _holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values so that chance puts any of them below 0.05 in only one of 20 comparisons."""
    corrected, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected


def _show_p_value(p_value: float | None) -> str:
    return "<0.0001" if p_value is not None and p_value < 1e-4 else tables.number(p_value, 4)


def _interval(change: Change) -> str:
    return tables.NOTHING if change.ci95 is None else "{:.3f} to {:.3f}".format(*change.ci95)


def _notes(comparison: Comparison) -> list[str]:
    changes, share = comparison.changes, f"{100 * comparison.fail_over:g}%"
    tested = len(changes) - len(comparison.with_verdict("unknown"))
    counts = ", ".join(f"{len(comparison.with_verdict(name))} {name}" for name in VERDICTS)
    notes = [
        f"{counts}; regressed: slower by more than {share} with p < {SIGNIFICANCE}",
        "p: Welch's t-test on the logarithms of the samples (the same texts: the paired test), after "
        f"Holm's correction for {tested} measurements; 95% CI: of the ratio of geometric means",
    ]
    if tested < len(changes):
        notes.append(f"unknown: fewer than {MIN_SAMPLES} samples on a side, or different texts")
    if any(change.figure == "mean" for change in changes):
        notes.append("mean: one of the two results has no median")
    for side, keys in (("old", comparison.only_old), ("new", comparison.only_new)):
        notes += [f"only in the {side} result: {key}" for key in keys]
    return notes
