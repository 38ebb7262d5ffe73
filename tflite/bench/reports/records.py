"""Questions that tables, plots, the page and comparisons all ask of a result's records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.page.page import printable

from ..record import FLOAT_RECIPES, Delegation, Failure, Missing, Record, Result

USUAL_OUTSIDE_PERCENT = 10.0
IDLE_LOAD = 0.5  # a machine at rest has up to 0.3


def package_names(items: Iterable[Record | Failure | Missing]) -> dict[str, str]:
    """{path of a package: its short name}, in the order of the plan; the path itself if files share a name.

    Names are printable.
    """
    paths = list(dict.fromkeys(item.package for item in items if item.package))
    stems = [Path(path).stem for path in paths]
    return {
        p: printable(s if stems.count(s) == 1 else p) for p, s in zip(paths, stems, strict=True)
    }


def result_package_names(result: Result) -> dict[str, str]:
    """`package_names` of everything in a result."""
    return package_names([*result.records, *result.failures, *result.missing])


def group_by_device(records: Iterable[Record]) -> dict[str, list[Record]]:
    """{title of a device: its records}, in the order of the result.

    `host` is a different device in a result of another machine.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(device_title(record.device, record.hardware), []).append(record)
    return groups


def transport(device: str) -> str:
    """How a device is reached: `host`, `local` (both this machine), `ssh`, `ios` or `adb`."""
    prefix = device.partition(":")[0]
    return prefix if prefix in ("host", "local", "ssh", "ios") else "adb"


def device_title(device: str, hardware: Mapping[str, Any]) -> str:
    """A device's name, transport and address; marked if it is an emulator."""
    name, reached_by = hardware["name"], transport(device)
    address = device.removeprefix(reached_by).removeprefix(":")
    reached = reached_by if address == name else f"{reached_by} {address}".strip()
    title = printable(f"{name} ({reached})" if name else reached)
    warning = emulator_warning(hardware)
    return f"{title} [{warning}]" if warning else title


def device_titles(result: Result) -> dict[str, str]:
    """{device: title} of everything in a result; a device that only failed may have no name."""
    hardware: dict[str, Mapping[str, Any]] = {m.device: {"name": None} for m in result.missing}
    hardware |= {failure.device: {"name": failure.hardware_name} for failure in result.failures}
    hardware |= {record.device: record.hardware for record in result.records}
    return {device: device_title(device, known) for device, known in hardware.items()}


def emulator_warning(hardware: Mapping[str, Any]) -> str | None:
    """The mark of a device that emulates a phone; None: it does not."""
    return "emulator: not a phone" if hardware.get("emulator") else None


def runtime(record: Record) -> str:
    """What ran the package: our runner's library, or the runtime within `benchmark_model`, with its age."""
    tool = record.tool
    if tool:
        return f"that of {tool.name}" + (f", a file of {tool.date}" if tool.date else "")
    return ", ".join(f"{name} {v}" for name, v in record.versions.items() if name != "python")


def differing_runtimes(records: Iterable[Record]) -> dict[str, str]:
    """{title of a device: its runtimes}; empty where all are of one name and age."""
    groups = group_by_device(records)
    runtimes = {title: dict.fromkeys(map(runtime, group)) for title, group in groups.items()}
    differ = len({name for names in runtimes.values() for name in names}) > 1
    return {title: " and ".join(names) for title, names in runtimes.items()} if differ else {}


def text_records(records: Iterable[Record]) -> list[Record]:
    """The records of texts at their own lengths."""
    return [record for record in records if record.seq_length is None]


def length_records(records: Iterable[Record]) -> list[Record]:
    """The records at a number of tokens."""
    return [record for record in records if record.seq_length is not None]


def varies(records: Iterable[Any], field: str) -> bool:
    """Whether the records differ in a field."""
    return len({getattr(record, field) for record in records}) > 1


def ratio(slow: Record, fast: Record) -> float:
    """Time of one over time of the other: medians, or means of both where one has no median."""
    figure = "median" if slow.has_median and fast.has_median else "mean"
    return getattr(slow.latency_ms, figure) / getattr(fast.latency_ms, figure)


def speed_up(record: Record, records: Sequence[Record]) -> float | None:
    """How many times as fast as the device's fastest BERT-base of the same setting and length.

    A recipe that computes in floating point is compared with BERT-base in float32, others with the stock
    converter's int8 weights. None: not measured, or only one of the two pads its input.
    """
    recipe = "float32" if record.recipe in FLOAT_RECIPES else "dynamic"
    ratios = [
        ratio(bert, record)
        for bert in records
        if (bert.baseline, bert.recipe) == ("bert-base", recipe)
        and (bert.seq_length, bert.setting) == (record.seq_length, record.setting)
        and _padded_to(bert, records) == _padded_to(record, records)
    ]
    return min(ratios) if ratios and record.recipe else None


def comparable_group(records: Sequence[Record]) -> list[Record]:
    """The records to compare packages by: one setting and length of one device.

    The one that most packages were measured at; of several the longest, then the fewest threads, then the
    first of the plan. Texts at their own lengths rank last.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault((record.seq_length, *record.setting), []).append(record)

    def rank(key: tuple[Any, ...]) -> tuple[int, int, int]:
        length, threads, *_ = key
        return len(groups[key]), length or 0, -threads

    return groups[max(groups, key=rank)] if groups else []


def caveats(record: Record) -> list[str]:
    """What a reader must know before trusting a record's figures."""
    marks = ["throttled"] if record.throttled else []
    if record.padded_to:
        marks.append(f"padded to {record.padded_to}")
    if not record.has_median:
        marks.append("mean, not median")
    if (load := crowding_load(record)) is not None:
        marks.append(f"load {load:.1f} on {record.hardware['cores']} cores")
    delegated = record.delegated
    if delegated and delegated.extent == "none":
        marks.append("not delegated: ran on the CPU")
    elif record.npu and record.accelerator == "npu":
        # Nodes of a compiled graph are whole binaries: what counts is what is in them.
        left = record.npu.operations - record.npu.taken
        marks += [f"{left} of {record.npu.operations} operations on the CPU"] if left > 0 else []
    elif delegated and delegated.extent == "partial":
        marks.append(f"delegated {_delegated_part(delegated)}")
    return marks


def describe_delegate(item: Any) -> str:
    """Such as `xnnpack`, or `gpu fp32` with what the GPU may compute in, where that is known."""
    return " ".join(filter(None, [item.delegate, item.gpu_precision]))


def describe_accelerator(record: Record) -> str | None:
    """What ran a record's graph, and how much of it if not all, such as `gpu 9%`; None: unknown.

    A part never rounds to nothing or to all.
    """
    share = record.accelerator_share
    if record.accelerator is None or share is None or share >= 1:
        return record.accelerator
    percent = min(max(round(100 * share), 1), 99) if share else 0
    return f"{record.accelerator} {percent}%"


def crowding_load(record: Record) -> float | None:
    """The load average at which a record's threads had to share cores; None: they had not, or unknown.

    The device's was read before anything was measured: what it leaves of the cores must be enough for the
    threads. Those around the starts have the threads in them.
    """
    cores = record.hardware.get("cores")
    if not cores:
        return None
    before = record.hardware.get("load_average") or 0.0
    during = max((state.get("load_average") or 0.0 for state in record.states), default=0.0)
    free = max(cores - record.threads, 0)
    crowded = before > free + IDLE_LOAD or during > max(cores, record.threads) + IDLE_LOAD
    return max(before, during) if crowded else None


def is_split(record: Record) -> bool:
    """Whether a delegate took less of the graph than is usual, as far as is known.

    Look-ups and ids stay outside in every package, in 2% of the time (int8 of base size, 128 tokens) to 8%
    (the demo's, 64), and what remains is one piece.
    """
    if record.npu:  # of which nothing stays outside in a package that was compiled whole
        return record.npu.taken < record.npu.operations
    delegated = record.delegated
    if delegated is None or delegated.extent != "partial":
        return False
    if delegated.outside_percent is not None:
        return delegated.outside_percent > USUAL_OUTSIDE_PERCENT
    return delegated.kernels != 1


def _delegated_part(delegated: Delegation) -> str:
    """In the best words that the tool's figures allow: builds for Linux print no nodes."""
    if delegated.outside is not None and delegated.outside_percent is not None:
        operations = f"{delegated.outside} operation" + ("" if delegated.outside == 1 else "s")
        return f"but for {operations}, {delegated.outside_percent:.1f}% of the time"
    if delegated.nodes is not None and delegated.total is not None:
        return f"{delegated.nodes}/{delegated.total}"
    return "as one piece" if delegated.kernels == 1 else "in part"


def describe_setting(item: Any) -> str:
    """Length and setting of a record, such as `128 tokens, 2 threads, gpu`."""
    parts = [describe_length(item.seq_length), describe_threads(item.threads)]
    parts += [describe_delegate(item)] if item.delegate != "xnnpack" else []
    parts += [f"cores {item.core_mask}"] if item.core_mask else []
    return ", ".join(parts)


def describe_length(seq_length: int | None) -> str:
    """Such as `128 tokens`."""
    return "each text" if seq_length is None else f"{seq_length} tokens"


def describe_threads(count: int) -> str:
    """Such as `2 threads`."""
    return f"{count} thread" + ("s" if count > 1 else "")


def _padded_to(record: Record, records: Sequence[Record]) -> int | None:
    """The length that a record's input was padded to.

    A package of one length pads texts at their own lengths too, but their record does not say so: the
    package's records at shorter lengths do.
    """
    if record.seq_length is not None:
        return record.padded_to
    siblings = (r for r in length_records(records) if r.package == record.package)
    return max((r.padded_to or 0 for r in siblings), default=0) or None
