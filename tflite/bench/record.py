"""The results of a benchmark: a `Record` for each measurement, and the `Result` that `records.json` holds.

The JSON keys are a contract: other programs read them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Required, TypedDict

from sqb_tf.errors import InputError
from sqb_tf.json_schema import Amount, Count, Name, Natural, Size, Time, check_json, read_json_file

from ..package.info import PackageInfo
from ..package.properties import NPU, is_compiled

RECORDS_FILE = "records.json"  # a result in the folder of a report
MAX_BYTES = 1 << 29  # of it: a record on real text has a time for each text
SHORTEST_MS = 1e-9  # ratios of shorter ones are infinite

# Recipes that compute in floating point.
FLOAT_RECIPES = ("float32", "fp16")

# What a record must have; everything else has a default, for files of earlier versions.
_REQUIRED = (
    *("package", "device", "hardware", "threads", "delegate", "core_mask", "seq_length"),
    "latency_ms",
)


@dataclasses.dataclass(frozen=True)
class Latency:
    """Times of the runs in milliseconds; a percentile is None where the tool's build prints none."""

    mean: Amount
    min: Amount | None = None
    p5: Amount | None = None
    median: Amount | None = None
    p95: Amount | None = None
    std: Amount | None = None  # divides by the count
    count: Natural | None = None


@dataclasses.dataclass(frozen=True)
class Delegation:
    """How much of one subgraph a delegate took."""

    name: Name = ""  # the flag's ("XNNPACK", "GPU") where one asked for it, else the delegate's own
    extent: Name = "none"  # "full", "partial" or "none"
    nodes: Natural | None = None
    total: Natural | None = None  # None: builds before 2021 print only `nodes`
    partitions: Natural | None = None
    kernels: Natural | None = None  # pieces that it runs as; None: not printed
    outside: Natural | None = (
        None  # operations that no delegate took; None, as the next: no profile
    )
    outside_percent: Amount | None = None  # of a run's time


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What a package was compiled for, and how much of it the NPU runs, as its property `npu` says."""

    chip: Name  # such as `qualcomm:SM8750`
    operations: Natural  # of the package that was compiled, all signatures together
    taken: Natural  # of them by the NPU
    partitions: Natural | None = None  # in so many binaries
    sdk: Name | None = None  # its version, where the maker says it


@dataclasses.dataclass(frozen=True)
class Operation:
    """All nodes of one type in a profile, by their shares in the tool's "Run Order"."""

    type: Name
    count: Natural  # of nodes
    avg_ms: Amount  # in a run, all nodes together
    percent: Amount  # of the time of all types
    memory_kb: Amount | None = None
    times_called: Natural | None = None  # in a run


@dataclasses.dataclass(frozen=True)
class ToolInfo:
    """The `benchmark_model` that measured; `mode` is `binary`, `app` or `ios app`.

    It has a TFLite runtime of its own, and prints no version of it: `date`, the file's, is what is known of
    its age.
    """

    name: Name
    sha256: Name | None
    mode: Name
    date: Name | None = None
    npu_libraries: Name | None = None  # sha256 of those that it was started with, and their names


@dataclasses.dataclass(frozen=True)
class TextSource:
    """Where the inputs came from, and how many texts it has."""

    source: Name
    texts: Natural


@dataclasses.dataclass(frozen=True)
class TextSamples:
    """Tokens and milliseconds of each text at its own length."""

    tokens: tuple[Natural, ...]
    ms: tuple[Amount, ...]


@dataclasses.dataclass(frozen=True)
class TextLengths:
    """Tokens of the texts."""

    min: Natural
    median: Amount
    mean: Amount
    max: Natural


class _Hardware(TypedDict, total=False):
    """What tables and plots show of `Record.hardware`, which may have more."""

    name: Required[Name]
    cpu: Name | None
    simd: list[Name] | None
    cores: Natural | None
    memory_gb: Amount | None
    clusters: list[tuple[float | None, float | None]] | None
    os: Name | None
    abi: Name | None
    governor: Name | None
    load_average: Amount | None


class _State(TypedDict, total=False):
    """What tables and plots show of `Record.states`, which may have more."""

    at: Time | None
    temperature_c: float | None
    battery_percent: float | None
    load_average: Amount | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement: a package with a number of threads at a length on a device.

    Attributes:
        package: path of the file; its hash, size, recipe, lowering and baseline are those of `PackageInfo`.
        device: as `--device` names it.
        core_mask: hexadecimal, as `taskset` takes it; None: all cores.
        gpu_precision: what a GPU might compute in, `fp16` or `fp32`; None: no GPU was asked for.
        accelerator: what ran the graph, or a part of it, by the tool's own lines: `cpu`, `gpu`, `npu`, or
            `nnapi`, which chooses by itself and does not say. None: a record of an earlier version.
        accelerator_share: of the graph's operations, those that it ran; the CPU ran the others. Of several
            subgraphs, that of the one delegated most. None: the build does not print it.
        npu: what the package was compiled for; None: it was not.
        signature: names of the signatures that ran, separated by commas.
        seq_length: in tokens; None: every text at its own length.
        padded_to: the fixed length of the signature where it is longer than `seq_length`.
        timed: `invoke`, the run alone, or `call`: resize, allocate, copy and run.
        samples_ms: one time for each run; on a device one for each start of the tool.
        ci95_ms: the 95% confidence interval of the median; None: too few samples.
        init_ms, first_run_ms, peak_memory_mb, private_memory_mb, total_memory_mb: of a fresh process, see
            `host.cold_start.measure`. Of a device `private_memory_mb` is all of the tool's process at the end
            of the runs, known to 1 MiB.
        answer_difference: how far the outputs of the last run are from those of our interpreter on this
            machine, see `devices.answers`; the largest of the starts. None: not compared.
        states: the device before and after each start: temperature, clocks and so on.
        throttled: why the device was slowed down; empty: it was not.
        profile: time by type of operator.
        hardware: what is known of the device; it has at least a `name`.
        versions: of the libraries that ran, by name.
        lengths, samples: only of texts at their own lengths.
    """

    package: Name
    sha256: Name | None = None
    size_bytes: Size | None = None
    recipe: Name | None = None
    lowering: Name | None = None
    baseline: Name | None = None
    device: Name
    threads: Count
    delegate: Name
    core_mask: Name | None
    gpu_precision: Name | None = None
    accelerator: Name | None = None
    accelerator_share: Amount | None = None
    npu: Compiled | None = None
    signature: Name | None = None
    seq_length: Count | None
    padded_to: Count | None = None
    timed: Name = "invoke"
    latency_ms: Latency
    samples_ms: tuple[Amount, ...] = ()
    ci95_ms: tuple[Amount, Amount] | None = None
    init_ms: Amount | None = None
    first_run_ms: Amount | None = None
    peak_memory_mb: Amount | None = None
    private_memory_mb: Amount | None = None
    total_memory_mb: Amount | None = None
    delegated: Delegation | None = None
    answer_difference: Amount | None = None
    states: tuple[Mapping[str, Any], ...] = ()
    throttled: tuple[Name, ...] = ()
    profile: tuple[Operation, ...] | None = None
    hardware: Mapping[str, Any]
    tool: ToolInfo | None = None
    versions: Mapping[Name, Name] = dataclasses.field(default_factory=dict)
    date: Name | None = None
    text: TextSource | None = None
    lengths: TextLengths | None = None
    samples: TextSamples | None = None

    @classmethod
    def from_json(cls, value: Any, name: str = "the record") -> Record:
        """A record from JSON, of this or an earlier version; keys of later versions are dropped.

        Raises:
            InputError: `name` and what is wrong with it.
        """
        _check_record(value, name)
        # Null stood for nothing in them.
        lists = ("samples_ms", "states", "throttled", "versions")
        record = check_json(
            {key: v for key, v in value.items() if v is not None or key not in lists}, cls, name
        )
        check_json(record.hardware, _Hardware, f"{name}: hardware")
        check_json(record.states, tuple[_State, ...], f"{name}: states")
        record._check_times(name)
        return record

    def _check_times(self, name: str) -> None:
        """`InputError` for times that cannot be compared."""
        times = self.latency_ms
        if not _is_time(times.mean):
            raise InputError(f"{name} has no mean above 0 in its latency_ms")
        if times.median is not None and not _is_time(times.median):
            raise InputError(f"{name} has no median above 0 in its latency_ms")
        if not all(map(_is_time, (*self.samples_ms, *self.text_ms))):
            raise InputError(f"{name} has samples that are not all times above 0")
        if len(self.text_tokens) != len(self.text_ms):
            raise InputError(f"{name} has samples of other lengths than times")
        if self.seq_length is None and not self.text_ms:
            raise InputError(f"{name} has neither a seq_length nor samples of its texts")

    def to_json(self) -> dict[str, Any]:
        """The record by the keys of the contract."""
        values = dataclasses.asdict(self)
        for key in ("lengths", "samples"):
            if values[key] is None:
                del values[key]
        return _plain(values)

    @property
    def setting(self) -> tuple[int, str, str | None, str | None]:
        """How the run was set up, apart from its length: threads, delegate, cores, the GPU's precision.

        Earlier versions left the precision to the tool, which allowed float16.
        """
        default = "fp16" if self.delegate == "gpu" else None
        return self.threads, self.delegate, self.core_mask, self.gpu_precision or default

    @property
    def text_tokens(self) -> tuple[int, ...]:
        """Tokens of each text; empty for a record at a length."""
        return self.samples.tokens if self.samples else ()

    @property
    def text_ms(self) -> tuple[float, ...]:
        """Milliseconds of each text; empty for a record at a length."""
        return self.samples.ms if self.samples else ()

    @property
    def has_median(self) -> bool:
        """False where only the mean is known: builds of the tool before 2024 print no median."""
        return self.latency_ms.median is not None

    @property
    def typical_ms(self) -> float:
        """The median; the mean where there is no median."""
        times = self.latency_ms
        return times.mean if times.median is None else times.median


@dataclasses.dataclass(frozen=True, kw_only=True)
class Missing:
    """A measurement of the plan that has no record."""

    device: Name
    package: Name
    threads: Count
    seq_length: Count
    delegate: Name
    core_mask: Name | None
    gpu_precision: Name | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run gave no result; without a length, why a setting, or the device as a whole, gave none.

    Attributes:
        hardware_name: of the device; None: it was never reached.
        cause: a few words of a fixed set, such as `offline`, `hung`, `storage full`.
        at: date and time.
    """

    device: Name
    hardware_name: Name | None
    package: Name | None
    threads: Count | None
    seq_length: Count | None
    delegate: Name | None
    core_mask: Name | None
    gpu_precision: Name | None = None
    cause: Name
    message: str
    at: Name


@dataclasses.dataclass
class Result:
    """What was measured, what failed and why, and which measurements of the plan have no record."""

    records: list[Record] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    missing: list[Missing] = dataclasses.field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """The result in a file that a report or `--json` wrote, or in the folder of a report.

        Raises:
            InputError: it names the file, which cannot be read, is not JSON, or is not a result.
        """
        path = Path(path)
        if path.is_dir():
            path /= RECORDS_FILE
        value = read_json_file(path, dict[str, Any], max_bytes=MAX_BYTES)
        try:
            return cls.from_json(value)
        except InputError as error:
            raise InputError(f"{path}: no benchmark result: {error}") from None

    @classmethod
    def from_json(cls, value: Any) -> Result:
        """The inverse of `to_json`.

        Raises:
            InputError: what is wrong with it.
        """
        if not isinstance(value, dict) or not isinstance(value.get("records"), list):
            raise InputError('expected {"records": [...], "failures": [...], "missing": [...]}')
        records = [
            Record.from_json(record, f"record {index}")
            for index, record in enumerate(value["records"])
        ]
        absent = [key for key in ("failures", "missing") if not isinstance(value.get(key), list)]
        if absent:
            raise InputError(f"it has no list of {' and '.join(absent)}")
        return cls(
            records,
            check_json(value["failures"], list[Failure], "failures"),
            check_json(value["missing"], list[Missing], "missing"),
        )

    @classmethod
    def join(cls, results: Iterable[Result]) -> Result:
        """One result of several, such as those of devices measured separately."""
        joined = cls()
        for result in results:
            joined.records += result.records
            joined.failures += result.failures
            joined.missing += result.missing
        return joined

    def to_json(self) -> dict[str, Any]:
        """`{"records": [...], "failures": [...], "missing": [...]}`."""
        return {
            "records": [record.to_json() for record in self.records],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "missing": [dataclasses.asdict(missing) for missing in self.missing],
        }


def package_fields(info: PackageInfo) -> dict[str, Any]:
    """The fields of a `Record` that describe its package, except for the path."""
    names = ("sha256", "size_bytes", "recipe", "lowering", "baseline")
    return {name: getattr(info, name) for name in names} | {"npu": compiled_for(info)}


def compiled_for(info: PackageInfo) -> Compiled | None:
    """What a package was compiled for; None: it was not.

    Raises:
        InputError: its property is not one that `sqb compile` writes.
    """
    if not is_compiled(info.properties):
        return None
    return check_json(dict(info.properties[NPU]), Compiled, f"{info.path}: {NPU}")


def _check_record(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name} is not an object")
    if "host" in value and "hardware" not in value:
        raise InputError(
            f"{name} is an earlier version's ('host' in place of 'hardware'): measure again"
        )
    if absent := [key for key in _REQUIRED if key not in value]:
        raise InputError(f"{name} has no {', '.join(absent)}")
    if value["package"] == "":
        raise InputError(f"{name} has no package: its path is empty")


def _is_time(milliseconds: float) -> bool:
    return SHORTEST_MS <= milliseconds < math.inf


def _plain(value: Any) -> Any:
    """Replaces tuples by lists, as in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
