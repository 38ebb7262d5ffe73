"""The comparison's goals: what was measured of each, and what bounds it.

Ratios are of medians. Beside each stand that of the two packages' products at the machine's limits
(`at_limits`, products.py), that of their products as LiteRT runs them (`products`, parts.py), and the one
that would be reached if ours were its products and nothing else, the other being as it is (`at_best`).
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
class Goal:
    """How many times faster than `other` one of ours is to be.

    `length` in tokens; None for SST-2's texts, each at its own length where the package takes any.
    """

    goal: float | None
    length: int | None
    what: str
    ours: str
    other: str

    @property
    def title(self) -> str:
        return f"{self.length} tokens: {self.what}" if self.length else f"texts: {self.what}"


GOALS = (
    Goal(3.2, LENGTH, "float32 against BERT-base float32", FLOAT32, "bert-base-float32-128"),
    Goal(10.0, LENGTH, "int8 against BERT-base float32", INT8, "bert-base-float32-128"),
    Goal(2.6, LENGTH, "int8 against BERT-base int8", INT8, "bert-base-dynamic-128"),
    Goal(1.0, LENGTH, "int8 against MobileBERT int8", INT8, "mobilebert-dynamic-128"),
    Goal(2.5, LENGTH, "int8 against float32", INT8, FLOAT32),
    Goal(1.3, 16, "int4 against int8", INT4, INT8),
    Goal(3.2, None, "int8 against MobileBERT int8 fixed at 128", INT8, "mobilebert-dynamic-128"),
    Goal(None, None, "int8 against MobileBERT int8 of any length", INT8, "mobilebert-dynamic-any"),
    Goal(None, None, "int8 against BERT-base int8 of any length", INT8, "bert-base-dynamic-any"),
)
# Measured beside our int8 in other turns (benchmarks/peer_inference.py).
PEER = Goal(
    1.7,
    LENGTH,
    "int8 against litert-torch and ai-edge-quantizer, same model",
    INT8,
    f"litert-torch-int8-{LENGTH}",
)
SHARE = 0.65  # of the limit
# Goal, at most, of a package's size in MB.
SIZES = ((54.0, INT8), (40.0, INT4), (28.0, INT4_ALL))
MEMORY = 1.6  # of an int8 package, times its size

Records = list[dict[str, Any]]
# Milliseconds by package and part, by tokens: "128", or of texts "25, as texts".
Parts = Mapping[str, Mapping[str, Mapping[str, float]]]


def model_operations(length: int) -> float:
    """Multiplications and additions of the model's products for a text, two for each pair of factors."""
    from sqb_tf import SqueezeBertConfig

    c = SqueezeBertConfig.from_preset(PRESET)
    size, inner = c.hidden_size, c.intermediate_size
    kernels = sum(size * size / g for g in (c.q_groups, c.k_groups, c.v_groups))
    kernels += size * size / c.post_attention_groups
    kernels += size * inner / c.intermediate_groups + inner * size / c.output_groups
    return 2 * c.num_hidden_layers * length * (kernels + 2 * length * size)


def median(records: Records, name: str, length: int | None) -> float:
    """Milliseconds, 1 thread."""
    (found,) = (
        r["latency_ms"]["median"]
        for r in records
        if Path(r["package"]).stem == name and r["seq_length"] == length and r["threads"] == 1
    )
    return found


def of_package(records: Records, name: str) -> dict[str, Any]:
    """One of its records: what is said of the file is the same in all."""
    return next(r for r in records if Path(r["package"]).stem == name)


def results(
    records: Records,
    limits: Mapping[str, float],
    least: Mapping[str, float],
    parts: Parts,
    peers: Mapping[str, Any],
    written_mb: float,
) -> list[dict[str, Any]]:
    """Each goal with what was measured, of which `at_most` or at least as much is wanted."""
    found = []
    for goal in GOALS:
        ours, other = (median(records, name, goal.length) for name in (goal.ours, goal.other))
        found.append(_ratio(goal, other / ours, least, parts))
    if theirs := peers.get(f"litert-torch-int8 {LENGTH}"):
        ratio = theirs["median"] / peers[f"{INT8} {LENGTH}"]["median"]
        found.append(_ratio(PEER, ratio, least, parts))
    found += _shares(median(records, INT8, LENGTH), limits, least, parts)
    for goal, name in SIZES:
        size = of_package(records, name)["size_bytes"] / 1e6
        what = f"{name.removeprefix(f'{NAME}-')}: MB"
        found.append({"what": what, "goal": goal, "at_most": True, "measured": size})
    return found + _memory(of_package(records, INT8), written_mb)


def _ratio(goal: Goal, measured: float, least: Mapping[str, float], parts: Parts) -> dict[str, Any]:
    found = {"what": goal.title, "goal": goal.goal, "measured": measured}
    if goal.length == LENGTH and goal.other in least:
        found["at_limits"] = least[goal.other] / least[goal.ours]
    texts = next(name for name in parts if not name.isdigit())
    mine = parts[str(goal.length) if goal.length else texts]
    # A package of a fixed length takes on texts what it takes at that length.
    other = {**parts[str(LENGTH)], **mine}[goal.other]
    found["products"] = other["products"] / mine[goal.ours]["products"]
    found["at_best"] = other["whole"] / mine[goal.ours]["products"]
    return found


def _shares(
    taken_ms: float, limits: Mapping[str, float], least: Mapping[str, float], parts: Parts
) -> list[dict[str, Any]]:
    """Of the machine's limits: as if all were int8, and as the package has it, attention being float32."""
    products = parts[str(LENGTH)][INT8]["products"]
    whole = 1e3 * model_operations(LENGTH) / limits["int8"]
    rows = (
        (SHARE, "int8's share of the limit, the whole model in int8", whole),
        (None, "int8's share of the limits of the products that it runs", least[INT8]),
    )
    return [
        {
            "what": f"{LENGTH} tokens: {what}",
            "goal": goal,
            "measured": ms / taken_ms,
            "at_best": ms / products,
        }
        for goal, what, ms in rows
    ]


def _memory(record: dict[str, Any], written_mb: float) -> list[dict[str, Any]]:
    """Peak of a process's memory by the file's size: of the file in storage, and just written."""
    rows = (
        (MEMORY, "what it adds to a process's peak memory", record["peak_memory_mb"]),
        (None, "the same of a file just written", written_mb),
        (None, "what it adds that is no file's", record["private_memory_mb"]),
    )
    return [
        {
            "what": f"int8: {what}, times the file",
            "goal": goal,
            "at_most": goal is not None,
            "measured": grown / (record["size_bytes"] / 1e6),
        }
        for goal, what, grown in rows
        if grown is not None
    ]
