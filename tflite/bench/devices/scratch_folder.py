"""Folders that no measurement leaves behind, however it ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqb_tf.atomic_write import writing

_PREFIX = "sqb-inputs-"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder of its owner, removed on leaving; first those of processes that were killed are removed.

    A folder in use is locked: a lock ends with its process, whatever ended that.

    Args:
        parent: where, made if it is not there; None: among the temporary files.

    Raises:
        InputError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(parent)
        # Locked under another name: it must not look stale to a process that starts now.
        unlocked = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    lock = _lock(unlocked)
    folder = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix(".")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
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
