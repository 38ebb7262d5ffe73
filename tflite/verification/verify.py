"""Verification: the Keras model against the packaged file, on held-out real text."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.data.example import Example, TextPair
from sqb_tf.data.labels import differences, shortened
from sqb_tf.data.task_specs import TASKS
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.head import Head, Outputs
from sqb_tf.heads.metrics import FEWEST_EXAMPLES
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.progress import track

from ..conversion.recipes import Bounds, Recipe
from ..package import container
from ..runtime.runner import Runner, cores
from .bundle_backend import BundleBackend

# Of examples, of which the standard error of the metric's drop is made.
JACKKNIFE_BLOCKS = 20
# Interpreters of one integer-only package: each has its own memory.
MOST_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a verification; `misses` says which bounds were missed, empty when none."""

    examples: int
    metric: dict[str, Any]  # name, keras, package, drop; None each where there is no metric
    drop_standard_error: float  # of the drop, over the examples
    agreement: float
    max_abs_error: float
    sqnr_db: float
    size_bytes: int
    recipe: str
    tensors: dict[str, dict[str, float]]
    bounds: Bounds
    misses: list[str]

    @property
    def conclusive(self) -> bool:
        """Whether there are enough examples for the figures to prove anything."""
        return self.examples >= FEWEST_EXAMPLES

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the contract's keys."""
        return {**dataclasses.asdict(self), "conclusive": self.conclusive}

    def table(self) -> str:
        """The report for people."""
        metric, bounds = self.metric, self.bounds
        remarks = self.misses if self.conclusive else [*self.misses, few_examples(self.examples)]
        rows = [("examples", f"{self.examples}", "")]
        if metric["name"] is not None:
            allowed = _allowed_drop(bounds, self.drop_standard_error, self.examples)
            rows += [
                (f"{metric['name']}, Keras", f"{metric['keras']:.4f}", ""),
                (
                    f"{metric['name']}, package",
                    f"{metric['package']:.4f}",
                    f"drop {metric['drop']:+.4f}, at most {allowed:.4f}",
                ),
            ]
        rows += [
            (
                "same decision",
                f"{self.agreement:.4f}",
                f"at least {_needed_agreement(bounds, self.examples):.4f}",
            ),
            *(
                (
                    f"{name}: SQNR",
                    f"{error['sqnr_db']:.1f} dB",
                    f"at least {bounds.sqnr_db:.0f} dB; largest error {error['max_abs_error']:.2e}",
                )
                for name, error in self.tensors.items()
            ),
            ("size", f"{self.size_bytes / 1e6:.2f} MB", f"recipe {self.recipe}"),
            ("verdict", "missed" if self.misses else "within bounds", "; ".join(remarks)),
        ]
        return "\n".join(f"{a:<22} {b:>14}  {c}".rstrip() for a, b, c in rows)


def few_examples(count: int) -> str:
    """What there is to say of a verification on fewer than `FEWEST_EXAMPLES`."""
    number = "1 example proves" if count == 1 else f"{count} examples prove"
    return f"{number} nothing: name {FEWEST_EXAMPLES} or more held-out ones with --data"


def verify(
    model: Any,
    path: str | Path | bytes,
    examples: Sequence[Example],
    bounds_of: Recipe | None = None,
    runner: Runner | None = None,
) -> Report:
    """Runs `examples` through `model` (of `sqb_tf.load`) and through the packaged bytes.

    Agreement is the share of decisions that are the same, by the head's `agreement`: the label of a text, the
    tag of a word, the span of an answer (ties count as the same), the choice, the token at a position; for
    embeddings, which other text is the nearest. Heads without labels are evaluated by agreement and by the
    outputs alone. The bounds are those of the package's recipe, or of `bounds_of`; `runner` runs the package
    in place of the CPU's, see `runner_for`.

    Raises:
        InputError: no examples, a package that cannot be opened or that holds another model's labels.
    """
    runner = runner or runner_for(path)
    if not examples:
        raise InputError("no held-out examples to verify on: name a file of them with --data")
    if (runner.package.labels or []) != model.labels:
        others = differences(runner.package.labels or [], model.labels) or "their order is another"
        raise InputError(
            f"the package's labels {shortened(runner.package.labels or ['none'])} are not the model's "
            f"{shortened(model.labels or ['none'])} ({others.replace('the data', 'the package')}): it "
            "is not a conversion of this bundle"
        )
    if "recipe" not in runner.package.properties:
        raise InputError(
            "the package does not name its recipe, which sets its bounds: expected one "
            "that `sqb convert` wrote"
        )
    recipe = Recipe.named(runner.package.properties["recipe"])
    bounds = (bounds_of or recipe).bounds
    task = model.info.task.task
    keras = BundleBackend(model, model.info.head.verification_batch)
    compared = compare(keras, runner, task, examples)
    metric = compared.metric
    return Report(
        examples=len(examples),
        metric={
            "name": metric["name"],
            "keras": metric["expected"],
            "package": metric["actual"],
            "drop": metric["drop"],
        },
        drop_standard_error=compared.drop_standard_error,
        agreement=compared.agreement,
        max_abs_error=compared.max_abs_error,
        sqnr_db=compared.sqnr_db,
        size_bytes=len(path) if isinstance(path, bytes) else Path(path).stat().st_size,
        recipe=recipe.label,
        bounds=bounds,
        tensors=compared.tensors,
        misses=compared.misses(bounds),
    )


def runner_for(path: str | Path | bytes) -> Runner:
    """What runs a package's texts for a comparison: of integer-only ones, one at once for each of 8 cores.

    They have 16-bit activations at least in norms. XNNPACK has no kernels for those, and LiteRT's own use one
    thread whatever `num_threads` is: with 4, of 243 ticks of a squeezebert-micro 10 were of other threads.
    Each text is still run by itself, so the outputs are bit for bit the same. For 8-bit matmuls, each
    interpreter packs their weights for XNNPACK: so not more of them than `MOST_AT_ONCE`, and one for other
    recipes, which are fast.
    """
    recipe = container.unpack(path).properties.get("recipe")
    integer = any(recipe == known.label for known in Recipe if known.activation_bits)
    return Runner(path, texts_at_once=min(cores(), MOST_AT_ONCE) if integer else 1)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far one backend is from another on the same examples.

    Attributes:
        examples: their number.
        metric: `name`, `expected`, `actual`, `drop` of the task's metric; None each where the head has none.
        drop_standard_error: of the drop, over the examples.
        agreement: the share of examples with the same decision.
        tensors: the error of each output.
    """

    examples: int
    metric: dict[str, Any]
    drop_standard_error: float
    agreement: float
    tensors: dict[str, dict[str, float]]

    @property
    def max_abs_error(self) -> float:
        """The largest of any output."""
        return float(np.max([error["max_abs_error"] for error in self.tensors.values()]))

    @property
    def sqnr_db(self) -> float:
        """The lowest of any output."""
        return float(np.min([error["sqnr_db"] for error in self.tensors.values()]))

    def misses(self, bounds: Bounds) -> list[str]:
        """The bounds that were missed, each with both figures."""
        return _misses(
            bounds,
            self.examples,
            self.metric["drop"] or 0.0,
            self.drop_standard_error,
            self.agreement,
            self.sqnr_db,
        )


def compare(
    expected: Backend,
    actual: Backend,
    task: str | None,
    examples: Sequence[Example],
    shows_progress: bool = True,
) -> Comparison:
    """Runs `examples` through both backends of a model; the metric is that of `task`, or none."""
    head = expected.head
    errors = {output.name: _Error(output.centered) for output in head.outputs}
    compared = _compare(expected, actual, [e.texts for e in examples], errors)
    if shows_progress:
        compared = track(compared, "verify", len(examples))
    results = {index: pair for index, *pair in compared}
    both = [[results[i][side] for i in range(len(examples))] for side in (0, 1)]
    return Comparison(
        examples=len(examples),
        metric=_metric(head, task, examples, *both),
        drop_standard_error=_drop_standard_error(head, task, examples, *both),
        agreement=head.agreement(*both),
        tensors={name: error.summary() for name, error in errors.items()},
    )


def _metric(
    head: Head,
    task: str | None,
    examples: Sequence[Example],
    expected: Sequence[Any],
    actual: Sequence[Any],
) -> dict[str, Any]:
    """That of the task, of an imported model's its head's, for both results; None each without one."""
    if task is None or not isinstance(head, TaskHead):
        return dict.fromkeys(("name", "expected", "actual", "drop"))
    name = TASKS[task].metrics[0] if task in TASKS else next(iter(head.metrics))
    references = head.references(examples)
    before, after = (
        head.scores([name], head.metric_inputs(results), references)[name]
        for results in (expected, actual)
    )
    return {"name": name, "expected": before, "actual": after, "drop": before - after}


def _drop_standard_error(
    head: Head,
    task: str | None,
    examples: Sequence[Example],
    expected: Sequence[Any],
    actual: Sequence[Any],
) -> float:
    """How far chance moves the metric's drop: its standard error over the examples, by the jackknife.

    The drop is computed again without one block of examples after the other (Efron 1982, section 3): so any
    metric has such an error, also one that is no mean over examples, as F1 and correlations are not. If one
    example of `n` is decided worse, it is 1 / n for accuracy.
    """
    blocks = min(JACKKNIFE_BLOCKS, len(examples))
    if task is None or not isinstance(head, TaskHead) or blocks < 2:
        return 0.0
    drops = []
    for block in range(blocks):
        kept = [i for i in range(len(examples)) if i % blocks != block]
        rest = ([values[i] for i in kept] for values in (examples, expected, actual))
        drops.append(_metric(head, task, *rest)["drop"])
    error = float(np.sqrt(blocks - 1) * np.std(drops))
    return error if math.isfinite(error) else 0.0


def _compare(
    expecting: Backend, actual: Backend, rows: Sequence[TextPair], errors: dict[str, _Error]
) -> Iterator[tuple[int, Any, Any]]:
    """(index, the expected result, the actual one) of every row, shortest rows first; adds to `errors`."""
    head = expecting.head
    requests_of_actual = head.encode(rows, actual.encoder)
    # A fixed length may truncate a text, or cut it into more windows. Outputs per token are compared on what
    # is left of it, those of windows by window; any other output is compared with that of the whole text.
    same_inputs = head.cuts_windows or any(output.per_token for output in head.outputs)
    requests_of_expected = (
        requests_of_actual if same_inputs else head.encode(rows, expecting.encoder)
    )
    # By length, so that Keras pads little.
    order = sorted(range(len(rows)), key=lambda i: max(map(len, requests_of_expected[i])))
    streams = [
        backend.run(request for i in order for request in requests[i])
        for backend, requests in (
            (expecting, requests_of_expected),
            (actual, requests_of_actual),
        )
    ]
    for i in order:
        outputs = [list(itertools.islice(s, len(requests_of_actual[i]))) for s in streams]
        _add_errors(errors, *outputs)
        yield (
            i,
            head.decode(rows[i], requests_of_expected[i], outputs[0]),
            head.decode(rows[i], requests_of_actual[i], outputs[1]),
        )


def _add_errors(
    errors: dict[str, _Error], expected: Sequence[Outputs], actual: Sequence[Outputs]
) -> None:
    for expected_outputs, actual_outputs in zip(expected, actual, strict=True):
        for name, error in errors.items():
            error.add(expected_outputs[name], actual_outputs[name])


class _Error:
    """Signal and noise of one output, summed over the examples.

    With `centered`, the signal is how far values are from their mean, see `Output.centered`.
    """

    def __init__(self, centered: bool) -> None:
        self._centered = centered
        self._count = 0
        self._sum = self._squares = self._noise = self._largest = 0.0

    def add(self, expected: np.ndarray, actual: np.ndarray) -> None:
        """Adds one example's values."""
        expected, error = expected.astype(float), actual.astype(float) - expected
        self._count += expected.size
        self._sum += expected.sum()
        self._squares += (expected**2).sum()
        self._noise += (error**2).sum()
        # np.maximum, unlike max, propagates NaN.
        self._largest = np.maximum(self._largest, np.abs(error).max())

    def summary(self) -> dict[str, float]:
        """The largest error, and the signal-to-noise ratio in dB, 200 for equal values."""
        signal = self._squares - (self._sum**2 / self._count if self._centered else 0.0)
        sqnr = np.minimum(200.0, 10 * np.log10(signal / self._noise)) if self._noise else 200.0
        return {"max_abs_error": float(self._largest), "sqnr_db": float(sqnr)}


def _allowed_drop(bounds: Bounds, standard_error: float, examples: int) -> float:
    """The bound, and what may be chance: see docs/decisions/099-chance-in-a-drop.md."""
    return bounds.drop + min(standard_error, max(2 * bounds.drop, 1 / examples))


def _needed_agreement(bounds: Bounds, examples: int) -> float:
    """The bound, or all but one example: two scores may be as good as equal, in float32 too."""
    return min(bounds.agreement, 1 - 1 / examples)


def _misses(
    bounds: Bounds,
    examples: int,
    drop: float,
    drop_standard_error: float,
    agreement: float,
    sqnr_db: float,
) -> list[str]:
    """The bounds that were missed, each with both figures."""
    misses = []
    # "not <=" rather than ">": NaN is a miss too.
    allowed = _allowed_drop(bounds, drop_standard_error, examples)
    if not drop <= allowed + 1e-9:
        misses.append(f"metric drop {drop:.4f} > {allowed:.4f}")
    if not agreement >= _needed_agreement(bounds, examples) - 1e-9:
        misses.append(f"agreement {agreement:.4f} < {_needed_agreement(bounds, examples):.4f}")
    if not sqnr_db >= bounds.sqnr_db:
        misses.append(f"SQNR {sqnr_db:.1f} dB < {bounds.sqnr_db:.0f} dB")
    return misses
