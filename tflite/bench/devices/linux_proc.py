"""What the Linux kernel tells of a machine, of phones and boards alike."""

from __future__ import annotations

import itertools
import re

from .shells import DeviceError

# Shell commands whose output the functions below read.
MEMORY = "cat /proc/meminfo"
CORES = """for d in /sys/devices/system/cpu/cpu[0-9]*; do
echo "${d##*/} $(cat $d/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done"""
GOVERNOR = "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null"
FREQUENCIES = """for d in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do c=${d%/cpufreq}
echo "${c##*/}" $(cat $d/scaling_cur_freq $d/scaling_max_freq $d/cpuinfo_max_freq 2>/dev/null); done"""
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

# Of a core's instructions those that decide how int8 compares with float32, by the kernel's names: x86, Arm.
_SIMD = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


def script(*commands: str) -> str:
    """Commands whose outputs `sections` parts again."""
    return "\necho @@\n".join(commands)


def sections(text: str, count: int) -> list[str]:
    """What stands between lines of `@@`.

    Raises:
        DeviceError: there are not `count` of them.
    """
    found = [part.strip("\n") for part in re.split(r"^@@$", text, flags=re.M)]
    if len(found) != count:
        last = (text.strip().split("\n") or [""])[-1][:200]
        raise DeviceError("unreadable", f"the device does not say what it is: {last}")
    return found


def memory_gb(meminfo: str) -> float | None:
    """`MemTotal` in GB (10^9 bytes)."""
    total = re.search(r"MemTotal:\s*(\d+) kB", meminfo)
    return round(int(total[1]) * 1024 / 1e9, 1) if total else None


def simd(cpuinfo: str) -> list[str]:
    """Which of `_SIMD` the first core has, from /proc/cpuinfo."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.M)
    flags = found[1].split() if found else []
    return [name for name in _SIMD if name in flags]


def clusters(cores: str) -> list[list[int | None]]:
    """[cores, MHz at most] of each group of equal ones, from lines of `cpu0 1766400`."""
    found = re.findall(r"^cpu(\d+) ?(\d*)$", cores, re.M)
    limits = [int(khz) // 1000 if khz else None for _, khz in sorted(found, key=_number)]
    return [[len(list(same)), mhz] for mhz, same in itertools.groupby(limits)]


def frequencies(lines: str) -> tuple[list[int] | None, list[str]]:
    """Clocks of the cores in MHz, and which may not run at their best, from `cpu0 now allowed best`."""
    found = sorted(re.findall(r"^cpu(\d+) (\d+) (\d+) (\d+)$", lines, re.M), key=_number)
    if not found:
        return None, []
    limited = [
        f"cpu{core} limited to {int(allowed) // 1000} of {int(best) // 1000} MHz"
        for core, _, allowed, best in found
        if int(allowed) < int(best)
    ]
    return [int(now) // 1000 for _, now, _, _ in found], limited


def _number(fields: tuple[str, ...]) -> int:
    return int(fields[0])
