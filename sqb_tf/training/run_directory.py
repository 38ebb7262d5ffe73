"""`OUTPUT.training`, the directory in which a run keeps its state until it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file, writing
from sqb_tf.errors import InputError
from sqb_tf.json_schema import read_json_file
from sqb_tf.progress import log

RUN_RECORD = "run.json"
LOGS = "logs"  # TensorBoard's, which the bundle keeps


def open_run_directory(output: Path, identity: dict[str, Any], resume: bool) -> Path:
    """The directory of a run that writes `output`: a new one, or with `resume` that of the earlier run.

    Args:
        output: the bundle that the run writes.
        identity: everything that decides the run's result; a run is resumed only if it is equal.
        resume: whether to continue an earlier run. If there is none, the run starts from the beginning.

    Raises:
        InputError: the run to resume has another identity, or its record cannot be read.
    """
    directory = output.with_name(output.name + ".training")
    record = directory / RUN_RECORD
    if resume and record.is_file():
        _check_identity(record, identity)
        return directory
    if resume:
        log(f"nothing to resume at {directory}: starting from the beginning")
    with writing(directory):
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
    with staged_file(record) as staged:
        staged.write_text(json.dumps(identity, indent=2), encoding="utf-8")
    return directory


def _check_identity(record: Path, identity: dict[str, Any]) -> None:
    try:
        recorded = read_json_file(record, dict[str, Any])
    except InputError as error:
        raise InputError(
            f"{record}: cannot be read: {error}: start again without --resume"
        ) from None
    for name, value in json.loads(json.dumps(identity)).items():
        if recorded.get(name) != value:
            flag = name.replace("_", "-")
            raise InputError(
                f"--resume: the run in {record.parent} has {flag} {recorded.get(name)!r}, not {value!r}: "
                "repeat its flags, or start again without --resume"
            )


def remove_run_directory(directory: Path) -> None:
    """Removes the directory of a run that has ended."""
    (directory / RUN_RECORD).unlink()  # first: if killed in between, nothing is left to resume
    shutil.rmtree(directory)
