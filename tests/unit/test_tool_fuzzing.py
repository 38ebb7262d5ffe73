"""Generated and damaged output of the benchmark tool: its own figures or an error, never other figures."""

import math
import re
import statistics
from dataclasses import astuple, replace

import pytest
from fixtures.tool_logs import (
    ANNOUNCED,
    LITERT,
    LOG,
    PROFILE,
    message,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sqb_tflite.bench.devices import tool_output, tool_result
from sqb_tflite.bench.devices.tool_lines import ToolError
from sqb_tflite.bench.devices.tool_profile import time_by_kind
from sqb_tflite.bench.devices.tool_statistics import Statistics

FUZZ = settings(max_examples=300, deadline=None, derandomize=True, database=None)
COUNT = re.findall("^INFO: (count=.*)$", LOG, re.M)[-1]

runs_us = st.one_of(
    st.lists(st.integers(0, 10**8), min_size=1, max_size=40),
    st.lists(st.integers(999_990, 1_000_010), min_size=1, max_size=40),
    st.tuples(st.integers(0, 10**7), st.integers(1, 30)).map(lambda pair: [pair[0]] * pair[1]),
)


def counted(samples: list[int], year: int) -> tuple[str, Statistics]:
    """The line that the tool of a year prints for these runs, and its statistics in milliseconds."""
    count, curr, low, high = len(samples), samples[-1], min(samples), max(samples)
    at = {p: sorted(samples)[count * p // 100] for p in (5, 50, 95)}
    average = f"{sum(samples) / count:g}"
    deviation = math.isqrt(int(statistics.pvariance(samples)))
    same = "(all same)" if low == high and count > 1 else ""
    spread = "" if low == high else f" min={low} max={high} avg={average} std={deviation}"
    if year == 2018:
        line = f"curr={curr} count={count}{same}{spread}"
    else:
        first = "" if low == high else f" first={samples[0]}"
        line = f"count={count}{first} curr={curr}{same}{spread}"
    if year == 2024:
        line += f" p5={at[5]} median={at[50]} p95={at[95]}"
    if low == high:
        return line, Statistics(count, *[low / 1e3] * 3, 0, *[low / 1e3] * 4)
    of_year = [at[50] / 1e3, at[5] / 1e3, at[95] / 1e3] if year == 2024 else [None] * 3
    first = None if year == 2018 else samples[0] / 1e3
    mean = round(float(average) / 1e3, 9)
    return line, Statistics(count, low / 1e3, high / 1e3, mean, deviation / 1e3, *of_year, first)


@FUZZ
@given(runs_us, runs_us, st.sampled_from([2018, 2020, 2024]))
def test_statistics_of_any_runs_survive_printing_and_parsing(warmup_us, regular_us, year):
    (warmup_line, warmup), (line, inference) = counted(warmup_us, year), counted(regular_us, year)
    averages = [f"{sum(runs) / len(runs):g}" for runs in (warmup_us, regular_us)]
    output = tool_output.parse(
        f"{ANNOUNCED}\n{warmup_line}\n\n{ANNOUNCED}\n{line}\n\n"
        f"Inference timings in us: Init: 3337, First inference: {warmup_us[0]}, "
        f"Warmup (avg): {averages[0]}, Inference (avg): {averages[1]}\n"
    )
    assert (output.warmup, output.inference) == (warmup, inference)


def damaged(text: str) -> st.SearchStrategy[str]:
    """Overwritten, deleted and doubled characters; lost, doubled and moved lines; a cut end."""
    positions = st.integers(0, len(text))
    characters = st.text("0123456789.=-+e ()\n\tx", max_size=3)

    def splice(edited: str, edit: tuple[int, int, str]) -> str:
        start, length, new = edit
        return edited[:start] + new + edited[start + length :]

    def move(edited: str, pair: tuple[int, int]) -> str:
        lines = edited.split("\n")
        line = lines.pop(pair[0] % len(lines))
        lines.insert(pair[1] % (len(lines) + 1), line)
        return "\n".join(lines)

    def double(edited: str, pair: tuple[int, int]) -> str:
        start, end = sorted(pair)
        return edited[:end] + edited[start:]

    edits = st.one_of(
        st.tuples(positions, st.integers(0, 3), characters).map(lambda e: lambda t: splice(t, e)),
        st.tuples(positions, st.integers(0, 300), st.just("")).map(
            lambda e: lambda t: splice(t, e)
        ),
        st.tuples(positions, positions).map(lambda pair: lambda t: move(t, pair)),
        st.tuples(positions, positions).map(lambda pair: lambda t: double(t, pair)),
        positions.map(lambda position: lambda t: t[:position]),
        st.permutations(range(text.count("\n") + 1)).map(
            lambda order: lambda t: "\n".join(t.split("\n")[i] for i in order if i <= t.count("\n"))
        ),
    )

    def apply(steps: list) -> str:
        edited = text
        for step in steps:
            edited = step(edited)
        return edited

    return st.lists(edits, min_size=1, max_size=3).map(apply)


def parsed(text: str) -> tool_output.Output | None:
    try:
        return tool_output.parse(text)
    except ToolError as error:
        assert len(str(error).splitlines()) == 1 and error.cause in ("flags", "failed", "garbled")
        return None


def assert_stands_in(output: tool_output.Output, text: str) -> None:
    """Every figure is the one of that name in the last count= line of the text.

    More cannot be checked: with a digit overwritten within bounds, a log is as valid as any.
    """
    lines = re.findall(r"^\s*(?:INFO: )?((?:count|curr)=.*)$", text, re.M)
    if not lines:
        assert output.flavor == "litert" and output.inference.median is None
        stated = re.findall(r"Inference \((?:min|max|avg|std)\): +([0-9.]+)", text)
        assert {f"{value:.2f}" for value in astuple(output.inference)[1:5]} <= set(stated)
        return
    stated = {name: float(value) for name, value in re.findall(r"(\w+)=([0-9.e+]+)", lines[-1])}
    names = ("count", "min", "max", "avg", "std", "median", "p5", "p95", "first")
    for name, value in zip(names, astuple(output.inference), strict=True):
        if "min" not in stated and name != "count":
            assert value == (0 if name == "std" else stated["curr"] / 1e3)
        elif name == "count":
            assert value == stated[name]
        else:
            assert value == (round(stated[name] / 1e3, 9) if name in stated else None)
    average = re.findall(r"Inference \(avg\): +([0-9.e+]+)", text)[-1]
    if output.flavor == "litert":
        assert output.inference.mean == pytest.approx(float(average), abs=0.006)
    else:
        assert f"{output.inference.mean * 1e3:g}" == average


@FUZZ
@given(st.sampled_from([LOG, LOG + PROFILE, LITERT]).flatmap(damaged))
def test_a_damaged_log_gives_an_error_or_what_it_states(text):
    if output := parsed(text):
        assert_stands_in(output, text)
        inference = output.inference
        assert 0 <= inference.min <= inference.mean * 1.00001 and inference.count > 0
        assert all(math.isfinite(value) for value in astuple(inference) if value is not None)
        for profile in output.profiles:
            kinds = time_by_kind([profile])
            assert len(profile.nodes) == sum(kind.count for kind in kinds)
            assert sum(kind.avg_ms for kind in kinds) <= 1.01 * profile.average_ms + 1e-3


@FUZZ
@given(st.integers(0, len(LOG) - 1), st.sampled_from("0123456789. "))
def test_one_overwritten_character_changes_no_figure_that_is_printed_twice(position, character):
    """Average, initialization, and the warm-up's first and average; the others have only bounds."""
    text = LOG[:position] + character + LOG[position + 1 :]
    if output := parsed(text):
        original = tool_output.parse(LOG)
        assert output.inference.mean == original.inference.mean
        assert output.init_ms == original.init_ms
        assert (output.warmup.first, output.warmup.mean) == (81.913, 58.9847)
        if COUNT in text:
            assert output.inference == original.inference


def test_a_lost_line_changes_no_figure():
    """With each line removed, and with each two lines swapped."""
    lines, original = LOG.splitlines(), tool_output.parse(LOG)
    accepted = 0
    for first in range(len(lines)):
        for second in range(first, len(lines)):
            swapped = lines.copy()
            swapped[first], swapped[second] = swapped[second], swapped[first]
            texts = [swapped] if second > first else [lines[:first] + lines[first + 1 :]]
            for text in texts:
                if output := parsed("\n".join(text)):
                    accepted += 1
                    assert replace(output, delegations=()).inference == original.inference
                    assert output.warmup == original.warmup
    assert accepted > len(lines)


pieces = st.sampled_from([*LOG.splitlines(), *LITERT.splitlines(), *PROFILE.splitlines()])


@FUZZ
@given(
    st.one_of(st.text(), st.lists(st.one_of(pieces, pieces, st.text(max_size=20))).map("\n".join))
)
def test_any_text_gives_an_error_or_a_result(text):
    for read in (tool_output.parse_flags, tool_output.detect_flavor, parsed):
        try:
            read(text)
        except ToolError as error:
            assert len(str(error).splitlines()) == 1


@FUZZ
@given(
    st.one_of(
        st.binary(),
        st.tuples(st.integers(0, 80), st.binary(max_size=5)).map(
            lambda cut: message().SerializeToString()[: cut[0]] + cut[1]
        ),
    )
)
def test_any_bytes_give_an_error_or_a_result(data):
    try:
        inference = tool_result.parse_result(data).inference
    except ToolError as error:
        assert error.cause == "garbled" and len(str(error).splitlines()) == 1
    else:
        assert 0 <= inference.min <= inference.max < math.inf and inference.count > 0
