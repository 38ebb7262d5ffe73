"""What is there already where a tool writes: only --overwrite replaces it, and a finished run is told."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tf.training.run_directory import has_state
from sqb_tools import entry, results
from sqb_tools.shared_options import SavingOptions


def check_new(output: str, overwrite: bool) -> None:
    """`InputError` if a model is there that may not be replaced; other contents never are."""
    if not overwrite and Path(output, "config.json").is_file():
        raise InputError(f"{output} is there already: --overwrite replaces it")


def is_finished(output: str, saving: SavingOptions) -> bool:
    """Whether `--resume` asks for a run that has ended.

    Raises:
        InputError: a bundle is there that may not be replaced.
    """
    if saving.resume and has_state(Path(output)):
        return False
    if saving.resume and not saving.overwrite and Path(output, "metrics.json").is_file():
        return True
    check_new(output, saving.overwrite)
    return False


def tell_finished(args: argparse.Namespace, output: str) -> int:
    """The result of a run that had ended before."""
    metrics = json.loads(Path(output, "metrics.json").read_text(encoding="utf-8"))
    results.emit(args, f"bundle {output}\nfinished: nothing to resume", metrics)
    return entry.DONE
