"""The results of a benchmark: a `Record` for each measurement, and the `Result` that `records.json` holds.

The JSON keys are a contract: other programs read them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sqb_tf.errors import InputError

from ..package.info import PackageInfo

T = TypeVar("T")
RECORDS_FILE = "records.json"  # a result in the folder of a report

# What a record must have; everything else has a default, for files of earlier versions.
_REQUIRED = (
    *("package", "device", "hardware", "threads", "delegate", "core_mask", "seq_length"),
    "latency_ms",
)


@dataclasses.dataclass(frozen=True)
class Latency:
    """Times of the runs in milliseconds; a percentile is None where the tool's build prints none."""

    mean: float
    min: float | None = None
    p5: float | None = None
    median: float | None = None
    p95: float | None = None
    std: float | None = None  # divides by the count
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class Delegation:
    """How much of one subgraph a delegate took."""

    name: str = ""  # the flag's ("XNNPACK", "GPU") where one asked for it, else the delegate's own
    extent: str = "none"  # "full", "partial" or "none"
    nodes: int | None = None
    total: int | None = None  # None: builds before 2021 print only `nodes`
    partitions: int | None = None


@dataclasses.dataclass(frozen=True)
class Operation:
    """All nodes of one type in a profile: a row of the tool's "Summary by node type"."""

    type: str
    count: int  # of nodes
    avg_ms: float  # in a run, all nodes together
    percent: float  # of the time of all types
    memory_kb: float | None = None
    times_called: int | None = None  # in a run


@dataclasses.dataclass(frozen=True)
class ToolInfo:
    """The `benchmark_model` that measured; `mode` is `binary`, `app` or `ios app`."""

    name: str
    sha256: str | None
    mode: str


@dataclasses.dataclass(frozen=True)
class TextSource:
    """Where the inputs came from, and how many texts it has."""

    source: str
    texts: int


@dataclasses.dataclass(frozen=True)
class TextSamples:
    """Tokens and milliseconds of each text at its own length."""

    tokens: tuple[int, ...]
    ms: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("tokens", "ms"):  # lists, if they come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class TextLengths:
    """Tokens of the texts."""

    min: int
    median: float
    mean: float
    max: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement: a package with a number of threads at a length on a device.

    Attributes:
        package: path of the file; its hash, size, recipe, lowering and baseline are those of `PackageInfo`.
        device: as `--device` names it.
        core_mask: hexadecimal, as `taskset` takes it; None: all cores.
        signature: names of the signatures that ran, separated by commas.
        seq_length: in tokens; None: every text at its own length.
        padded_to: the fixed length of the signature where it is longer than `seq_length`.
        timed: `invoke`, the run alone, or `call`: resize, allocate, copy and run.
        samples_ms: one time for each run; on a device one for each start of the tool.
        ci95_ms: the 95% confidence interval of the median; None: too few samples.
        init_ms, first_run_ms, peak_memory_mb, private_memory_mb, total_memory_mb: of a fresh process, see
            `host.cold_start.measure`.
        states: the device before and after each start: temperature, clocks and so on.
        throttled: why the device was slowed down; empty: it was not.
        profile: time by type of operator.
        hardware: what is known of the device; it has at least a `name`.
        versions: of the libraries that ran, by name.
        lengths, samples: only of texts at their own lengths.
    """

    package: str
    sha256: str | None = None
    size_bytes: int | None = None
    recipe: str | None = None
    lowering: str | None = None
    baseline: str | None = None
    device: str
    threads: int
    delegate: str
    core_mask: str | None
    signature: str | None = None
    seq_length: int | None
    padded_to: int | None = None
    timed: str = "invoke"
    latency_ms: Latency
    samples_ms: tuple[float, ...] = ()
    ci95_ms: tuple[float, float] | None = None
    init_ms: float | None = None
    first_run_ms: float | None = None
    peak_memory_mb: float | None = None
    private_memory_mb: float | None = None
    total_memory_mb: float | None = None
    delegated: Delegation | None = None
    states: tuple[Mapping[str, Any], ...] = ()
    throttled: tuple[str, ...] = ()
    profile: tuple[Operation, ...] | None = None
    hardware: Mapping[str, Any]
    tool: ToolInfo | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    date: str | None = None
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
        nested: dict[str, type] = {
            "latency_ms": Latency,
            "delegated": Delegation,
            "tool": ToolInfo,
            "text": TextSource,
            "lengths": TextLengths,
            "samples": TextSamples,
        }
        fields: dict[str, Any] = {
            key: _build(cls_, value[key], f"{key} of {name}")
            for key, cls_ in nested.items()
            if value.get(key) is not None
        }
        for key in ("samples_ms", "states", "throttled"):
            fields[key] = tuple(value.get(key) or ())
        interval, profile = value.get("ci95_ms"), value.get("profile")
        fields["ci95_ms"] = None if interval is None else tuple(interval)
        fields["profile"] = profile and tuple(
            _build(Operation, row, f"profile of {name}") for row in profile
        )
        fields["versions"] = value.get("versions") or {}
        return _build(cls, value | fields, name)

    def to_json(self) -> dict[str, Any]:
        """The record by the keys of the contract."""
        values = dataclasses.asdict(self)
        for key in ("lengths", "samples"):
            if values[key] is None:
                del values[key]
        return _plain(values)

    @property
    def setting(self) -> tuple[int, str, str | None]:
        """How the run was set up, apart from its length: threads, delegate, cores."""
        return self.threads, self.delegate, self.core_mask

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

    device: str
    package: str
    threads: int
    seq_length: int
    delegate: str
    core_mask: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run gave no result; without a package and setting, why the device as a whole gave none.

    Attributes:
        hardware_name: of the device; None: it was never reached.
        cause: a few words of a fixed set, such as `offline`, `hung`, `storage full`.
        at: date and time.
    """

    device: str
    hardware_name: str | None
    package: str | None
    threads: int | None
    seq_length: int | None
    delegate: str | None
    core_mask: str | None
    cause: str
    message: str
    at: str


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
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, RecursionError):  # of UTF-8 or of JSON
            raise InputError(f"{path}: not JSON: expected records.json of a report") from None
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
            [_build(Failure, v, f"failure {i}") for i, v in enumerate(value["failures"])],
            [_build(Missing, v, f"missing {i}") for i, v in enumerate(value["missing"])],
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
    return {name: getattr(info, name) for name in names}


def _check_record(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name} is not an object")
    if "host" in value and "hardware" not in value:
        raise InputError(
            f"{name} is an earlier version's ('host' in place of 'hardware'): measure again"
        )
    if absent := [key for key in _REQUIRED if key not in value]:
        raise InputError(f"{name} has no {', '.join(absent)}")
    if not isinstance(value["hardware"], dict) or "name" not in value["hardware"]:
        raise InputError(f"{name} has no name in its hardware")
    times, samples = value["latency_ms"], value.get("samples_ms") or []
    if not isinstance(times, dict) or not _is_time(times.get("mean")):
        raise InputError(f"{name} has no mean above 0 in its latency_ms")
    if times.get("median") is not None and not _is_time(times["median"]):
        raise InputError(f"{name} has no median above 0 in its latency_ms")
    if not isinstance(samples, list) or not all(map(_is_time, samples)):
        raise InputError(f"{name} has samples_ms that are not all numbers above 0")


def _build(cls: type[T], value: Any, name: str) -> T:
    """A dataclass from the keys of a JSON object that it knows."""
    if not isinstance(value, dict):
        raise InputError(f"{name} is not an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    absent = [
        field.name
        for field in fields.values()
        if field.name not in value
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if absent:
        raise InputError(f"{name} has no {', '.join(absent)}")
    return cls(**{key: v for key, v in value.items() if key in fields})


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def _plain(value: Any) -> Any:
    """Replaces tuples by lists, as in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
