"""Verification: the Keras model against the packaged file, on held-out real text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.progress import track
from sqb_tf.tasks.delimited import Example
from sqb_tf.tasks.layouts import TASKS
from sqb_tf.tasks.metrics import scores
from sqb_tf.tasks.task import targets
from tflite.predictor import keras_outputs
from tflite.recipes import Bounds, Recipe
from tflite.runner import Runner

KERAS_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Report:
    """What verification found; `misses` says which bounds were missed, empty when none."""

    examples: int
    metric: dict[str, Any]  # name, keras, package, drop
    agreement: float
    max_abs_error: float
    sqnr_db: float
    size_bytes: int
    recipe: str
    tensors: dict[str, dict[str, float]]
    misses: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the contract's keys."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """The report for people."""
        metric, bounds = self.metric, Recipe.named(self.recipe).bounds
        rows = [
            ("examples", f"{self.examples}", ""),
            (f"{metric['name']}, Keras", f"{metric['keras']:.4f}", ""),
            (
                f"{metric['name']}, package",
                f"{metric['package']:.4f}",
                f"drop {metric['drop']:+.4f}, at most {_allowed_drop(bounds, self.examples):.4f}",
            ),
            (
                "same top label",
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


def verify(model: Any, path: str | Path | bytes, examples: Sequence[Example]) -> Report:
    """Runs `examples` through `model` (of `sqb_tf.load`) and through the packaged bytes.

    Raises:
        InputError: no examples, a package that cannot be opened or that holds another model's labels.
    """
    runner = Runner(path)
    if not examples:
        raise InputError("no held-out examples to verify on")
    if runner.package.labels != model.labels:
        raise InputError(
            f"the package's labels {runner.package.labels} are not the model's {model.labels}: "
            "it is not a conversion of this bundle"
        )
    if "recipe" not in runner.package.properties:
        raise InputError(
            "the package does not name its recipe, which sets its bounds: expected one of "
            "tools/convert.py"
        )
    kind = model.info.task.kind
    recipe = Recipe.named(runner.package.properties["recipe"])
    expected = _keras_outputs(model, examples)
    pairs = ((e.text, e.pair) for e in examples)
    got = np.stack(list(track(runner.outputs(pairs), "verify", len(examples))))

    goals = targets(model.labels, examples, kind)
    name = TASKS[model.info.task.task].metrics[0]
    keras, package = (scores([name], outputs, goals)[name] for outputs in (expected, got))
    drop = keras - package
    agreement = float(np.mean(expected.argmax(-1) == got.argmax(-1)))
    (output,) = next(iter(runner.signatures.values())).outputs
    error = {
        "max_abs_error": float(np.abs(got - expected).max()),
        "sqnr_db": _sqnr(expected, got, kind),
    }
    size = len(path) if isinstance(path, bytes) else Path(path).stat().st_size
    return Report(
        examples=len(examples),
        metric={"name": name, "keras": keras, "package": package, "drop": drop},
        agreement=agreement,
        **error,
        size_bytes=size,
        recipe=recipe.label,
        tensors={output: error},
        misses=_misses(recipe.bounds, len(examples), drop, agreement, error["sqnr_db"]),
    )


def _keras_outputs(model: Any, examples: Sequence[Example]) -> np.ndarray:
    """The Keras model's outputs, float32 `[n, labels]`, in batches of about equal length."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))
    outputs = np.empty((len(examples), len(model.labels)), np.float32)
    batches = [order[i : i + KERAS_BATCH] for i in range(0, len(order), KERAS_BATCH)]
    for rows in track(batches, "Keras model", len(batches)):
        pairs = [examples[i].pair for i in rows] if model.info.task.paired else None
        inputs = model.preprocessor([examples[i].text for i in rows], pairs)
        outputs[rows] = keras_outputs(model, inputs)
    return outputs


def _sqnr(expected: np.ndarray, got: np.ndarray, kind: str) -> float:
    """Signal to quantization noise of the outputs in decibels; 200 for equal ones.

    What all scores of a regression have in common is not signal: only how they differ tells texts apart.
    """
    offset = expected.mean(dtype=float) if kind == "regression" else 0.0
    signal = np.sum((expected.astype(float) - offset) ** 2)
    noise = np.sum((got - expected).astype(float) ** 2)
    # np.minimum, unlike min, lets not-a-number through.
    return float(np.minimum(200.0, 10 * np.log10(signal / noise))) if noise else 200.0


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
