"""What is fuzzed: readers of files that may come from anywhere.

A reader is added as a function from a file's bytes to None, an entry in `TARGETS`, a fixture in `conftest.py`
for its valid files, and inputs that were bad once in `inputs/NAME/`.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tflite.package.flatbuffer import Damaged


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: reads a file's bytes. Imports what it needs inside, and no TensorFlow: it runs in forks.
        seeds: the fixture that gives valid files, as a list of bytes.
        refusals: the exceptions by which it refuses a file, with a message of one line.
    """

    read: Callable[[bytes], None]
    seeds: str
    refusals: tuple[type[Exception], ...] = (InputError,)


def read_package(content: bytes) -> None:
    """Unpacks a package, and reads what it says of itself, from bytes and as the tools do from a file."""
    from sqb_tflite.package import container
    from sqb_tflite.package.info import PackageInfo

    info = PackageInfo.read(content)
    _ = (info.recipe, info.head, info.versions, info.max_seq_length, info.manifest())
    with _file(content, ".tflite") as path:
        container.unpack(path)


def read_metadata(content: bytes) -> None:
    """Reads the metadata flatbuffer alone."""
    from sqb_tflite.package import metadata

    metadata.read(content)


def describe(content: bytes) -> None:
    """Describes a package, as tables too."""
    from sqb_tflite.runtime.describe import describe, table

    with _file(content, ".tflite") as path:
        table(describe(path))


def run_package(content: bytes) -> None:
    """Opens a package and gives it a text."""
    from sqb_tflite.runtime.runner import Runner

    runner = Runner(content)
    list(runner.stream([("a good film zz \u00e9", None)]))


class _file:
    """A temporary file of this content; `with` gives its path."""

    def __init__(self, content: bytes, suffix: str) -> None:
        self._content, self._suffix = content, suffix

    def __enter__(self) -> Path:
        descriptor, path = tempfile.mkstemp(self._suffix)
        with open(descriptor, "wb") as file:
            file.write(self._content)
        self._path = Path(path)
        return self._path

    def __exit__(self, *_error: object) -> None:
        os.unlink(self._path)


TARGETS = {
    "package": Target(read_package, "fuzz_packages"),
    "metadata": Target(read_metadata, "fuzz_metadata", (Damaged,)),
    "describe": Target(describe, "fuzz_packages"),
    "runner": Target(run_package, "fuzz_packages"),
}


def misbehave(content: bytes) -> None:
    """Does what its input says, for the test of the guard itself."""
    if content == b"crash":
        os.abort()
    if content == b"memory":
        _ = b"x" * (1 << 30)
    while content == b"endless":
        pass
    if content == b"traceback":
        raise KeyError(content)
    if content == b"refuse":
        raise InputError("file: bad; expected a good one")
    if content == b"lines":
        raise InputError("file: bad;\nexpected a good one")


MISBEHAVING = Target(misbehave, "")
