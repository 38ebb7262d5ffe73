"""The faults of LiteRT's GPU accelerator that the lowering and `--for gpu` avoid are still there.

A test that fails is good news: LiteRT mended that fault. Then its rule in `tflite/accelerators/rules.py`,
what avoids it, and its part of docs/accelerators.md can go.
"""

import json
import subprocess
import sys

import pytest
from fixtures.gpu import needs_gpu_accelerator
from fixtures.paths import TESTS

from sqb_tflite.accelerators import vulkan

REPORT = TESTS / "peers" / "litert_gpu_faults" / "report.py"
# Sums of 32 products about 1, in float32; a fault is off by more than the values themselves.
ROUNDING, FAULT = 1e-4, 1.0

pytestmark = needs_gpu_accelerator


@pytest.fixture(scope="module")
def errors() -> dict[str, dict]:
    """What the report prints, by case."""
    run = subprocess.run(
        [sys.executable, REPORT],
        env=vulkan.find().environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return {case["case"]: case for case in map(json.loads, run.stdout.splitlines())}


@pytest.mark.parametrize("case", ["rows", "groups"])
def test_fault_is_still_there(case, errors):
    first, others = errors[case]["gpu"]
    assert first < ROUNDING < FAULT < others, f"LiteRT mended {case}: see this file's docstring"
    assert errors[case]["fully_accelerated"]  # by which nobody can tell


@pytest.mark.parametrize("case", ["one group", "groups in float32"])
def test_beside_the_fault_answers_are_right(case, errors):
    assert max(errors[case]["gpu"]) < ROUNDING


def test_cpu_is_right(errors):
    # XNNPACK rounds the activations of int8 convolutions to 8 bits: sums of 32 products about 1.
    assert max(max(case["cpu"]) for case in errors.values()) < 0.3
