"""The machine that a measurement ran on, for its record."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any


def host() -> dict[str, Any]:
    """This machine: name, CPU, cores that this process may use, memory in GB (10^9 bytes), OS.

    `load_average` is the number of tasks running or waiting, over the last minute: well above 0 before
    a measurement, others shared the cores.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "name": platform.node(),
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_gb": round(memory / 1e9, 1),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Versions of what runs a package here."""
    return {"python": platform.python_version(), "ai-edge-litert": version("ai-edge-litert")}


def _cpu() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:  # not Linux
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _cores() -> int:
    """Fewer than the machine has, in a container or under `taskset`."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
