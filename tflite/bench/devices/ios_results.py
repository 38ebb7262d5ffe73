"""The results of TensorFlow's iOS benchmark app, from its screen or from Xcode's console."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError

from ...package.info import PackageInfo
from ..latency_stats import repeat_time
from ..record import Latency, Record, TextSource, ToolInfo, package_fields
from . import tool_output
from .device_state import now
from .ios_params import read_params
from .tool_lines import INTEGER, NUMBER, ToolError

_SCREEN = {
    "count": rf"Num runs: ({INTEGER})",
    "mean": rf"Average: ({NUMBER}) ms",
    "min": rf"Min: ({NUMBER}) ms",
    "max": rf"Max: ({NUMBER}) ms",
    "std": rf"Std deviation: ({NUMBER}) ms",
}


def read_record(
    log: str | Path, params_path: str | Path, package: str, phone: str, system: str
) -> Record:
    """The record of a run of the app.

    Args:
        log: text of the app's screen, or of Xcode's console, which has more figures.
        params_path: the `benchmark_params.json` that it ran with.
        phone: its model, such as `iPhone 15 Pro`: the app does not report it.
        system: such as `iOS 18.1`.

    Raises:
        InputError: a file that is missing or not the app's, or the results of another package.
    """
    params = read_params(params_path)
    if params["graph"] != Path(package).name:
        raise InputError(f"{params_path}: it ran {params['graph']}: expected {Path(package).name}")
    if not phone:
        raise InputError("--phone: expected the phone's model, such as 'iPhone 15 Pro'")
    try:
        text = Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{log}: {error.strerror}: expected the app's results") from None
    read = _read_screen if "Startup latency:" in text else _read_console
    return Record(
        package=package,
        **package_fields(PackageInfo.read(package)),
        device=f"ios:{phone}",
        threads=int(params["num_threads"]),
        delegate="xnnpack",
        core_mask=None,
        accelerator="cpu",
        accelerator_share=1.0,
        signature=params.get("signature_to_run_for"),
        seq_length=int(params["input_layer_shape"].partition(":")[0].partition(",")[2]),
        timed="invoke",
        **read(text, str(log)),
        hardware={"name": phone, "cpu": "", "cores": None, "memory_gb": None, "os": system},
        tool=ToolInfo("benchmark_model (tflite)", None, "ios app"),
        date=now(),
        text=TextSource("ids drawn from a range: the app takes no text", 0),
    )


def _read_console(text: str, name: str) -> dict[str, Any]:
    """The tool's own lines."""
    try:
        output = tool_output.parse(text)
    except ToolError as error:
        raise InputError(f"{name}: {error}: expected the app's results") from None
    figures = vars(output.inference)
    names = ("mean", "min", "p5", "median", "p95", "std", "count")
    return {
        "latency_ms": Latency(**{name: figures[name] for name in names}),
        "samples_ms": (repeat_time(figures),),
        "init_ms": output.init_ms,
        "first_run_ms": output.warmup.first if output.warmup else None,
        "peak_memory_mb": output.overall_memory_mb,
        "total_memory_mb": output.peak_memory_mb,
    }


def _read_screen(text: str, name: str) -> dict[str, Any]:
    startup = re.search(rf"Startup latency: ({NUMBER}) ms", text)
    inference = re.search(r"Inference:\n(.*?)(?:\n\s*\n|\Z)", text.replace("\r\n", "\n"), re.S)
    figures = {}
    for key, pattern in _SCREEN.items():
        if match := re.search(pattern, inference[1] if inference else ""):
            figures[key] = float(match[1])
    missing = [key for key in _SCREEN if key not in figures]
    if startup is None or missing:
        raise InputError(f"{name}: no {', '.join(missing) or 'startup latency'} in it")
    return {
        "latency_ms": Latency(
            mean=figures["mean"],
            min=figures["min"],
            std=figures["std"],
            count=int(figures["count"]),
        ),
        "samples_ms": (figures["mean"],),
        "init_ms": float(startup[1]),
    }
