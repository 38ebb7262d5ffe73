"""The folder in which a run keeps its state until it is done: `OUTPUT.training`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file, writing
from sqb_tf.errors import InputError
from sqb_tf.progress import log

RUN_RECORD = "run.json"


def open_work(output: Path, ours: dict[str, Any], resume: bool) -> Path:
    """The folder for a run to `output`, new, or with `resume` that of the run it goes on with.

    Args:
        ours: what makes the run what it is; a run to resume must have the same.

    Raises:
        InputError: the run to resume has other values, or its record cannot be read.
    """
    work = output.with_name(output.name + ".training")
    record = work / RUN_RECORD
    if resume and record.is_file():
        try:
            theirs = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{record}: cannot be read: {error}: start anew without --resume"
            ) from None
        for name, value in json.loads(json.dumps(ours)).items():
            if theirs.get(name) != value:
                flag = name.replace("_", "-")
                raise InputError(
                    f"--resume: the run in {work} has {flag} {theirs.get(name)!r}, not {value!r}: "
                    "repeat its flags, or start anew without --resume"
                )
        return work
    if resume:
        log(f"nothing to resume at {work}: starting from the beginning")
    with writing(work):
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
    with staged_file(record) as staged:
        staged.write_text(json.dumps(ours, indent=2), encoding="utf-8")
    return work


def close_work(work: Path) -> None:
    """Removes the folder of a run that is done."""
    (work / RUN_RECORD).unlink()  # first: without it, what a kill leaves here is no run to resume
    shutil.rmtree(work)
