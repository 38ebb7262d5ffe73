"""What to measure: packages, threads, lengths, delegates and cores, and with what precision."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqb_tf.errors import InputError, suggest
from sqb_tf.progress import warn

from .inputs import Text

DELEGATES = ("xnnpack", "gpu", "nnapi", "npu", "none")
# What a GPU may compute in. Both tools allow float16 unless told otherwise.
GPU_PRECISIONS = ("fp16", "fp32")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One measurement of a plan, without the device: a package with a number of threads at a length."""

    package: str
    threads: int
    seq_length: int
    delegate: str = "xnnpack"
    core_mask: str | None = None  # hexadecimal, bit 0 for core 0; None: all cores
    gpu_precision: str | None = None  # of `GPU_PRECISIONS`; None: not on a GPU

    def to_dict(self) -> dict[str, Any]:
        """By the keys of records."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        cores = f", cores {self.core_mask}" if self.core_mask else ""
        precision = f" {self.gpu_precision}" if self.gpu_precision else ""
        plural = "s" if self.threads > 1 else ""
        return (
            f"{self.package}, {self.seq_length} tokens, {self.threads} thread{plural}, "
            f"{self.delegate}{precision}{cores}"
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        packages: paths; the others are compared with the first.
        threads: numbers of CPU threads; each package runs with each of them.
        lengths: in tokens; a package is skipped at lengths beyond its own limit.
        runs: timed runs of each measurement; on a device the fewest in each start of the tool.
        text: the source of the inputs.
        each_text: whether to run every text at its own length too; on the host only.
        seed: of the shuffled order within rounds.
        delegates: some of `DELEGATES`; the host has only XNNPACK. Packages that were compiled for an NPU run
            with `npu` alone, and no other package does.
        gpu_precisions: some of `GPU_PRECISIONS`, with the delegate `gpu` alone.
        core_masks: cores to run on, as `taskset` takes them; None: all.
        repeats: on a device, the most starts of the tool for one measurement.
        precision: on a device, a measurement is repeated until the 95% confidence interval of its median
            is within this share of the median.
        budget_s: on a device, seconds after which no measurement is repeated.
        min_seconds: the least time that a start measures for, after half a second of warm-up.
        max_temperature_c: a run waits until the device is at most this warm; None: it never waits.
        cool_down_s: seconds after which a measurement fails if the device has not cooled down.
        reconnect_s: how long to wait for a device that disappeared; a phone takes a minute to boot.
        timeout_s: a start of the tool that takes longer counts as hung.
        profile: whether to run each measurement once more to time its operators.
    """

    packages: Sequence[str]
    threads: Sequence[int]
    lengths: Sequence[int]
    runs: int
    text: Text
    each_text: bool = False
    seed: int = 0
    delegates: Sequence[str] = ("xnnpack",)
    gpu_precisions: Sequence[str] = ("fp16",)
    core_masks: Sequence[str | None] = (None,)
    repeats: int = 5
    precision: float = 0.03
    budget_s: float = 1800.0
    min_seconds: float = 1.0
    max_temperature_c: float | None = 40.0
    cool_down_s: float = 300.0
    reconnect_s: float = 120.0
    timeout_s: float = 300.0
    profile: bool = False

    def __post_init__(self) -> None:
        for name in ("runs", "repeats"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: expected at least 1")
        if not 0 < self.precision < 1:
            raise InputError(f"precision {self.precision}: expected a share between 0 and 1")
        for path in self.packages:
            if self.packages.count(path) > 1:
                raise InputError(f"{path}: listed twice; to measure a file against itself, copy it")
        _check_known("--delegates", self.delegates, DELEGATES)
        _check_known("--gpu-precision", self.gpu_precisions, GPU_PRECISIONS)
        for mask in self.core_masks:
            if mask is not None and not (set(mask) <= set("0123456789abcdefABCDEF") and mask):
                raise InputError(
                    f"--core-masks {mask}: expected hexadecimal, such as f0 for cores 4 to 7"
                )

    @property
    def fewest_repeats(self) -> int:
        """The fewest starts of the tool whose confidence interval means anything."""
        return min(self.repeats, 3)

    def check_lengths(self, limits: Mapping[str, int]) -> None:
        """Reports which packages are skipped at which lengths.

        Args:
            limits: the most tokens that each package takes.

        Raises:
            InputError: a length that no package takes.
        """
        for length in self.lengths:
            if length > max(limits.values()):
                raise InputError(
                    f"length {length}: the packages take at most {max(limits.values())} tokens"
                )
            for path, limit in limits.items():
                if length > limit:
                    warn(f"{path}: takes at most {limit} tokens: skipped at {length}")

    def measurements(
        self, limits: Mapping[str, int], compiled: Collection[str] = ()
    ) -> list[Measurement]:
        """Every measurement on one device.

        Args:
            limits: the most tokens that each package takes.
            compiled: the packages that were compiled for an NPU.
        """
        accelerators = [
            (delegate, precision)
            for delegate in self.delegates
            for precision in (self.gpu_precisions if delegate == "gpu" else (None,))
        ]
        return [
            Measurement(package, threads, length, delegate, mask, precision)
            for package, threads, length, (delegate, precision), mask in itertools.product(
                self.packages, self.threads, self.lengths, accelerators, self.core_masks
            )
            if length <= limits[package] and (delegate == "npu") == (package in compiled)
        ]


def _check_known(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            hint = suggest(name, known)
            raise InputError(f"{flag} {name}: expected some of {', '.join(known)}{hint}")
