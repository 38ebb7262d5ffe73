"""The targets of the comparison: the measured value of each, and its upper bounds.

Ratios are of medians. Each has three bounds: both packages' matmuls at the machine's peak rate (`at_limits`,
matmul_limits.py), both packages' matmuls at their measured time (`matmuls`, op_breakdown.py), and our package
with everything but its matmuls removed against the whole of the other (`matmuls_only`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRESET = "squeezebert-base"
LENGTH = 128
NAME = "squeezebert"
FLOAT32, INT8 = f"{NAME}-float32", f"{NAME}-int8"
INT4, INT4_ALL = f"{NAME}-int4", f"{NAME}-int4-all"


@dataclasses.dataclass(frozen=True)
class Target:
    """How many times as fast as the package `baseline` our package should be.

    `length` in tokens; None: SST-2's texts, each at its own length where the package takes any.
    """

    target: float | None
    length: int | None
    description: str
    ours: str
    baseline: str

    @property
    def title(self) -> str:
        return (
            f"{self.length} tokens: {self.description}"
            if self.length
            else f"texts: {self.description}"
        )


TARGETS = (
    Target(3.2, LENGTH, "float32 against BERT-base float32", FLOAT32, "bert-base-float32-128"),
    Target(10.0, LENGTH, "int8 against BERT-base float32", INT8, "bert-base-float32-128"),
    Target(2.6, LENGTH, "int8 against BERT-base int8", INT8, "bert-base-dynamic-128"),
    Target(1.0, LENGTH, "int8 against MobileBERT int8", INT8, "mobilebert-dynamic-128"),
    Target(2.5, LENGTH, "int8 against float32", INT8, FLOAT32),
    Target(1.3, 16, "int4 against int8", INT4, INT8),
    Target(3.2, None, "int8 against MobileBERT int8 fixed at 128", INT8, "mobilebert-dynamic-128"),
    Target(
        None, None, "int8 against MobileBERT int8 of any length", INT8, "mobilebert-dynamic-any"
    ),
    Target(None, None, "int8 against BERT-base int8 of any length", INT8, "bert-base-dynamic-any"),
)
# Measured beside our int8 in an interleaved run of its own (benchmarks/peer_inference.py).
PEER = Target(
    1.7,
    LENGTH,
    "int8 against litert-torch and ai-edge-quantizer, same model",
    INT8,
    f"litert-torch-int8-{LENGTH}",
)
SHARE = 0.65  # of the peak rate
# The largest size of a package in MB.
SIZES = ((54.0, INT8), (40.0, INT4), (28.0, INT4_ALL))
MEMORY = 1.6  # the most that an int8 package adds to a process's peak, times its size

Records = list[dict[str, Any]]
# {tokens: {package: {part: milliseconds}}}; tokens are "128", or for texts "25, as texts".
Parts = Mapping[str, Mapping[str, Mapping[str, float]]]


def model_operations(length: int) -> float:
    """Multiplications and additions of the model's matmuls for a text."""
    from sqb_tf import SqueezeBertConfig

    c = SqueezeBertConfig.from_preset(PRESET)
    size, inner = c.hidden_size, c.intermediate_size
    kernels = sum(size * size / g for g in (c.q_groups, c.k_groups, c.v_groups))
    kernels += size * size / c.post_attention_groups
    kernels += size * inner / c.intermediate_groups + inner * size / c.output_groups
    return 2 * c.num_hidden_layers * length * (kernels + 2 * length * size)


def median(records: Records, name: str, length: int | None) -> float:
    """Milliseconds, 1 thread."""
    (value,) = (
        r["latency_ms"]["median"]
        for r in records
        if Path(r["package"]).stem == name and r["seq_length"] == length and r["threads"] == 1
    )
    return value


def find_record(records: Records, name: str) -> dict[str, Any]:
    """Any record of a package: the facts about the file are the same in all."""
    return next(r for r in records if Path(r["package"]).stem == name)


def results(
    records: Records,
    limits: Mapping[str, float],
    least: Mapping[str, float],
    parts: Parts,
    peers: Mapping[str, Any],
    written_mb: float,
) -> list[dict[str, Any]]:
    """Each target with its measured value; `at_most` marks those that it must not exceed."""
    rows = []
    for target in TARGETS:
        ours, theirs = (
            median(records, name, target.length) for name in (target.ours, target.baseline)
        )
        rows.append(_ratio(target, theirs / ours, least, parts))
    if peer := peers.get(f"litert-torch-int8 {LENGTH}"):
        ratio = peer["median"] / peers[f"{INT8} {LENGTH}"]["median"]
        rows.append(_ratio(PEER, ratio, least, parts))
    rows += _shares(median(records, INT8, LENGTH), limits, least, parts)
    for target, name in SIZES:
        size = find_record(records, name)["size_bytes"] / 1e6
        title = f"{name.removeprefix(f'{NAME}-')}: MB"
        rows.append({"what": title, "goal": target, "at_most": True, "measured": size})
    return rows + _memory(find_record(records, INT8), written_mb)


def _ratio(
    target: Target, measured: float, least: Mapping[str, float], parts: Parts
) -> dict[str, Any]:
    row = {"what": target.title, "goal": target.target, "measured": measured}
    if target.length == LENGTH and target.baseline in least:
        row["at_limits"] = least[target.baseline] / least[target.ours]
    texts = next(name for name in parts if not name.isdigit())
    at_length = parts[str(target.length) if target.length else texts]
    # On texts, a package of a fixed length takes the time of that length.
    theirs = {**parts[str(LENGTH)], **at_length}[target.baseline]
    ours = at_length[target.ours]
    row["matmuls"] = theirs["matmuls"] / ours["matmuls"]
    row["matmuls_only"] = theirs["whole"] / ours["matmuls"]
    return row


def _shares(
    measured_ms: float, limits: Mapping[str, float], least: Mapping[str, float], parts: Parts
) -> list[dict[str, Any]]:
    """Shares of the peak rate: as if the whole model were int8, and with attention in float32, as it is."""
    matmuls = parts[str(LENGTH)][INT8]["matmuls"]
    whole = 1e3 * model_operations(LENGTH) / limits["int8"]
    rows = (
        (SHARE, "share of the peak int8 rate, the whole model in int8", whole),
        (None, "share of the peak rates, each matmul in the dtype it runs in", least[INT8]),
    )
    return [
        {
            "what": f"{LENGTH} tokens: int8's {title}",
            "goal": target,
            "measured": ms / measured_ms,
            "matmuls_only": ms / matmuls,
        }
        for target, title, ms in rows
    ]


def _memory(record: dict[str, Any], written_mb: float) -> list[dict[str, Any]]:
    """Memory that a package adds, divided by the file's size: read from storage, and just written."""
    rows = (
        (MEMORY, "rise of a process's peak memory", record["peak_memory_mb"]),
        (None, "the same with a file just written", written_mb),
        (None, "rise of private memory", record["private_memory_mb"]),
    )
    return [
        {
            "what": f"int8: {title}, times the file",
            "goal": target,
            "at_most": target is not None,
            "measured": rise / (record["size_bytes"] / 1e6),
        }
        for target, title, rise in rows
        if rise is not None
    ]
