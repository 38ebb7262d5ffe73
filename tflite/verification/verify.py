"""Verification: the Keras model against the packaged file, on held-out real text."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.data.task_specs import TASK_KINDS, spec_of
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import (
    Outputs,
    Passage,
    Row,
    TaskKind,
)
from sqb_tf.heads.registry import kind_of
from sqb_tf.progress import track
from sqb_tf.training.pipeline import prediction_batches

from ..conversion.recipes import Bounds, Recipe
from ..runtime.runner import TOKEN_OUTPUTS, Runner
from .keras_backend import named_outputs

KERAS_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Report:
    """What verification found; `misses` says which bounds were missed, empty when none."""

    examples: int
    metric: dict[str, Any]  # name, keras, package, drop; None each where there is no metric
    agreement: float
    max_abs_error: float
    sqnr_db: float
    size_bytes: int
    recipe: str
    tensors: dict[str, dict[str, float]]
    bounds: Bounds
    misses: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the contract's keys."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """The report for people."""
        metric, bounds = self.metric, self.bounds
        rows = [("examples", f"{self.examples}", "")]
        if metric["name"] is not None:
            allowed = _allowed_drop(bounds, self.examples)
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
            ("verdict", "missed" if self.misses else "within bounds", "; ".join(self.misses)),
        ]
        return "\n".join(f"{a:<22} {b:>14}  {c}".rstrip() for a, b, c in rows)


def verify(
    model: Any,
    path: str | Path | bytes,
    examples: Sequence[Example],
    bounds_of: Recipe | None = None,
) -> Report:
    """Runs `examples` through `model` (of `sqb_tf.load`) and through the packaged bytes.

    Agreement is the share of decisions that are the same: the label of a text, the tag of a word, the span of
    an answer (ties count as the same, `tasks.spans.TIE`), the choice, the token at a place, and of embeddings
    which other text is the nearest. Kinds without a metric of labelled texts are judged by agreement and by
    the tensors. The bounds are those of the package's recipe, or of `bounds_of`.

    Raises:
        InputError: no examples, a package that cannot be opened or that holds another model's labels.
    """
    runner = Runner(path)
    if not examples:
        raise InputError("no held-out examples to verify on: name a file of them with --data")
    if (runner.package.labels or []) != model.labels:
        raise InputError(
            f"the package's labels {runner.package.labels} are not the model's {model.labels}: "
            "it is not a conversion of this bundle"
        )
    if "recipe" not in runner.package.properties:
        raise InputError(
            "the package does not name its recipe, which sets its bounds: expected one of "
            "tools/convert.py"
        )
    task = model.info.task
    kind = kind_of(task.kind, model.labels, task.paired, task.settings)
    judged = task.kind in TASK_KINDS
    recipe = Recipe.named(runner.package.properties["recipe"])
    bounds = (bounds_of or recipe).bounds
    goals = kind.goals(examples) if judged else None
    rows = [(e.text, e.pair) for e in examples]
    # The package's windows of a long context, which a fixed length may make shorter.
    passages = kind.passages(runner.encoder, rows)
    flat = [passage for some in passages for passage in some]
    tensors: dict[str, _Error] = {}
    decisions = _Decisions(task.kind)
    expected, got = {}, {}
    for index, one, other in track(_both(model, runner, flat), "verify", len(flat)):
        for name, values in one.items():
            tensors.setdefault(name, _Error(task.kind == "regression")).add(values, other[name])
        if judged:
            expected[index], got[index] = one, other
        else:
            decisions.add(one, other)

    metric: dict[str, Any] = dict.fromkeys(("name", "keras", "package", "drop"))
    if judged:
        name = spec_of(task.task, task.kind).metrics[0]
        found = [_results(kind, rows, passages, outputs) for outputs in (expected, got)]
        for one, other in zip(*found, strict=True):
            decisions.count(kind.same(one, other))
        keras, package = (kind.scores([name], results, goals)[name] for results in found)
        metric = {"name": name, "keras": keras, "package": package, "drop": keras - package}
    errors = {name: error.summary() for name, error in tensors.items()}
    agreement = decisions.agreement()
    sqnr_db = float(np.min([error["sqnr_db"] for error in errors.values()]))
    return Report(
        examples=len(examples),
        metric=metric,
        agreement=agreement,
        max_abs_error=max(error["max_abs_error"] for error in errors.values()),
        sqnr_db=sqnr_db,
        size_bytes=len(path) if isinstance(path, bytes) else Path(path).stat().st_size,
        recipe=recipe.label,
        bounds=bounds,
        tensors=errors,
        misses=_misses(bounds, len(examples), metric["drop"] or 0.0, agreement, sqnr_db),
    )


def _results(
    kind: TaskKind,
    rows: Sequence[Row],
    passages: Sequence[Sequence[Passage]],
    outputs: dict[int, Outputs],
) -> list[Any]:
    """The result for each example, from the outputs of all passages by their place."""
    in_order = (outputs[i] for i in range(len(outputs)))
    return [
        kind.result(row, some, list(itertools.islice(in_order, len(some))))
        for row, some in zip(rows, passages, strict=True)
    ]


def _both(
    model: Any, runner: Runner, passages: Sequence[Passage]
) -> Iterator[tuple[int, dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """(place, Keras' outputs, the package's) of every passage, in batches of about equal length."""
    kind, paired = model.info.task.kind, model.info.task.paired
    per_token = TOKEN_OUTPUTS.get(kind, ())
    # A fixed length may cut texts: outputs for each token are compared on what is left.
    encoder = runner.encoder if per_token else model.preprocessor
    size = 4 if "logits" in per_token else KERAS_BATCH  # a vocabulary of scores for every token
    order = sorted(
        range(len(passages)), key=lambda i: len(passages[i].text + (passages[i].pair or ""))
    )
    for start in range(0, len(order), size):
        places = order[start : start + size]
        chosen = [passages[i] for i in places]
        (inputs,) = prediction_batches(chosen, encoder, paired, size)
        lengths = np.sum(inputs["input_mask"], axis=1)
        batch = named_outputs(model, inputs)
        found = runner.outputs((p.text, p.pair) for p in chosen)
        for row, (index, other) in enumerate(zip(places, found, strict=True)):
            one = {
                name: values[row, : lengths[row]] if name in per_token else values[row]
                for name, values in batch.items()
            }
            yield index, one, other


class _Error:
    """Signal and noise of one output, summed over the examples.

    With `centred`, what all values have in common is not signal: of a regression's scores, only how they
    differ tells texts apart.
    """

    def __init__(self, centred: bool) -> None:
        self._centred = centred
        self._count = 0
        self._sum = self._squares = self._noise = self._largest = 0.0

    def add(self, expected: np.ndarray, got: np.ndarray) -> None:
        """Takes one example's values in."""
        expected, error = expected.astype(float), got.astype(float) - expected
        self._count += expected.size
        self._sum += expected.sum()
        self._squares += (expected**2).sum()
        self._noise += (error**2).sum()
        # np.maximum, unlike max, lets not-a-number through.
        self._largest = np.maximum(self._largest, np.abs(error).max())

    def summary(self) -> dict[str, float]:
        """The largest error, and signal to noise in decibels, 200 for equal values."""
        signal = self._squares - (self._sum**2 / self._count if self._centred else 0.0)
        sqnr = np.minimum(200.0, 10 * np.log10(signal / self._noise)) if self._noise else 200.0
        return {"max_abs_error": float(self._largest), "sqnr_db": float(sqnr)}


class _Decisions:
    """Counts how often both models decide the same."""

    def __init__(self, kind: str) -> None:
        # Vectors of which not one place is the answer, but the nearest other text. An encoder's are the means
        # of its tokens: what it pools is not trained by a masked LM, and may be much the same for all texts.
        self._vectors = {"embedding": "embedding", "encoder": "sequence_output"}.get(kind)
        self._same = self._total = 0
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> None:
        """Takes one example's outputs in."""
        if self._vectors is not None:
            pair = expected[self._vectors], got[self._vectors]
            self._seen.append(tuple(x.mean(axis=0) if x.ndim > 1 else x for x in pair))
            return
        for name, values in expected.items():
            self.count((values.argmax(-1) == got[name].argmax(-1)).flat)

    def count(self, same: Iterable[bool]) -> None:
        """Takes in which decisions are the same."""
        same = list(same)
        self._same += sum(same)
        self._total += len(same)

    def agreement(self) -> float:
        """The share that is the same."""
        if self._vectors is None:
            return float(self._same / self._total)
        nearest = [_nearest(np.stack(vectors)) for vectors in zip(*self._seen, strict=True)]
        return float(np.mean(nearest[0] == nearest[1]))


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """For each row, the other one at the smallest angle."""
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(-1)


def _allowed_drop(bounds: Bounds, examples: int) -> float:
    """One example may always fall: a bound under 1/n would ask a small sample for more than it says."""
    return max(bounds.drop, 1 / examples) if bounds.drop else 0.0


def _needed_agreement(bounds: Bounds, examples: int) -> float:
    return min(bounds.agreement, 1 - 1 / examples) if bounds.agreement < 1 else 1.0


def _misses(
    bounds: Bounds, examples: int, drop: float, agreement: float, sqnr_db: float
) -> list[str]:
    """The bounds that were missed, each with both figures."""
    misses = []
    # Not-a-number is a miss too, so every bound is asked whether it is kept.
    if not drop <= _allowed_drop(bounds, examples) + 1e-9:
        misses.append(f"metric drop {drop:.4f} > {_allowed_drop(bounds, examples):.4f}")
    if not agreement >= _needed_agreement(bounds, examples) - 1e-9:
        misses.append(f"agreement {agreement:.4f} < {_needed_agreement(bounds, examples):.4f}")
    if not sqnr_db >= bounds.sqnr_db:
        misses.append(f"SQNR {sqnr_db:.1f} dB < {bounds.sqnr_db:.0f} dB")
    return misses
