"""Carrying out a plan on this machine.

Everything that is compared takes turns, in an order shuffled anew each round, so that a slow minute of
the machine affects all alike. A turn is one untimed run and one timed: the untimed run brings the weights
back into the caches, and lets the threads of the previous turn, which spin for a while, go idle.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.progress import Progress

from ...package.info import PackageInfo
from ...runtime.runner import Runner
from .. import inputs, latency_stats
from ..plan import Plan
from ..record import Record, TextLengths, TextSamples, TextSource, package_fields
from . import cold_start, host_info

# Fresh processes that open each package; the medians are kept.
COLD_STARTS = 3
# Rounds before those that count: clock rates and page faults settle.
WARM_UP_ROUNDS = 1

T = TypeVar("T")
Inputs = dict[str, np.ndarray]


@dataclasses.dataclass
class Subject:
    """One package opened with a number of threads, and its inputs."""

    info: PackageInfo
    threads: int
    runner: Runner
    by_length: dict[int, Inputs]
    texts: list[Inputs]  # each at its own length; empty: not requested
    cold_starts: list[dict[str, float | None]] = dataclasses.field(default_factory=list)

    @property
    def longest_inputs(self) -> Inputs:
        return max([*self.by_length.values(), *self.texts], key=_tokens)


@dataclasses.dataclass
class HostMeasurement:
    """One record in the making: a subject at a length, or on every text (`length` None)."""

    subject: Subject
    length: int | None
    samples_ms: list[float] = dataclasses.field(default_factory=list)

    def time_length(self) -> float:
        """Milliseconds of the run alone (`invoke`), the inputs being in place."""
        assert self.length is not None, "texts are timed by time_text"
        run = self.subject.runner.prepare(self.subject.by_length[self.length])
        run()
        return _milliseconds(run)

    def time_text(self, index: int) -> float:
        """Milliseconds of a whole call on a text: resize, allocate, copy in, run, copy out.

        The untimed run is on the previous text: on the same one it would leave nothing to resize.
        """
        subject = self.subject
        subject.runner(subject.texts[index - 1])
        return _milliseconds(functools.partial(subject.runner, subject.texts[index]))

    def record(self, shared: Mapping[str, Any]) -> Record:
        """The record; one on texts keeps every sample, for the plot of the distribution.

        Args:
            shared: the fields that all records of the run have in common.
        """
        subject = self.subject
        tokens = [_tokens(text) for text in subject.texts] if self.length is None else [self.length]
        signatures = {s.name: s for s in map(subject.info.signature_for, tokens)}
        samples_ms = tuple(round(sample, 4) for sample in self.samples_ms)
        fields: dict[str, Any] = dict(cold_start.summarize(subject.cold_starts))
        if self.length is None:
            fields |= {
                "timed": "call",
                "lengths": TextLengths(
                    min(tokens),
                    float(np.median(tokens)),
                    round(float(np.mean(tokens)), 2),
                    max(tokens),
                ),
                "samples": TextSamples(tuple(tokens), samples_ms),
            }
        else:
            (signature,) = signatures.values()
            padded = signature.seq_length not in (None, self.length)
            fields["padded_to"] = signature.seq_length if padded else None
        return Record(
            package=subject.info.path,
            **package_fields(subject.info),
            device="host",
            threads=subject.threads,
            delegate="xnnpack",
            core_mask=None,
            accelerator="cpu",
            accelerator_share=1.0,
            signature=",".join(signatures),
            seq_length=self.length,
            latency_ms=latency_stats.summarize_samples(self.samples_ms),
            samples_ms=samples_ms,
            ci95_ms=latency_stats.sample_interval(self.samples_ms),
            **fields,
            **shared,
        )


def measure(plan: Plan, packages: Mapping[str, PackageInfo] | None = None) -> list[Record]:
    """Carries a plan out, with progress on standard error.

    Args:
        packages: the plan's packages by path; None: they are read here.

    Raises:
        InputError: it names the package that cannot be opened or run, or a length that no package takes.
    """
    shared = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "hardware": host_info.describe_host(),
        "versions": host_info.versions(),
        "text": TextSource(plan.text.source, len(plan.text.examples)),
    }
    packages = packages or {path: PackageInfo.read(path) for path in plan.packages}
    subjects = _open(plan, packages)
    order = random.Random(plan.seed)
    _measure_cold_starts(subjects, order)
    at_lengths = [HostMeasurement(subject, n) for subject in subjects for n in subject.by_length]
    on_texts = [HostMeasurement(subject, None) for subject in subjects if subject.texts]
    with _no_garbage_collection():
        _measure_lengths(at_lengths, plan.runs, order)
        _measure_texts(on_texts, len(plan.text.examples), order)
    return [measurement.record(shared) for measurement in [*at_lengths, *on_texts]]


@contextlib.contextmanager
def naming_package(path: str) -> Iterator[None]:
    """Turns errors into an `InputError` that names the package."""
    try:
        yield
    except InputError as error:
        message = str(error)
        raise InputError(message if path in message else f"{path}: {message}") from None
    except KeyError as error:
        raise InputError(
            f"{path}: no {error} in it: expected a package that `sqb convert` wrote"
        ) from None
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: LiteRT cannot run it: {reason}") from None


def _open(plan: Plan, packages: Mapping[str, PackageInfo]) -> list[Subject]:
    """Every package with every number of threads; texts are encoded once for each package."""
    runners: dict[tuple[str, int], Runner] = {}
    for path in packages:
        with naming_package(path):
            cold_start.evict_from_page_cache(path)
            for threads in plan.threads:
                runners[path, threads] = Runner(path, threads)
    subjects = []
    for path, info in packages.items():
        with naming_package(path):
            runner = runners[path, plan.threads[0]]
            lengths = [n for n in plan.lengths if n <= info.max_seq_length]
            by_length = {n: inputs.encode_length(runner, plan.text, n) for n in lengths}
            texts = inputs.encode_texts(runner, plan.text) if plan.each_text else []
        subjects += [Subject(info, n, runners[path, n], by_length, texts) for n in plan.threads]
    plan.check_lengths({path: info.max_seq_length for path, info in packages.items()})
    return [subject for subject in subjects if subject.by_length or subject.texts]


def _measure_cold_starts(subjects: Sequence[Subject], order: random.Random) -> None:
    progress = Progress("loading", COLD_STARTS * len(subjects))
    for round_index in range(COLD_STARTS):
        for index, subject in enumerate(_shuffled(subjects, order), 1):
            subject.cold_starts.append(
                cold_start.measure(subject.info.path, subject.threads, subject.longest_inputs)
            )
            progress.update(round_index * len(subjects) + index)


def _measure_lengths(
    measurements: Sequence[HostMeasurement], runs: int, order: random.Random
) -> None:
    progress = Progress("lengths", (WARM_UP_ROUNDS + runs) * len(measurements))
    for round_index in range(WARM_UP_ROUNDS + runs):
        for index, measurement in enumerate(_shuffled(measurements, order), 1):
            with naming_package(measurement.subject.info.path):
                milliseconds = measurement.time_length()
            if round_index >= WARM_UP_ROUNDS:
                measurement.samples_ms.append(milliseconds)
            progress.update(round_index * len(measurements) + index, f"{measurement.length} tokens")


def _measure_texts(
    measurements: Sequence[HostMeasurement], texts: int, order: random.Random
) -> None:
    progress = Progress("texts", texts * len(measurements))
    for text_index in range(texts):
        for index, measurement in enumerate(_shuffled(measurements, order), 1):
            with naming_package(measurement.subject.info.path):
                measurement.samples_ms.append(measurement.time_text(text_index))
            progress.update(text_index * len(measurements) + index)


def _tokens(values: Inputs) -> int:
    return values["input_word_ids"].shape[1]


def _shuffled(items: Sequence[T], order: random.Random) -> list[T]:
    return order.sample(items, len(items))


def _milliseconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A full collection can take longer than a run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
