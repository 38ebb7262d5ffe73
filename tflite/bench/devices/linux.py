"""What a Linux machine reports: its hardware once, its state around every run."""

from __future__ import annotations

import re
from typing import Any

from . import linux_proc
from .shells import Shell

SYSTEM = "linux"
_DESCRIBE = linux_proc.script(
    "uname -nsrm",
    linux_proc.MEMORY,
    linux_proc.CORES,
    linux_proc.GOVERNOR,
    linux_proc.LOAD,
    "cat /proc/cpuinfo /proc/device-tree/model 2>/dev/null",
)
_STATE = linux_proc.script(
    "cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null",
    linux_proc.LOAD,
    linux_proc.FREQUENCIES,
    linux_proc.BOOT_ID,
)


def describe(shell: Shell) -> dict[str, Any]:
    """Name, CPU, cores, clusters, memory, OS, ABI, load, by the keys of `host_info.describe_host`."""
    answer = shell.run(_DESCRIBE).text
    names, memory, cores, governor, load, cpuinfo = linux_proc.sections(answer, 6)
    words = names.split()
    if len(words) < 4:
        raise linux_proc.unreadable(names)
    system, node, release, machine = words[:4]
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.M)
    return {
        "name": node,
        "cpu": model[1] if model else machine,
        "simd": linux_proc.simd(cpuinfo),
        "cores": len(cores.split("\n")),
        "clusters": linux_proc.clusters(cores),
        "memory_gb": linux_proc.memory_gb(memory),
        "os": f"{system} {release} {machine}",
        "abi": machine,
        "abis": [machine],
        "governor": governor.strip() or None,
        "load_average": linux_proc.load_average(load),
    }


def state(shell: Shell) -> dict[str, Any]:
    """Temperature of the warmest zone in degrees Celsius, load, clocks, limits."""
    zones, load, cpu, boot = linux_proc.sections(shell.run(_STATE).text, 4)
    millidegrees = [linux_proc.whole(word) for word in zones.split()]
    temperatures = [degrees / 1000 for degrees in millidegrees if degrees is not None]
    clocks, capped = linux_proc.frequencies(cpu)
    return {
        "temperature_c": max(temperatures, default=None),
        "load_average": linux_proc.load_average(load),
        "cpu_mhz": clocks,
        "throttled": capped,
        "boot_id": boot.strip(),
    }
