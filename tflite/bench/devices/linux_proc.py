"""What the Linux kernel reports, on phones and boards alike."""

from __future__ import annotations

import itertools
import re

from sqb_tf.line_file import escape_breaks

from .shells import DeviceError

# Shell commands whose output the functions below read.
MEMORY = "cat /proc/meminfo"
CORES = """for d in /sys/devices/system/cpu/cpu[0-9]*; do
echo "${d##*/} $(cat $d/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done"""
GOVERNOR = "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null"
FREQUENCIES = """for d in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do c=${d%/cpufreq}
echo "${c##*/}" $(cat $d/scaling_cur_freq $d/scaling_max_freq $d/cpuinfo_max_freq 2>/dev/null); done"""
LOAD = "cat /proc/loadavg"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

# The instruction sets that decide how int8 compares with float32, by the kernel's names: x86, then Arm.
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


# A number is what these match: `str.isdigit` holds for digits that `int` refuses, and `int` refuses 5,000.
_WHOLE = "[0-9]{1,15}"
_DECIMAL = r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?"


def script(*commands: str) -> str:
    """Joins commands so that `sections` can separate their outputs."""
    return "\necho @@\n".join(commands)


def sections(text: str, count: int) -> list[str]:
    """The parts of an output between lines of `@@`.

    Raises:
        DeviceError: there are not `count` parts.
    """
    parts = [part.strip("\n") for part in re.split(r"^@@$", text, flags=re.M)]
    if len(parts) != count:
        raise unreadable(text)
    return parts


def unreadable(answer: str) -> DeviceError:
    """The error for an answer of another form than expected."""
    last = (answer.strip().split("\n") or [""])[-1][:200]
    return DeviceError("unreadable", f"the device does not say what it is: {escape_breaks(last)}")


def whole(word: str) -> int | None:
    """The number that a word is; None: it is none."""
    return int(word) if re.fullmatch(_WHOLE, word) else None


def decimal(word: str) -> float | None:
    """The number that a word is; None: it is none."""
    return float(word) if re.fullmatch(_DECIMAL, word) else None


def memory_gb(meminfo: str) -> float | None:
    """`MemTotal` in GB (10^9 bytes)."""
    total = re.search(rf"MemTotal:\s*({_WHOLE}) kB", meminfo)
    return round(int(total[1]) * 1024 / 1e9, 1) if total else None


def load_average(loadavg: str) -> float | None:
    """Tasks that ran or waited, over the last minute."""
    return decimal(loadavg.partition(" ")[0])


def simd(cpuinfo: str) -> list[str]:
    """Which of `_SIMD` the first core has, from /proc/cpuinfo."""
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.M)
    flags = line[1].split() if line else []
    return [name for name in _SIMD if name in flags]


def clusters(cores: str) -> list[list[int | None]]:
    """[cores, maximum MHz] of each group of equal cores, from lines such as `cpu0 1766400`."""
    rows = re.findall(rf"^cpu({_WHOLE}) ?({_WHOLE}|)$", cores, re.M)
    limits = [int(khz) // 1000 if khz else None for _, khz in sorted(rows, key=_core_number)]
    return [[len(list(equal)), mhz] for mhz, equal in itertools.groupby(limits)]


def frequencies(lines: str) -> tuple[list[int] | None, list[str]]:
    """Clocks of the cores in MHz, and the limited cores, from lines of `cpu0 CURRENT ALLOWED MAXIMUM`."""
    row = rf"^cpu({_WHOLE}) ({_WHOLE}) ({_WHOLE}) ({_WHOLE})$"
    rows = sorted(re.findall(row, lines, re.M), key=_core_number)
    if not rows:
        return None, []
    limited = [
        f"cpu{core} limited to {int(allowed) // 1000} of {int(maximum) // 1000} MHz"
        for core, _, allowed, maximum in rows
        if int(allowed) < int(maximum)
    ]
    return [int(now) // 1000 for _, now, _, _ in rows], limited


def _core_number(fields: tuple[str, ...]) -> int:
    return int(fields[0])
