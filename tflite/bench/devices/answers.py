"""Whether a device computes what this machine does: its outputs beside those of our interpreter.

`benchmark_model --output_filepath` writes the outputs of its last run, one after the other in the order of
the graph, without names, shapes or types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...package.info import SignatureInfo
from ...runtime.runner import Runner
from ..record import FLOAT_RECIPES
from .shells import DeviceError

# What is fetched after each start, and compared: the scores of a masked LM are 62 MB at 512 tokens.
MAX_BYTES = 1 << 18
# Differences that are no fault, see `Answers.difference`: of float32 2e-7 between kernels, in float16 some
# 5e-3; XNNPACK against the reference kernels up to 0.08 where activations are int8, 0.24 in integers only.
# Outputs of 0 give 1, other ids 0.3 to 1.4, but 0.04 to 0.3 where the answer hardly depends on them: those
# pass, and stand in the table.
FLOAT_BOUND, BOUND = 0.01, 0.5
# A smaller answer is not told from 0 by its own size: a score of 0.01 may become 0.02.
SMALLEST = 0.1


class _Part(NamedTuple):
    """One output: its values, as the graph has them, and how integers are scaled; a scale of 0 for floats."""

    name: str
    values: np.ndarray
    scale: float
    zero_point: int

    def scaled(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        return (values - self.zero_point) * self.scale if self.scale else values


@dataclasses.dataclass(frozen=True)
class Answers:
    """The outputs of one run in the order of the graph, and how many bytes they have."""

    parts: tuple[_Part, ...]
    size: int

    @classmethod
    def compute(
        cls, runner: Runner, signature: SignatureInfo, inputs: Mapping[str, np.ndarray]
    ) -> Answers:
        """Those of our interpreter, on this machine; of the first `MAX_BYTES`, which are compared."""
        outputs = runner.stored_outputs(inputs, signature.name)
        scales = runner.signatures[signature.name].scales
        parts, size = [], 0
        for name in signature.graph_outputs:
            values = np.ravel(outputs[name])
            room = max(MAX_BYTES - size, 0) // values.itemsize
            parts.append(_Part(name, values[:room].copy(), *scales[name]))
            size += values.nbytes
        return cls(tuple(part for part in parts if part.values.size), size)

    def difference(self, data: bytes) -> float:
        """How far a device's outputs are from these: 0 for equal ones, 1 for others as far as 0.

        Of the output that differs most, the norm of the difference over that of the answer, which counts as
        `SMALLEST` at least.

        Args:
            data: its first `MAX_BYTES`.

        Raises:
            DeviceError: wrong answers: another number of bytes, or values that are not finite.
        """
        expected = min(self.size, MAX_BYTES)
        if len(data) != expected:
            reason = f"its outputs have {len(data)} bytes, not {expected} as on this machine"
            raise DeviceError("wrong answers", reason)
        start, differences = 0, []
        for part in self.parts:
            values = np.frombuffer(data, part.values.dtype, part.values.size, start)
            start += values.nbytes
            if not np.isfinite(part.values).all():
                continue  # which no device can be judged by
            if not np.isfinite(values).all():
                raise DeviceError("wrong answers", f"{part.name} has values that are not finite")
            answer = part.scaled(part.values)
            distance = float(np.linalg.norm(part.scaled(values) - answer))
            differences.append(distance / max(float(np.linalg.norm(answer)), SMALLEST))
        return max(differences, default=0.0)


def check(expected: Answers, data: bytes, recipe: str | None, delegate: str) -> float:
    """`Answers.difference`, if other kernels, or the other arithmetic of a delegate, explain it.

    Raises:
        DeviceError: wrong answers.
    """
    difference = expected.difference(data)
    on_cpu = delegate in ("xnnpack", "none")
    bound = FLOAT_BOUND if recipe in FLOAT_RECIPES and on_cpu else BOUND
    if not difference <= bound:  # nor where it is not a number
        raise DeviceError(
            "wrong answers",
            f"its outputs differ by {difference:.1%} from this machine's for the same inputs; other kernels "
            f"explain {bound:.0%}: its times are those of another computation",
        )
    return round(difference, 9)
