"""Whether LiteRT's GPU accelerator takes a package whole and answers as the CPU does, on real text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError

from ..conversion.recipes import Recipe
from ..package.info import PackageInfo
from ..runtime.runner import Runner
from ..verification.verify import compare
from .gpu_runner import GpuRunner


@dataclasses.dataclass(frozen=True)
class Check:
    """What running a package on an accelerator found; `misses` says what was wrong, empty for nothing.

    Attributes:
        driver: the Vulkan driver; `vk_swiftshader_icd` is a CPU, whose times say nothing about a GPU.
        whole: whether every operation ran on the accelerator.
        left_to_cpu: how many did not, as LiteRT counts them.
        refused: why, in LiteRT's words, and how often it said so.
        agreement: the share of examples with the decision that the CPU makes with the same file.
        sqnr_db, max_abs_error: of the outputs, beside the CPU's.
        metric: `name`, `cpu`, `gpu`, `drop`; None each where the head has none, or examples have
            no label.
    """

    accelerator: str
    driver: str
    runtime: str
    examples: int
    whole: bool
    left_to_cpu: int
    refused: dict[str, int]
    agreement: float
    sqnr_db: float
    max_abs_error: float
    metric: dict[str, Any]
    misses: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what the manifest keeps."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """The check for people."""
        taken = "whole" if self.whole else f"all but {self.left_to_cpu} operations"
        reasons = "; ".join(self.refused)
        rows = [
            ("GPU takes", taken, reasons or f"LiteRT on {self.driver}"),
            ("GPU, as the CPU", f"{self.agreement:.4f}", f"of {self.examples} decisions"),
            ("GPU, beside the CPU", f"{self.sqnr_db:.1f} dB", f"error {self.max_abs_error:.2e}"),
            (
                "verdict on the GPU",
                "missed" if self.misses else "whole, right",
                "; ".join(self.misses),
            ),
        ]
        return "\n".join(f"{a:<22} {b:>14}  {c}".rstrip() for a, b, c in rows)


def check_gpu(path: str | Path, examples: Sequence[Example]) -> Check:
    """Runs `examples` through a package on the CPU and on LiteRT's GPU accelerator.

    The GPU's answers are judged beside the CPU's by the bounds of the package's recipe. Never by what LiteRT
    says: it calls packages wholly accelerated whose answers are wrong.

    Raises:
        InputError: no examples; no driver; a package of any length, or one that the accelerator cannot run.
    """
    if not examples:
        raise InputError("no texts to check the GPU's answers on: name a file of them with --data")
    info = PackageInfo.read(path)
    bounds = Recipe.named(info.recipe or "").bounds
    with GpuRunner(path) as gpu, Runner(path) as cpu:
        labelled = all(example.label is not None for example in examples)
        task = str(info.properties.get("task")) if labelled else None
        compared = compare(cpu, gpu, task, examples)
        whole = gpu.whole and not gpu.left_to_cpu
        metric = compared.metric
        return Check(
            accelerator="gpu",
            driver=gpu.driver.name,
            runtime=gpu.runtime,
            examples=len(examples),
            whole=whole,
            left_to_cpu=gpu.left_to_cpu,
            refused=gpu.refused,
            agreement=compared.agreement,
            sqnr_db=compared.sqnr_db,
            max_abs_error=compared.max_abs_error,
            metric={
                "name": metric["name"],
                "cpu": metric["expected"],
                "gpu": metric["actual"],
                "drop": metric["drop"],
            },
            misses=[
                *([] if whole else ["not whole on the GPU"]),
                *(f"on the GPU: {miss}" for miss in compared.misses(bounds)),
            ],
        )
