"""Says that memory is short before TensorFlow is imported, which would die with no word."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from sqb_tf.errors import InputError

GUARDED = "tensorflow"
# Fine-tuning the smallest preset ended in SIGSEGV or SIGABRT with 1.5 to 3 GB of address space (8 of 8 runs);
# with 4 GB it worked in 2 of 2 runs here, in 3 of 8 on another machine.
ADDRESS_SPACE = 6 << 30
# Resident memory, of which the import takes half.
MEMORY = 1 << 30
# What a container may use; the files of both versions of cgroups.
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class MemoryGuard(MetaPathFinder):
    """Finds no module; raises `InputError` where the guarded one would not fit."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, for the finders behind this one."""
        if name == GUARDED:
            check(
                address_space_limit(),
                ADDRESS_SPACE,
                "address space",
                "raise it: ulimit -v unlimited",
            )
            check(memory_limit(), MEMORY, "memory", "give this container more")
        return None


def install() -> None:
    """Guards the imports of this process from now on."""
    if not any(isinstance(finder, MemoryGuard) for finder in sys.meta_path):
        sys.meta_path.insert(0, MemoryGuard())


def check(limit: int | None, needed: int, what: str, advice: str) -> None:
    """`InputError` if there is a limit below what is needed, in bytes."""
    if limit is not None and limit < needed:
        raise InputError(
            f"TensorFlow needs {needed / 1e9:.1f} GB of {what}, the limit is {limit / 1e9:.1f} GB: {advice}"
        )


def address_space_limit() -> int | None:
    """That of this process in bytes (`ulimit -v`); None: there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def memory_limit() -> int | None:
    """That of the container in bytes; None: there is none, or the system does not say."""
    for path in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            return int(path.read_text())
    return None
