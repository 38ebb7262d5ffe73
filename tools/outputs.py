"""What is there already where a tool writes: only --overwrite replaces it, and a finished run is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.json_schema import read_json_file
from sqb_tf.training.run_directory import (
    CONTENT,
    OPTIONS_SUM,
    check_unlocked,
    has_state,
    options_sum,
)
from sqb_tools import entry, results
from sqb_tools.shared_options import SavingOptions


def check_new(output: str, overwrite: bool) -> None:
    """`InputError` if a model is there that may not be replaced; other contents never are."""
    if not overwrite and Path(output, "config.json").is_file():
        raise InputError(f"{output} is there already: --overwrite replaces it")


def is_finished(
    output: str, saving: SavingOptions, options: Any, content: str | None = None
) -> bool:
    """Whether `--resume` asks for a run of these options, and of data with this sum, that has ended.

    Raises:
        InputError: a bundle is there that may not be replaced: without `--resume`, or that of another run. Or
            another process writes it.
    """
    check_unlocked(Path(output))
    if saving.resume and has_state(Path(output)):
        return False
    if saving.resume and not saving.overwrite:
        metrics = _metrics(output)
        same_data = metrics.get(CONTENT) == content and _has_samples(output) == saving.samples
        if metrics.get(OPTIONS_SUM) == options_sum(options) and same_data:
            return True
    check_new(output, saving.overwrite)
    return False


def tell_finished(args: argparse.Namespace, output: str) -> int:
    """The result of a run that had ended before."""
    results.emit(args, f"bundle {output}\nfinished: nothing to resume", _metrics(output))
    return entry.DONE


def privacy(samples: bool) -> str:
    """A line for people: what of a bundle that was just written is not for everybody."""
    if samples:
        return "private: texts of your data, the command line and paths; `sqb share` writes a copy without"
    return "private: no texts, command line or paths; to convert it, name --data and --calibration"


def _has_samples(output: str) -> bool:
    path = Path(output, "verification.jsonl")
    return path.is_file() and path.stat().st_size > 0


def _metrics(output: str) -> dict[str, Any]:
    """What a bundle says of its training; nothing where there is none."""
    path = Path(output, "metrics.json")
    return read_json_file(path, dict[str, Any]) if path.is_file() else {}
