"""One start of the tool as the journal keeps it, and the record of several starts."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sqb_tf.json_schema import check_json

from .. import latency_stats
from ..plan import Measurement
from ..record import Delegation, Record, compiled_for, package_fields
from .delegation import find_delegation, what_ran
from .device_inputs import PreparedPackage
from .tool_output import Output
from .tool_profile import outside_delegates, time_by_kind

_COLD_START_NAMES = (
    *("init_ms", "first_run_ms"),
    *("peak_memory_mb", "private_memory_mb", "total_memory_mb"),
)


def repeat_from_output(output: Output, delegate: str) -> dict[str, Any]:
    """The figures of one start, ready for JSON."""
    latency = dataclasses.asdict(output.inference)
    latency.pop("first")
    delegation = find_delegation(output.delegations, delegate)
    if delegation and output.profiles:
        outside, percent = outside_delegates(output.profiles)
        delegation = dataclasses.replace(delegation, outside=outside, outside_percent=percent)
    operations = [dataclasses.asdict(operation) for operation in time_by_kind(output.profiles)]
    return latency | {
        "init_ms": output.init_ms,
        "first_run_ms": output.warmup.first if output.warmup else None,
        "peak_memory_mb": output.overall_memory_mb,
        "private_memory_mb": output.private_memory_mb,
        "total_memory_mb": output.peak_memory_mb,
        "delegated": delegation and dataclasses.asdict(delegation),
        "profile": operations or None,
    }


def build_record(
    measurement: Measurement,
    package: PreparedPackage,
    repeats: Sequence[Mapping[str, Any]],
    **device_fields: Any,
) -> Record:
    """The record of a measurement from its starts.

    Args:
        device_fields: `device`, `hardware`, `tool` and `text` of the record, as JSON.
    """
    timed = [repeat for repeat in repeats if not repeat["profiled"]]
    profiled = next((repeat for repeat in reversed(repeats) if repeat["profiled"]), None)
    times = [latency_stats.repeat_time(repeat) for repeat in timed]
    states = [state for repeat in timed for state in repeat["states"]]
    inputs = package.inputs[measurement.seq_length]
    delegated = (profiled or timed[-1])["delegated"]
    npu = compiled_for(package.info)
    delegation = delegated and check_json(delegated, Delegation, "the journal: delegated")
    accelerator, share = what_ran(measurement.delegate, delegation, npu)
    fields = {
        **measurement.to_dict(),
        **package_fields(package.info),
        **device_fields,
        "npu": npu and dataclasses.asdict(npu),
        "accelerator": accelerator,
        "accelerator_share": share,
        "signature": inputs.signature,
        "padded_to": inputs.length if inputs.length != measurement.seq_length else None,
        "timed": "invoke",
        "latency_ms": dataclasses.asdict(latency_stats.summarize_repeats(timed)),
        "samples_ms": times,
        "ci95_ms": latency_stats.repeat_interval(times),
        **{name: _median(timed, name) for name in _COLD_START_NAMES},
        "answer_difference": max(_known(repeats, "answer_difference"), default=None),
        "delegated": delegated,
        "states": states,
        "throttled": list(dict.fromkeys(r for state in states for r in state["throttled"])),
        "profile": profiled and profiled["profile"],
        "versions": {},
        "date": states[-1]["at"],
    }
    return Record.from_json(fields)


def _median(repeats: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = _known(repeats, name)
    return round(statistics.median(values), 3) if values else None


def _known(repeats: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """A figure of the starts that have it; a journal of an earlier version lacks some."""
    return [value for repeat in repeats if (value := repeat.get(name)) is not None]
