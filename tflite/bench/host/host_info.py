"""The machine that a measurement ran on, for its record."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..devices.linux_proc import simd


def describe_host() -> dict[str, Any]:
    """This machine: name, CPU, its SIMD, cores that this process may use, memory in GB (10^9 bytes), OS.

    `load_average` is the number of tasks that ran or waited over the last minute: well above 0 before a
    measurement, other processes shared the cores.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpuinfo = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo)
    return {
        "name": platform.node(),
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "simd": simd(cpuinfo),
        "cores": _cores(),
        "memory_gb": round(memory / 1e9, 1),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def processor(hardware: Mapping[str, Any]) -> str:
    """The CPU of a record's hardware with its SIMD, which decides what int8 gains."""
    extensions, cpu = " ".join(hardware.get("simd") or []), hardware.get("cpu") or ""
    return f"{cpu} ({extensions})" if extensions else cpu


def versions() -> dict[str, str]:
    """Versions of the libraries that run a package here."""
    return {"python": platform.python_version(), "ai-edge-litert": version("ai-edge-litert")}


def _cores() -> int:
    """Fewer than the machine has, in a container or under `taskset`."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
