"""TensorFlow's iOS benchmark app: the parameters that it reads, and the results that it shows.

The app (`tensorflow/lite/tools/benchmark/ios`, `BenchmarkViewController.mm`) runs the same tool as Android's,
with flags from `benchmark_params.json`, and shows the figures on its screen and in Xcode's console.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.text.preprocessing import MIN_SEQ_LENGTH

from ...runtime.runner import Runner
from .. import inputs, package_facts
from . import tool_output
from .device_inputs import input_order, ranges
from .tool_lines import ToolError

_SCREEN = {
    "count": r"Num runs: (\d+)",
    "mean": r"Average: ([\d.e+]+) ms",
    "min": r"Min: ([\d.e+]+) ms",
    "max": r"Max: ([\d.e+]+) ms",
    "std": r"Std deviation: ([\d.e+]+) ms",
}


def params(package: str, length: int, threads: int, runs: int) -> str:
    """The app's `benchmark_params.json` for a package at a length; all values are strings, as it wants.

    Raises:
        InputError: not a package, or a length that it does not take.
    """
    runner = Runner(package)
    longest = inputs.longest(runner)
    if not MIN_SEQ_LENGTH <= length <= longest:
        raise InputError(f"--length {length}: {package} takes {MIN_SEQ_LENGTH} to {longest} tokens")
    signature = runner.signature_for(length)
    names = input_order(Path(package).read_bytes(), signature.name)
    shape = f"1,{signature.seq_length or length}"
    values = {
        "benchmark_name": "squeezebert",
        "graph": Path(package).name,
        "num_threads": str(threads),
        "num_runs": str(runs),
        "input_layer": ",".join(names),
        "input_layer_shape": ":".join([shape] * len(names)),
        # The app takes no files of inputs.
        "input_layer_value_range": ranges(names, len(runner.package.vocabulary)),
    }
    if len(runner.signatures) > 1:
        values["signature_to_run_for"] = signature.name
    return json.dumps(values, indent=2) + "\n"


def record(
    log: str | Path, params: str | Path, package: str, phone: str, system: str
) -> dict[str, Any]:
    """A record of the contract from what the app showed or Xcode's console printed.

    Args:
        params: the `benchmark_params.json` that it ran with.
        phone: its model, as `iPhone 15 Pro`: the app does not say.
        system: as `iOS 18.1`.

    Raises:
        InputError: a file that is missing or not of the app, or of another package.
    """
    given = _read_params(params)
    if given["graph"] != Path(package).name:
        raise InputError(f"{params}: it ran {given['graph']}: expected {Path(package).name}")
    if not phone:
        raise InputError("--phone: expected the phone's model, as 'iPhone 15 Pro'")
    try:
        text = Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{log}: {error.strerror}: expected the app's results") from None
    length = int(given["input_layer_shape"].partition(":")[0].partition(",")[2])
    return {
        "package": package,
        **package_facts.of_package(Path(package).read_bytes(), Runner(package).package.properties),
        "device": f"ios:{phone}",
        "threads": int(given["num_threads"]),
        "delegate": "xnnpack",
        "core_mask": None,
        "signature": given.get("signature_to_run_for"),
        "seq_length": length,
        "padded_to": None,
        "timed": "invoke",
        **_figures(text, str(log)),
        "delegated": None,
        "states": [],
        "throttled": [],
        "profile": None,
        "hardware": {"name": phone, "cpu": "", "cores": None, "memory_gb": None, "os": system},
        "tool": {"name": "benchmark_model (tflite)", "sha256": None, "mode": "ios app"},
        "versions": {},
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "text": {"source": "ids drawn from a range: the app takes no text", "texts": 0},
    }


def _figures(text: str, name: str) -> dict[str, Any]:
    """Of the console's text, which tells more, or of the screen's."""
    if "Startup latency:" not in text:
        try:
            output = tool_output.parse(text)
        except ToolError as error:
            raise InputError(f"{name}: {error}: expected the app's results") from None
        found = output.inference
        centre = found.mean if found.median is None else found.median
        return {
            "latency_ms": {
                key: getattr(found, key)
                for key in ("min", "p5", "median", "mean", "p95", "std", "count")
            },
            "samples_ms": [centre],
            "ci95_ms": None,
            "init_ms": output.init_ms,
            "first_run_ms": output.warmup.first if output.warmup else None,
            "peak_memory_mb": output.overall_memory_mb,
            "private_memory_mb": None,
            "total_memory_mb": output.peak_memory_mb,
        }
    startup = re.search(r"Startup latency: ([\d.e+]+) ms", text)
    inference = re.search(r"Inference:\n(.*?)(?:\n\s*\n|\Z)", text.replace("\r\n", "\n"), re.S)
    values = {k: re.search(p, inference[1] if inference else "") for k, p in _SCREEN.items()}
    if startup is None or None in values.values():
        missing = [key for key, match in values.items() if match is None]
        raise InputError(f"{name}: no {', '.join(missing) or 'startup latency'} in it")
    latency = {key: float(match[1]) for key, match in values.items()}
    return {
        "latency_ms": latency
        | {"count": int(latency["count"]), "p5": None, "median": None, "p95": None},
        "samples_ms": [latency["mean"]],
        "ci95_ms": None,
        "init_ms": float(startup[1]),
        "first_run_ms": None,
        "peak_memory_mb": None,
        "private_memory_mb": None,
        "total_memory_mb": None,
    }


def _read_params(path: str | Path) -> dict[str, str]:
    wanted = {"graph": r".+", "num_threads": r"\d+", "input_layer_shape": r"1,\d+(:1,\d+)*"}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}: expected the app's benchmark_params.json") from None
    for key, form in wanted.items():
        value = found.get(key) if isinstance(found, dict) else None
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise InputError(f"{path}: {key} {value}: expected the app's benchmark_params.json")
    return found
