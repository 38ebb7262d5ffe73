"""Statistics of timings: of single runs, and of several starts of `benchmark_model`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from .record import Latency

_CONFIDENCE = 0.95
_DIGITS = 4  # 0.1 microseconds
_HALF_MICROSECOND_MS = 0.0005  # the tool's medians are whole microseconds


def summarize_samples(samples_ms: Sequence[float]) -> Latency:
    """Statistics of single runs in milliseconds: percentiles interpolate, `std` divides by the count."""
    values = {
        "min": np.min(samples_ms),
        "p5": np.percentile(samples_ms, 5),
        "median": np.median(samples_ms),
        "mean": np.mean(samples_ms),
        "p95": np.percentile(samples_ms, 95),
        "std": np.std(samples_ms),
    }
    rounded = {name: round(float(value), _DIGITS) for name, value in values.items()}
    return Latency(**rounded, count=len(samples_ms))


def sample_interval(samples_ms: Sequence[float]) -> tuple[float, float] | None:
    """The 95% confidence interval of the median, whatever the distribution of the samples.

    Its ends are two of the samples: the number of samples below the median is binomial with p = 1/2. None for
    fewer than 6 samples, since no two of those enclose the median with 95% certainty.
    """
    count = len(samples_ms)
    below = int(stats.binom.ppf((1 - _CONFIDENCE) / 2, count, 0.5))
    if count < 6 or below < 1:
        return None
    ordered = sorted(samples_ms)
    return round(ordered[below - 1], _DIGITS), round(ordered[count - below], _DIGITS)


def summarize_repeats(repeats: Sequence[Mapping[str, Any]]) -> Latency:
    """Statistics of several starts of the tool, each with statistics and a count of its own.

    The median and the percentiles are medians over the starts (None where a build prints none); mean and
    standard deviation are those of all runs pooled.
    """
    counts = np.array([repeat["count"] for repeat in repeats], float)
    means = np.array([repeat["mean"] for repeat in repeats], float)
    deviations = np.array([repeat["std"] for repeat in repeats], float)
    mean = float(np.average(means, weights=counts))
    variance = float(np.average(deviations**2 + (means - mean) ** 2, weights=counts))
    values: dict[str, float | None] = {
        "min": min(repeat["min"] for repeat in repeats),
        "p5": _median(repeats, "p5"),
        "median": _median(repeats, "median"),
        "p95": _median(repeats, "p95"),
        "std": math.sqrt(variance),
    }
    rounded = {k: None if v is None else round(float(v), _DIGITS) for k, v in values.items()}
    return Latency(mean=round(mean, _DIGITS), count=int(counts.sum()), **rounded)


def repeat_time(repeat: Mapping[str, Any]) -> float:
    """The time of a run in one start of the tool: the median, or the mean from builds before 2024."""
    return repeat["mean"] if repeat["median"] is None else repeat["median"]


def repeat_interval(times_ms: Sequence[float]) -> tuple[float, float] | None:
    """The 95% confidence interval of the mean over starts, by Student's t; None for a single start.

    The runs of one start share its memory layout and clock rates; only whole starts are independent. Equal
    times are known to half a microsecond: 0.3% of 0.17 ms.
    """
    count = len(times_ms)
    if count < 2:
        return None
    mean, error = float(np.mean(times_ms)), float(np.std(times_ms, ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1)) * error + _HALF_MICROSECOND_MS
    low = max(mean - half, 0.0)  # two starts that differ much: no time is below 0
    return round(low, _DIGITS), round(mean + half, _DIGITS)


def half_width(interval: Sequence[float]) -> float:
    """Half of an interval's width as a share of its centre."""
    low, high = interval
    return (high - low) / (high + low) if high + low > 0 else math.inf


def _median(repeats: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [repeat[name] for repeat in repeats]
    return None if None in values else float(np.median(values))
