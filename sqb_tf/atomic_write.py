"""Atomic writes: a file or folder appears under its final name only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqb_tf.errors import InputError


@contextlib.contextmanager
def staged_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and removed on failure.

    A device or pipe, such as `/dev/stdout`, is written directly: a rename would replace it by a file.

    Raises:
        InputError: the file cannot be written (no such folder, no permission, disk full).
    """
    if _is_special(path):
        with writing(path):
            yield Path(path)
        return
    with writing(path):
        path = Path(os.path.realpath(path))  # a link stays a link
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes)  # Keras requires weight files to end in .weights.h5
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
    """A temporary folder beside `path` that replaces it on success; on failure `path` is unchanged.

    Raises:
        InputError: as `staged_file`; also if `path` is a file, which a folder must not replace.
    """
    with writing(path):
        path = Path(os.path.realpath(path))
        if path.exists() and not path.is_dir():
            raise InputError(f"cannot write {path}: it is a file: name a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield staged
            staged.chmod(0o777 & ~_umask())
            if path.exists():
                # Two renames: a reader sees the old folder or the new one, never a mixture.
                previous = staged.with_name(staged.name + ".old")
                os.rename(path, previous)
                try:
                    os.rename(staged, path)
                except BaseException:
                    os.rename(previous, path)
                    raise
                shutil.rmtree(previous)
            else:
                os.rename(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def check_writable(path: str | Path) -> None:
    """Raises an `InputError` if no file can be written at `path`. Call it before long work."""
    if _is_special(path):
        return
    with writing(path):
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder: expected a file")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextlib.contextmanager
def writing(path: str | Path, *error_types: type[Exception]) -> Iterator[None]:
    """Turns an `OSError`, or one of `error_types` such as TensorFlow's, into an `InputError`."""
    try:
        yield
    except (OSError, *error_types) as error:  # type: ignore[misc]
        raise InputError(f"cannot write {path}: {_reason(error)}") from None


def check_room(folder: str | Path, size: int) -> None:
    """Raises an `OSError` if the disk of `folder` has less than `size` bytes free."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _reason(error: Exception) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "a part of its path is a file: expected a folder"
    # TensorFlow's messages end as in `...; No space left on device`.
    reason = getattr(error, "strerror", None) or str(getattr(error, "message", None) or error)
    return reason.strip().split("\n")[0].rpartition("; ")[2]


def _is_special(path: str | Path) -> bool:
    """Whether `path` is a device or a pipe."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
