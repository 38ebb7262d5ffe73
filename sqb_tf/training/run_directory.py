"""`OUTPUT.training`, the directory in which a run keeps its state until it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file, writing
from sqb_tf.errors import InputError
from sqb_tf.json_schema import read_json_file
from sqb_tf.progress import log

RUN_RECORD, OWNER = "run.json", "owner.json"
# The part of a run's identity that is a sum of its data.
CONTENT = "content"
# In the metrics of a bundle: a sum of all options, also of those that `--no-samples` leaves out.
OPTIONS_SUM = "options_sha256"
LOGS = "logs"  # TensorBoard's, which the bundle keeps


def options_sum(options: Any) -> str:
    """The sha256 of the options of a run, a dataclass."""
    text = json.dumps(dataclasses.asdict(options), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_directory(output: Path) -> Path:
    """That of the run which writes `output`."""
    return output.with_name(output.name + ".training")


def has_state(output: Path) -> bool:
    """Whether there is a run to resume that writes `output`."""
    return (run_directory(output) / RUN_RECORD).is_file()


@contextlib.contextmanager
def locked_run(output: Path) -> Iterator[None]:
    """Keeps other processes from writing `output` meanwhile.

    The lock is the system's on the run's directory, so that nothing is left of it if the process is killed.

    Raises:
        InputError: another run writes `output`; says which process, on which machine, and since when. Or the
            directory holds something else than a run.
    """
    directory = run_directory(output)
    with writing(directory):
        _check_own(directory)
        descriptor = _locked(directory)
    try:
        if descriptor is None:
            raise InputError(
                f"{output}: {_owner(directory)} writes it: wait, or name another --output"
            )
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):  # it has a state, or is gone
                if os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                    directory.rmdir()
            os.close(descriptor)


def check_unlocked(output: Path) -> None:
    """`InputError` if another run writes `output`: told before TensorFlow takes seconds to import."""
    with locked_run(output):
        pass


def _check_own(directory: Path) -> None:
    """`InputError` if the directory holds something that no run wrote."""
    own = any((directory / name).is_file() for name in (RUN_RECORD, OWNER))
    if directory.is_dir() and any(directory.iterdir()) and not own:
        raise InputError(
            f"{directory}: a run would keep its state there, and it holds something else: move it, or name "
            "another --output"
        )


def _empty(directory: Path) -> None:
    """Removes what is in it but its owner, by which it is known as a run's."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != OWNER:
            path.unlink()


def _locked(directory: Path) -> int | None:
    """A descriptor that holds the lock of a directory, which is made; None: another process has it."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its run ended in between, and removed it


def _write_owner(directory: Path) -> None:
    """Says who writes here, for those who find the directory locked."""
    now = datetime.datetime.now().astimezone()
    owner = {"process": os.getpid(), "host": socket.gethostname()}
    with staged_file(directory / OWNER) as staged:
        staged.write_text(
            json.dumps({**owner, "since": f"{now:%Y-%m-%d %H:%M:%S %z}"}), encoding="utf-8"
        )


def _owner(directory: Path) -> str:
    try:
        owner = json.loads((directory / OWNER).read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['host']}, since {owner['since']},"
    except (OSError, ValueError, KeyError):  # it has just begun
        return "another process"


def open_run_directory(output: Path, identity: dict[str, Any], resume: bool) -> Path:
    """The directory of the run that writes `output`: a new one, or with `resume` that of the earlier run.

    The caller has the lock, see `locked_run`.

    Args:
        output: the bundle that the run writes.
        identity: everything that decides the run's result; a run is resumed only if it is equal.
        resume: whether to continue an earlier run. If there is none, the run starts from the beginning.

    Raises:
        InputError: the run to resume has another identity, or its record cannot be read.
    """
    directory = run_directory(output)
    record = directory / RUN_RECORD
    if resume and record.is_file():
        _check_identity(record, identity)
        _write_owner(directory)
        return directory
    if resume:
        log(f"nothing to resume at {directory}: starting from the beginning")
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        _empty(directory)
    _write_owner(directory)
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
        if name == CONTENT and name not in recorded:  # begun by a version that kept none
            continue
        if name == CONTENT and recorded[name] != value:
            raise InputError(
                f"--resume: the data of the run in {record.parent} has changed since it began: start again "
                "without --resume"
            )
        if recorded.get(name) != value:
            flag = name.replace("_", "-")
            raise InputError(
                f"--resume: the run in {record.parent} has {flag} {recorded.get(name)!r}, not {value!r}: "
                "repeat its flags, or start again without --resume"
            )


def remove_run_directory(directory: Path) -> None:
    """Removes the directory of a run that has ended."""
    (directory / RUN_RECORD).unlink()  # first: if killed in between, nothing is left to resume
    _empty(directory)
    shutil.rmtree(directory)
