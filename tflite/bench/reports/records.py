"""What tables, plots, the page and comparisons all ask of a result.

A result is `{"records", "failures", "missing"}`: what was measured, what failed and why, and which lines
of the plan have no record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError

Record = dict[str, Any]
Result = dict[str, Any]

# How a run was set up, but for its length.
SETTING = ("threads", "delegate", "core_mask")
# Recipes that compute in floating point: what BERT-base in float32 is compared with.
FLOAT_RECIPES = ("float32", "fp16")
_KEYS = ("package", "device", "hardware", *SETTING, "seq_length", "latency_ms")


def read(path: str | Path) -> Result:
    """A result from a file that a report or `--json` wrote.

    Raises:
        InputError: naming the file: it cannot be read, is no JSON, or is no result.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # of UTF-8 and of JSON
        raise InputError(f"{path}: no JSON: expected records.json of a report") from None
    reason = _flaw(result)
    if reason:
        raise InputError(f"{path}: no benchmark result: {reason}")
    return result


def by_name(items: Iterable[Record]) -> dict[str, str]:
    """{package's path: short name}, in the order of the plan; the path itself if two files share a name.

    `items` are records, failures or missing lines. Names are printable.
    """
    paths = list(dict.fromkeys(item["package"] for item in items if item["package"]))
    stems = [Path(path).stem for path in paths]
    return {
        p: printable(s if stems.count(s) == 1 else p) for p, s in zip(paths, stems, strict=True)
    }


def names_of(result: Result) -> dict[str, str]:
    """`by_name` of all that the result mentions."""
    return by_name([*result["records"], *result["failures"], *result["missing"]])


def by_device(records: Iterable[Record]) -> dict[str, list[Record]]:
    """{title of a device: its records}, in the order of the result.

    `host` is another device in a result of another machine.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(title(record["device"], record["hardware"]), []).append(record)
    return found


def kind(device: str) -> str:
    """How a device is reached: `host`, `local` (both this machine), `ssh`, `ios` or `adb`."""
    prefix = device.partition(":")[0]
    return prefix if prefix in ("host", "local", "ssh", "ios") else "adb"


def title(device: str, hardware: Mapping[str, Any]) -> str:
    """A device for people: name, the way to it and, if it stands in for a phone, that it is none."""
    name, way = hardware["name"], kind(device)
    address = device.removeprefix(way).removeprefix(":")
    known = way if address == name else f"{way} {address}".strip()
    shown = printable(f"{name} ({known})" if name else known)
    warning = not_a_phone(hardware)
    return f"{shown} [{warning}]" if warning else shown


def titles(result: Result) -> dict[str, str]:
    """{device: `title`} of all that the result mentions; of one that only failed, as far as known."""
    known = {missing["device"]: {"name": None} for missing in result["missing"]}
    known |= {failed["device"]: {"name": failed["hardware_name"]} for failed in result["failures"]}
    known |= {record["device"]: record["hardware"] for record in result["records"]}
    return {device: title(device, hardware) for device, hardware in known.items()}


def not_a_phone(hardware: Mapping[str, Any]) -> str | None:
    """What to say of a device that passes for a phone; None: it does not."""
    if "test device" in (hardware["name"] or "").lower():
        return "test device: not a phone"
    return "emulator: not a phone" if hardware.get("emulator") else None


def on_text(records: Sequence[Record]) -> list[Record]:
    """The records of every text at its own length."""
    return [record for record in records if record["seq_length"] is None]


def of_lengths(records: Sequence[Record]) -> list[Record]:
    """The records at a number of tokens."""
    return [record for record in records if record["seq_length"] is not None]


def varying(records: Sequence[Record], key: str) -> bool:
    """Whether the records differ in a key's value."""
    return len({record[key] for record in records}) > 1


def setting(record: Record) -> tuple[Any, ...]:
    """The values of `SETTING`."""
    return tuple(record[key] for key in SETTING)


def milliseconds(record: Record) -> float:
    """The median; the mean where the tool gave no median (see `is_mean`)."""
    times = record["latency_ms"]
    return times["mean"] if is_mean(record) else times["median"]


def is_mean(record: Record) -> bool:
    """Whether only the mean of the times is known: old builds of the tool print no median."""
    return record["latency_ms"]["median"] is None


def ratio(slow: Record, fast: Record) -> float:
    """Time of one over time of the other: medians, or means of both where one has no median."""
    figure = "mean" if is_mean(slow) or is_mean(fast) else "median"
    return slow["latency_ms"][figure] / fast["latency_ms"][figure]


def speed_up(record: Record, records: Sequence[Record]) -> float | None:
    """How many times as fast as the fastest BERT-base of a device's records: set up alike, as long.

    A recipe that computes in floating point is compared with BERT-base in float32, others with the stock
    converter's int8 weights. None: not measured, or only one of the two pads its input.
    """
    recipe = "float32" if record["recipe"] in FLOAT_RECIPES else "dynamic"
    times = [
        ratio(other, record)
        for other in records
        if (other.get("baseline"), other["recipe"]) == ("bert-base", recipe)
        and all(other[key] == record[key] for key in ("seq_length", *SETTING))
        and _padded_to(other, records) == _padded_to(record, records)
    ]
    return min(times) if times and record["recipe"] else None


def _padded_to(record: Record, records: Sequence[Record]) -> int | None:
    """The length that a record's input was padded to.

    Texts at their own lengths are padded, which their record does not say, by a package of one length:
    that pads at shorter lengths too.
    """
    if record["seq_length"] is not None:
        return record.get("padded_to")
    same = (r for r in of_lengths(records) if r["package"] == record["package"])
    return max((r.get("padded_to") or 0 for r in same), default=0) or None


def focus(records: Sequence[Record]) -> list[Record]:
    """The records to compare packages by: one setting and length of one device.

    The one that most packages were measured at; of several the longest, then the fewest threads, then
    the first of the plan. Every text at its own length counts as the shortest.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault((record["seq_length"], *setting(record)), []).append(record)

    def rank(key: tuple[Any, ...]) -> tuple[int, int, int]:
        length, threads, *_ = key
        return len(groups[key]), length or 0, -threads

    return groups[max(groups, key=rank)] if groups else []


def marks(record: Record) -> list[str]:
    """What a reader must know of a record before trusting its figure."""
    found = ["throttled"] if record.get("throttled") else []
    if record.get("padded_to"):
        found.append(f"padded to {record['padded_to']}")
    if is_mean(record):
        found.append("mean, not median")
    delegated = record.get("delegated")
    if delegated and delegated["extent"] == "none":
        found.append("not delegated")
    if delegated and delegated["extent"] == "partial":
        known = delegated["nodes"] is not None and delegated["total"] is not None
        nodes = f"{delegated['nodes']}/{delegated['total']}" if known else "in part"
        found.append(f"delegated {nodes}")
    return found


def where(record: Record) -> str:
    """Length and setting of a record in words, as `128 tokens, 2 threads, gpu`."""
    length = record["seq_length"]
    parts = ["each text" if length is None else f"{length} tokens", threads(record["threads"])]
    parts += [record["delegate"]] if record["delegate"] != "xnnpack" else []
    parts += [f"cores {record['core_mask']}"] if record["core_mask"] else []
    return ", ".join(parts)


def threads(count: int) -> str:
    """As `2 threads`."""
    return f"{count} thread" + ("s" if count > 1 else "")


def printable(text: str) -> str:
    """`text` on one line, without what would move a terminal's cursor or break an SVG."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _flaw(result: Any) -> str | None:
    """Why a JSON value is no result; None: it is one."""
    if not isinstance(result, dict) or not isinstance(result.get("records"), list):
        return 'expected {"records": [...], "failures": [...], "missing": [...]}'
    for index, record in enumerate(result["records"]):
        reason = _record_flaw(record)
        if reason:
            return f"record {index} {reason}"
    absent = [key for key in ("failures", "missing") if not isinstance(result.get(key), list)]
    return f"it has no list of {' and '.join(absent)}" if absent else None


def _record_flaw(record: Any) -> str | None:
    if not isinstance(record, dict):
        return "is no object"
    if "host" in record and "hardware" not in record:
        return "is an earlier version's ('host' in place of 'hardware'): measure again"
    absent = [key for key in _KEYS if key not in record]
    if absent:
        return f"has no {', '.join(absent)}"
    if not isinstance(record["hardware"], dict) or "name" not in record["hardware"]:
        return "has no name in its hardware"
    times, samples = record["latency_ms"], record.get("samples_ms") or []
    if not isinstance(times, dict) or not _is_time(times.get("mean")):
        return "has no mean above 0 in its latency_ms"
    if times.get("median") is not None and not _is_time(times["median"]):
        return "has no median above 0 in its latency_ms"
    if not isinstance(samples, list) or not all(map(_is_time, samples)):
        return "has samples_ms that are not all numbers above 0"
    return None


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0
