"""Figures of timings, of one run each or of many starts of the tool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95
_FIGURES = ("min", "p5", "median", "mean", "p95", "std")


def of_samples(samples_ms: Sequence[float]) -> dict[str, float]:
    """Of timings in milliseconds: percentiles interpolate, `std` divides by the count."""
    figures = (
        np.min(samples_ms),
        np.percentile(samples_ms, 5),
        np.median(samples_ms),
        np.mean(samples_ms),
        np.percentile(samples_ms, 95),
        np.std(samples_ms),
    )
    found = {name: round(float(v), 4) for name, v in zip(_FIGURES, figures, strict=True)}
    return found | {"count": len(samples_ms)}


def interval_of_samples(samples_ms: Sequence[float]) -> list[float] | None:
    """The 95% confidence interval of the median: two of the samples, whatever their distribution.

    The ranks between which a fair coin's heads fall; None for fewer than the 6 samples that it takes.
    """
    count = len(samples_ms)
    below = int(stats.binom.ppf((1 - _CONFIDENCE) / 2, count, 0.5))
    if count < 6 or below < 1:
        return None
    ordered = sorted(samples_ms)
    return [round(ordered[below - 1], 4), round(ordered[count - below], 4)]


def of_repeats(repeats: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Of several starts of the tool, each with its own figures and count.

    The median, 5th and 95th percentile are the medians of theirs (None where a build prints none), mean
    and standard deviation are those of all runs together.
    """
    counts = np.array([repeat["count"] for repeat in repeats], float)
    means = np.array([repeat["mean"] for repeat in repeats], float)
    deviations = np.array([repeat["std"] for repeat in repeats], float)
    mean = float(np.average(means, weights=counts))
    variance = float(np.average(deviations**2 + (means - mean) ** 2, weights=counts))
    found: dict[str, float | None] = {
        "min": min(repeat["min"] for repeat in repeats),
        "p5": _median(repeats, "p5"),
        "median": _median(repeats, "median"),
        "mean": mean,
        "p95": _median(repeats, "p95"),
        "std": math.sqrt(variance),
    }
    rounded = {k: None if v is None else round(float(v), 4) for k, v in found.items()}
    return rounded | {"count": int(counts.sum())}


def centre(repeat: dict[str, Any]) -> float:
    """What a start of the tool took: its median, of an older build its mean."""
    return repeat["mean"] if repeat["median"] is None else repeat["median"]


def interval_of_repeats(centres_ms: Sequence[float]) -> list[float] | None:
    """The 95% confidence interval of what a start takes, by Student's t; None for a single one.

    Runs within a start share its memory and clocks, and are not independent: the starts are.
    """
    count = len(centres_ms)
    if count < 2:
        return None
    mean, error = float(np.mean(centres_ms)), float(np.std(centres_ms, ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1)) * error
    return [round(mean - half, 4), round(mean + half, 4)]


def half_width(interval: Sequence[float]) -> float:
    """Of an interval, as a share of its middle."""
    low, high = interval
    return (high - low) / (high + low) if high + low > 0 else math.inf


def _median(repeats: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [repeat[name] for repeat in repeats]
    return None if None in values else float(np.median(values))
