"""What came of a compilation, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from ..text_table import align
from .chips import Chip
from .compiler import Compilation

T = TypeVar("T")


def table(results: Sequence[Compilation]) -> str:
    """One row for each chip; then what was left for the CPU and why, and what failed."""
    rows: list[tuple[str, ...]] = [("chip", "operations", "partitions", "MB", "seconds", "file")]
    rows += [_row(result) for result in results]
    parts = [align(rows)]
    refused = _by_chips(
        (result.chip, (refusal.operation, str(refusal.count), "; ".join(refusal.reasons)))
        for result in results
        for refusal in result.refused
    )
    if refused:
        header = ("on the CPU", "number", "reason", "chips")
        parts.append(align([header, *((*refusal, chips) for refusal, chips in refused.items())]))
    failures = _by_chips((r.chip, r.failure) for r in results if r.failure)
    if failures:
        parts.append("\n".join(f"{chips}: {failure}" for failure, chips in failures.items()))
    if versions := dict.fromkeys(result.sdk for result in results if result.sdk):
        remarks = dict.fromkeys(remark for result in results for remark in result.remarks)
        note = f"SDK {', '.join(versions)}: a phone's runtime must not be older"
        parts.append("\n".join([note, *remarks]))
    return "\n\n".join(parts)


def _row(result: Compilation) -> tuple[str, ...]:
    if result.failure:
        return str(result.chip), "failed", "", "", f"{result.seconds:.1f}", ""
    return (
        str(result.chip),
        f"{result.taken}/{result.operations}",
        str(result.partitions),
        f"{result.size_bytes / 1e6:.2f}",
        f"{result.seconds:.1f}",
        str(result.file),
    )


def _by_chips(items: Iterable[tuple[Chip, T]]) -> dict[T, str]:
    """The chips that each value is of."""
    chips: dict[T, list[str]] = {}
    for chip, value in items:
        chips.setdefault(value, []).append(str(chip))
    return {value: ", ".join(names) for value, names in chips.items()}
