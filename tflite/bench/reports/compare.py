"""Two results -> what became slower or faster between them, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sqb_tf.errors import InputError

from . import tables
from .records import (
    SETTING,
    Record,
    Result,
    by_name,
    is_mean,
    kind,
    marks,
    printable,
    ratio,
    where,
)

# Of the corrected p-value, below which a difference is taken for more than chance.
SIGNIFICANCE = 0.05
MIN_SAMPLES = 2
VERDICTS = ("regressed", "improved", "same", "unknown")


class _Test(NamedTuple):
    """p of no change, and the 95% confidence interval of new over old."""

    p_value: float
    ci95: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one measurement has in common with its like in another result."""

    package: str  # short name
    device: str  # name; with the way to it where several in a result share a name
    kind: str  # of `records.kind`
    threads: int
    delegate: str
    core_mask: str | None
    seq_length: int | None  # None: every text at its own length

    def __str__(self) -> str:
        return f"{self.package} on {self.device} ({self.kind}), {where(vars(self))}"


@dataclasses.dataclass(frozen=True)
class Change:
    """A cell that is in both results.

    Attributes:
        figure: `median`, or `mean` where one of the two has no median.
        ratio: new time over old; above 1 is slower.
        ci95: the 95% confidence interval of the ratio of the times' geometric means; None: unknown.
        p_value: of no change, corrected for the number of cells; None: unknown.
        verdict: `regressed`, `improved`, `same` or `unknown`.
        marks: what one of the two has and the other not, as `new: padded to 128`; either's throttling.
    """

    cell: Cell
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
    """What `compare` found; `regressed` is what a check fails by."""

    fail_over: float
    changes: list[Change]
    only_old: list[Cell]
    only_new: list[Cell]

    @property
    def regressed(self) -> list[Change]:
        """The cells that are slower by more than `fail_over`, and not by chance."""
        return self.with_verdict("regressed")

    def with_verdict(self, verdict: str) -> list[Change]:
        """The changes of one verdict."""
        return [change for change in self.changes if change.verdict == verdict]


def compare(old: Result, new: Result, fail_over: float = 0.05) -> Comparison:
    """Compares the cells that are in both results.

    A cell regressed if the new time is over `1 + fail_over` times the old one and p < 0.05; improved, if
    the same holds the other way round. p is Welch's t-test's on the logarithms of the samples; of the
    same texts, each at its own length, the paired test's. Holm's correction is for the number of cells.

    Args:
        fail_over: a share, 0.05 for 5%.

    Raises:
        InputError: no cell is in both, or one is twice in a result.
    """
    if fail_over < 0:
        raise InputError(f"fail over {fail_over}: expected a share of at least 0, as 0.05")
    before, after = _cells(old), _cells(new)
    both = [cell for cell in before if cell in after]
    if not both:
        raise InputError(
            f"the results have no measurement in common: {_first(before)} in the old, "
            f"{_first(after)} in the new"
        )
    pairs = [(before[cell], after[cell]) for cell in both]
    tests = [_test(*pair) for pair in pairs]
    corrected = iter(_holm([test.p_value for test in tests if test]))
    changes = [
        _change(cell, pair, test and _Test(next(corrected), test.ci95), fail_over)
        for cell, pair, test in zip(both, pairs, tests, strict=True)
    ]
    only_old, only_new = (
        [c for c in a if c not in b] for a, b in ((before, after), (after, before))
    )
    return Comparison(fail_over, changes, only_old, only_new)


def table(comparison: Comparison) -> str:
    """A row for each cell, those that regressed first; what is in one result only; the method."""
    changes = sorted(comparison.changes, key=lambda change: VERDICTS.index(change.verdict))
    records = [vars(change.cell) | {"change": change} for change in changes]
    columns = [
        ("device", lambda r: f"{r['device']} ({r['kind']})"),
        ("tokens", tables.tokens),
        *tables.setting_columns(records),
        ("package", lambda r: r["package"]),
        ("old ms", lambda r: f"{r['change'].old_ms:.2f}"),
        ("new ms", lambda r: f"{r['change'].new_ms:.2f}"),
        ("figure", lambda r: r["change"].figure),
        ("new/old", lambda r: f"{r['change'].ratio:.3f}"),
        ("95% CI", lambda r: _interval(r["change"])),
        ("p", lambda r: _chance(r["change"].p_value)),
        ("verdict", lambda r: r["change"].verdict),
        ("marks", lambda r: "; ".join(r["change"].marks) or tables.NOTHING),
    ]
    return "\n\n".join(
        [tables.aligned(tables.table_of(columns, records)), "\n".join(_notes(comparison))]
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as values that JSON has."""
    counts = {name: len(comparison.with_verdict(name)) for name in VERDICTS}
    return {**dataclasses.asdict(comparison), "counts": counts}


def _first(cells: Iterable[Cell]) -> str:
    return str(next(iter(cells), "nothing"))


def _cells(result: Result) -> dict[Cell, Record]:
    """{cell: its record}."""
    records = result["records"]
    names = by_name(records)
    devices = {(r["device"], r["hardware"]["name"]) for r in records}
    shared = [(name, kind(device)) for device, name in devices]
    found: dict[Cell, Record] = {}
    for record in records:
        device, name = record["device"], record["hardware"]["name"]
        way = kind(device)
        shown = printable(name) if shared.count((name, way)) == 1 else printable(f"{name} {device}")
        settings = {key: record[key] for key in SETTING}
        length = record["seq_length"]
        cell = Cell(names[record["package"]], shown, way, seq_length=length, **settings)
        if cell in found:
            raise InputError(f"{cell}: twice in a result: expected one measurement")
        found[cell] = record
    return found


def _change(
    cell: Cell,
    pair: tuple[Record, Record],
    test: _Test | None,
    fail_over: float,
) -> Change:
    old, new = pair
    figure = "mean" if is_mean(old) or is_mean(new) else "median"
    times, bound = ratio(new, old), 1 + fail_over
    verdict = "same" if test else "unknown"
    if test and test.p_value < SIGNIFICANCE and not 1 / bound <= times <= bound:
        verdict = "regressed" if times > 1 else "improved"
    told = [
        f"{side}: {mark}"
        for side, record, other in (("old", old, new), ("new", new, old))
        for mark in marks(record)
        if mark == "throttled" or mark not in marks(other)
    ]
    if old["hardware"].get("cpu") != new["hardware"].get("cpu"):
        told.append("the CPUs differ")
    p_value, ci95 = test or (None, None)
    old_ms, new_ms = (record["latency_ms"][figure] for record in pair)
    return Change(cell, figure, old_ms, new_ms, times, ci95, p_value, verdict, tuple(told))


def _test(old: Record, new: Record) -> _Test | None:
    """None: too few samples, or other texts."""
    from scipy import stats  # late: it takes half a second

    before, after = (np.log(_samples(record)) for record in (old, new))
    if min(before.size, after.size) < MIN_SAMPLES:
        return None
    paired = old["seq_length"] is None
    if paired and old["samples"]["tokens"] != new["samples"]["tokens"]:
        return None
    # Where neither side varies at all there is nothing to divide by: any difference is one for certain.
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


def _chance(p_value: float | None) -> str:
    return "<0.0001" if p_value is not None and p_value < 1e-4 else tables.number(p_value, 4)


def _interval(change: Change) -> str:
    if change.ci95 is None:
        return tables.NOTHING
    return "{:.3f} to {:.3f}".format(*change.ci95)


def _samples(record: Record) -> list[float]:
    if record["seq_length"] is None:
        return record["samples"]["ms"]
    return record.get("samples_ms") or []


def _holm(p_values: Sequence[float]) -> list[float]:
    """Corrected, so that all of them together are below 0.05 by chance in one of 20 comparisons."""
    corrected, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected


def _notes(comparison: Comparison) -> list[str]:
    changes, share = comparison.changes, f"{100 * comparison.fail_over:g}%"
    judged = len(changes) - len(comparison.with_verdict("unknown"))
    counts = ", ".join(f"{len(comparison.with_verdict(name))} {name}" for name in VERDICTS)
    found = [
        f"{counts}; regressed: slower by more than {share} with p < {SIGNIFICANCE}",
        f"p: Welch's t-test on the logarithms of the samples (the same texts: the paired test), after "
        f"Holm's correction for {judged} cells; 95% CI: of the ratio of geometric means",
    ]
    if judged < len(changes):
        found.append(
            f"unknown: fewer than {MIN_SAMPLES} samples on a side, or other texts than before"
        )
    if any(change.figure == "mean" for change in changes):
        found.append("mean: one of the two results has no median")
    for side, cells in (("old", comparison.only_old), ("new", comparison.only_new)):
        found += [f"only in the {side} result: {cell}" for cell in cells]
    return found
