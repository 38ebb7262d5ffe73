"""Writing so that nothing half-written ever bears the final name."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqb_tf.errors import InputError


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, parted at line feeds only: a token may be another separator."""
    return Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")


@contextlib.contextmanager
def staged_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and removed on failure.

    Raises:
        InputError: the file cannot be written (no such folder, no permission, disk full).
    """
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes)  # Keras wants a weight file to end in .weights.h5
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
        os.close(handle)
        staged = Path(name)
        try:
            yield staged
            staged.chmod(0o666 & ~_umask())
            os.replace(staged, path)
        finally:
            staged.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_directory(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place on success; on failure `path` stays.

    Raises:
        InputError: as `staged_file`.
    """
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield staged
            staged.chmod(0o777 & ~_umask())
            if path.exists():
                # Two renames: a reader finds the old folder or the new one, never a mixture.
                previous = staged.with_name(staged.name + ".old")
                os.rename(path, previous)
                os.rename(staged, path)
                shutil.rmtree(previous)
            else:
                os.rename(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def check_writable(path: str | Path) -> None:
    """`InputError` now, before the long work, if nothing can be written at `path`."""
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise InputError(f"cannot write {path}: {reason}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
