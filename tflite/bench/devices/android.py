"""An Android device in words and figures: hardware once, its state around every run."""

from __future__ import annotations

import re
from typing import Any

from .linux_proc import (
    BOOT_ID,
    CORES,
    FREQUENCIES,
    GOVERNOR,
    MEMORY,
    clusters,
    frequencies,
    memory_gb,
    script,
    sections,
    simd,
)
from .shells import Shell

SYSTEM = "android"
_DESCRIBE = script("getprop", MEMORY, CORES, GOVERNOR, "cat /proc/cpuinfo")
_STATE = script(
    "dumpsys battery",
    "dumpsys thermalservice 2>/dev/null",
    FREQUENCIES,
    "dumpsys power 2>/dev/null | grep mWakefulness=",
    BOOT_ID,
)
# android.os.Temperature.TYPE_SKIN: what the owner feels, and what throttling goes by.
_SKIN = 3
_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_WAKE = """settings get global stay_on_while_plugged_in
svc power stayon true
input keyevent KEYCODE_WAKEUP"""


def describe(shell: Shell) -> dict[str, Any]:
    """Name, CPU, cores, clusters, memory, OS, ABIs: as `device.host`."""
    properties, memory, cores, governor, cpuinfo = sections(shell.run(_DESCRIBE).text, 5)
    found = dict(re.findall(r"^\[(.+?)\]: \[(.*)\]$", properties, re.M))

    def first(*names: str) -> str:
        return next((found[name] for name in names if found.get(name)), "")

    maker, model = first("ro.product.manufacturer"), first("ro.product.model")
    abis = first("ro.product.cpu.abilist", "ro.product.cpu.abi").split(",")
    chip = first("ro.soc.model", "ro.board.platform", "ro.hardware")
    named = re.search(r"^Hardware\s*:\s*(.+)$", cpuinfo, re.M)
    return {
        "name": model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip(),
        "cpu": f"{first('ro.soc.manufacturer')} {chip}".strip() or (named[1] if named else ""),
        "simd": simd(cpuinfo),
        "cores": len(cores.split("\n")),
        "clusters": clusters(cores),
        "memory_gb": memory_gb(memory),
        "os": f"Android {first('ro.build.version.release')} (API {first('ro.build.version.sdk')})",
        "abi": abis[0],
        "abis": abis,
        "build": first("ro.build.fingerprint"),
        "governor": governor.strip() or None,
        "emulator": first("ro.kernel.qemu", "ro.boot.qemu") == "1",
    }


def state(shell: Shell) -> dict[str, Any]:
    """Temperature (of the skin where the device tells it, else of the battery), battery, clocks, limits."""
    battery, thermal, cpu, power, boot = sections(shell.run(_STATE).text, 5)
    values = dict(re.findall(r"^\s*(\w[\w ]*?): (\S+)\s*$", battery, re.M))
    skin = [
        float(value)
        for value, kind in re.findall(r"mValue=([-\d.]+), mType=(\d+)", thermal)
        if int(kind) == _SKIN
    ]
    tenths = values.get("temperature", "")
    status = re.search(r"Thermal Status: (\d)", thermal)
    wakefulness = re.search(r"mWakefulness=(\w+)", power)
    clocks, capped = frequencies(cpu)
    level = int(status[1]) if status else 0
    reasons = [f"thermal status {level} ({_STATUS[min(level, 6)]})"] if level else []
    return {
        "temperature_c": max(skin) if skin else int(tenths) / 10 if tenths.isdigit() else None,
        "battery_percent": int(values["level"]) if values.get("level", "").isdigit() else None,
        "charging": any(values.get(f"{kind} powered") == "true" for kind in ("AC", "USB")),
        "wakefulness": wakefulness[1] if wakefulness else None,
        "cpu_mhz": clocks,
        "throttled": reasons + capped,
        "boot_id": boot.strip(),
    }


def wake(shell: Shell) -> str:
    """Turns the screen on and keeps it so: a phone asleep slows down. What it was set to before."""
    before = shell.run(_WAKE).text.strip().split("\n")[0]
    return before if before.isdigit() else "0"


def rest(shell: Shell, before: str) -> None:
    """Gives the screen back its setting."""
    shell.run(f"settings put global stay_on_while_plugged_in {before}")
