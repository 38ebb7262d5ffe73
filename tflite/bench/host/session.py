"""The plan of a measurement, and carrying it out.

Everything that is compared takes turns, in an order shuffled anew each round, so that a slow minute of
the machine falls on all alike. A turn is one untimed run and one timed: the untimed one brings weights
back into the caches and outlives the threads of the neighbour, which spin for a while after their run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.progress import Progress

from ...runtime.runner import Runner
from .. import inputs, latency_stats, package_facts
from ..plan import Plan
from . import cold_start, host_info

# Processes that a package is opened in; the median is kept.
LOADS = 3
# Rounds before those that count: clock rates and pages settle.
WARM_UP_ROUNDS = 1

Inputs = dict[str, np.ndarray]


@dataclasses.dataclass
class Subject:
    """One package opened with so many threads, and its inputs."""

    path: str
    threads: int
    runner: Runner
    fixed: dict[int, Inputs]  # by length in tokens
    texts: list[Inputs]  # each at its own length; none: not asked for
    loads: list[dict[str, float]] = dataclasses.field(default_factory=list)

    @property
    def longest(self) -> Inputs:
        """The longest of all the inputs."""
        return max([*self.fixed.values(), *self.texts], key=_tokens)


@dataclasses.dataclass
class Cell:
    """One line of the result: a subject at a length, or on every text (`length` None)."""

    subject: Subject
    length: int | None
    samples_ms: list[float] = dataclasses.field(default_factory=list)

    def turn_at_length(self) -> float:
        """Milliseconds of a run alone (`invoke`), its inputs being in place."""
        run = self.subject.runner.prepare(self.subject.fixed[self.length])
        run()
        return _milliseconds(run)

    def turn_on_text(self, index: int) -> float:
        """Milliseconds of a whole call on a text: resize, allocate, copy in, run, copy out.

        The untimed run is of the text before it: of the same one it would do the resizing.
        """
        subject = self.subject
        subject.runner(subject.texts[index - 1])
        return _milliseconds(functools.partial(subject.runner, subject.texts[index]))


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Carries a plan out, with progress on standard error; the records of the contract.

    Raises:
        InputError: naming the package that cannot be opened or run, or a length that none takes.
    """
    shared = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "hardware": host_info.host(),
        "versions": host_info.versions(),
        "text": {"source": plan.text.source, "texts": len(plan.text.examples)},
    }
    subjects = _open(plan)
    order = random.Random(plan.seed)
    _measure_loads(subjects, order)
    cells = [Cell(subject, length) for subject in subjects for length in subject.fixed]
    on_text = [Cell(subject, None) for subject in subjects if subject.texts]
    with _no_garbage_collection():
        _measure_lengths(cells, plan.runs, order)
        _measure_texts(on_text, len(plan.text.examples), order)
    return [_record(cell, shared) for cell in [*cells, *on_text]]


def _open(plan: Plan) -> list[Subject]:
    """Every package with every number of threads; texts are tokenized once for each package."""
    runners = {}
    for path in plan.packages:  # all of them before TensorFlow is imported to tokenize
        with naming(path):
            cold_start.forget(path)
            for threads in plan.threads:
                runners[path, threads] = Runner(path, threads)
    subjects, limits = [], {}
    for path in plan.packages:
        with naming(path):
            runner = runners[path, plan.threads[0]]
            limits[path] = inputs.longest(runner)
            lengths = [n for n in plan.lengths if n <= limits[path]]
            fixed = {n: inputs.of_length(runner, plan.text, n) for n in lengths}
            texts = inputs.each(runner, plan.text) if plan.each_text else []
        subjects += [Subject(path, n, runners[path, n], fixed, texts) for n in plan.threads]
    plan.check_lengths(limits)
    return [subject for subject in subjects if subject.fixed or subject.texts]


def _measure_loads(subjects: Sequence[Subject], order: random.Random) -> None:
    progress = Progress("loading", LOADS * len(subjects))
    for index in range(LOADS):
        for place, subject in enumerate(_shuffled(subjects, order), 1):
            subject.loads.append(cold_start.fresh(subject.path, subject.threads, subject.longest))
            progress.update(index * len(subjects) + place)


def _measure_lengths(cells: Sequence[Cell], runs: int, order: random.Random) -> None:
    progress = Progress("lengths", (WARM_UP_ROUNDS + runs) * len(cells))
    for index in range(WARM_UP_ROUNDS + runs):
        for place, cell in enumerate(_shuffled(cells, order), 1):
            with naming(cell.subject.path):
                taken = cell.turn_at_length()
            if index >= WARM_UP_ROUNDS:
                cell.samples_ms.append(taken)
            progress.update(index * len(cells) + place, f"{cell.length} tokens")


def _measure_texts(cells: Sequence[Cell], texts: int, order: random.Random) -> None:
    progress = Progress("texts", texts * len(cells))
    for index in range(texts):
        for place, cell in enumerate(_shuffled(cells, order), 1):
            with naming(cell.subject.path):
                cell.samples_ms.append(cell.turn_on_text(index))
            progress.update(index * len(cells) + place)


def _record(cell: Cell, shared: dict[str, Any]) -> dict[str, Any]:
    """One record of the contract. Those on texts keep every sample, for the distribution's plot."""
    subject = cell.subject
    tokens = [_tokens(text) for text in subject.texts] if cell.length is None else [cell.length]
    signatures = {s.name: s for s in map(subject.runner.signature_for, tokens)}
    record = {
        "package": subject.path,
        **package_facts.of_package(
            Path(subject.path).read_bytes(), subject.runner.package.properties
        ),
        "device": "host",
        "threads": subject.threads,
        "delegate": "xnnpack",
        "core_mask": None,
        "signature": ",".join(signatures),
        "seq_length": cell.length,
        "timed": "call" if cell.length is None else "invoke",
        "latency_ms": latency_stats.of_samples(cell.samples_ms),
        "samples_ms": [round(sample, 4) for sample in cell.samples_ms],
        "ci95_ms": latency_stats.interval_of_samples(cell.samples_ms),
        **cold_start.summary(subject.loads),
        **dict.fromkeys(("padded_to", "delegated", "profile", "tool")),
        "states": [],
        "throttled": [],
    }
    if cell.length is None:
        record["lengths"] = {
            "min": min(tokens),
            "median": float(np.median(tokens)),
            "mean": round(float(np.mean(tokens)), 2),
            "max": max(tokens),
        }
        record["samples"] = {"tokens": tokens, "ms": record["samples_ms"]}
    else:
        (signature,) = signatures.values()
        padded = signature.seq_length not in (None, cell.length)
        record["padded_to"] = signature.seq_length if padded else None
    return record | shared


def _tokens(values: Inputs) -> int:
    return values["input_word_ids"].shape[1]


def _shuffled(items: Sequence[Any], order: random.Random) -> list[Any]:
    return order.sample(items, len(items))


def _milliseconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """With TensorFlow's objects about, a full collection takes longer than a run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Errors become an `InputError` that names the package."""
    try:
        yield
    except InputError as error:
        message = str(error)
        raise InputError(message if path in message else f"{path}: {message}") from None
    except KeyError as error:
        raise InputError(
            f"{path}: no {error} in it: expected a package of tools/convert.py"
        ) from None
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: LiteRT cannot run it: {reason}") from None
