"""Temporary folders that no measurement leaves behind, however it ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "sqb-inputs-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, removed on leaving; first those of processes that were killed are removed.

    A folder in use is locked: a lock ends with its process, whatever ended that.
    """
    _remove_stale()
    # Locked under another name: it must not look stale to a process that starts now.
    unlocked = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
    lock = _lock(unlocked)
    folder = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix(".")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_stale() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or removed meanwhile
            if (lock := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """The descriptor of a folder that is now ours; None: a process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
