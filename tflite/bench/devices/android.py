"""What an Android device reports: its hardware once, its state around every run."""

from __future__ import annotations

import re
from typing import Any

from . import linux_proc
from .shells import Shell

SYSTEM = "android"
_DESCRIBE = linux_proc.script(
    "getprop", linux_proc.MEMORY, linux_proc.CORES, linux_proc.GOVERNOR, "cat /proc/cpuinfo"
)
_STATE = linux_proc.script(
    "dumpsys battery",
    "dumpsys thermalservice 2>/dev/null",
    linux_proc.FREQUENCIES,
    "dumpsys power 2>/dev/null | grep mWakefulness=",
    linux_proc.BOOT_ID,
)
# android.os.Temperature.TYPE_SKIN: the temperature that throttling depends on.
_SKIN = 3
_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_KEEP_SCREEN_ON = """settings get global stay_on_while_plugged_in
svc power stayon true
input keyevent KEYCODE_KEEP_SCREEN_ONUP"""


def describe(shell: Shell) -> dict[str, Any]:
    """Name, CPU, cores, clusters, memory, OS, ABIs, by the keys of `host_info.describe_host`."""
    properties, memory, cores, governor, cpuinfo = linux_proc.sections(shell.run(_DESCRIBE).text, 5)
    values = dict(re.findall(r"^\[(.+?)\]: \[(.*)\]$", properties, re.M))

    def first(*names: str) -> str:
        return next((values[name] for name in names if values.get(name)), "")

    maker, model = first("ro.product.manufacturer"), first("ro.product.model")
    abis = first("ro.product.cpu.abilist", "ro.product.cpu.abi").split(",")
    chip = first("ro.soc.model", "ro.board.platform", "ro.hardware")
    hardware = re.search(r"^Hardware\s*:\s*(.+)$", cpuinfo, re.M)
    return {
        "name": model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip(),
        "cpu": f"{first('ro.soc.manufacturer')} {chip}".strip()
        or (hardware[1] if hardware else ""),
        "chip": values.get("ro.soc.model") or None,  # since Android 12
        "simd": linux_proc.simd(cpuinfo),
        "cores": len(cores.split("\n")),
        "clusters": linux_proc.clusters(cores),
        "memory_gb": linux_proc.memory_gb(memory),
        "os": f"Android {first('ro.build.version.release')} (API {first('ro.build.version.sdk')})",
        "abi": abis[0],
        "abis": abis,
        "build": first("ro.build.fingerprint"),
        "governor": governor.strip() or None,
        "emulator": first("ro.kernel.qemu", "ro.boot.qemu") == "1",
    }


def state(shell: Shell) -> dict[str, Any]:
    """Temperature (of the skin where the device reports it, else of the battery), battery, clocks, limits."""
    battery, thermal, cpu, power, boot = linux_proc.sections(shell.run(_STATE).text, 5)
    values = dict(re.findall(r"^\s*(\w[\w ]*?): (\S+)\s*$", battery, re.M))
    readings = re.findall(rf"mValue=([^,]*), mType={_SKIN}\b", thermal)
    skin = [degrees for degrees in map(linux_proc.decimal, readings) if degrees is not None]
    tenths = linux_proc.whole(values.get("temperature", ""))
    battery_c = None if tenths is None else tenths / 10
    status = re.search(r"Thermal Status: ([0-9])", thermal)
    wakefulness = re.search(r"mWakefulness=(\w+)", power)
    clocks, capped = linux_proc.frequencies(cpu)
    level = int(status[1]) if status else 0
    reasons = [f"thermal status {level} ({_STATUS[min(level, 6)]})"] if level else []
    return {
        "temperature_c": max(skin, default=battery_c),
        "battery_percent": linux_proc.whole(values.get("level", "")),
        "charging": any(values.get(f"{source} powered") == "true" for source in ("AC", "USB")),
        "wakefulness": wakefulness[1] if wakefulness else None,
        "cpu_mhz": clocks,
        "throttled": reasons + capped,
        "boot_id": boot.strip(),
    }


def keep_screen_on(shell: Shell) -> str:
    """Keeps the screen on, since a phone asleep slows down; returns the setting before."""
    before = shell.run(_KEEP_SCREEN_ON).text.strip().split("\n")[0]
    return "0" if linux_proc.whole(before) is None else before


def restore_screen(shell: Shell, setting: str) -> None:
    """Restores the setting that `keep_screen_on` returned."""
    shell.run('settings put global stay_on_while_plugged_in "$1"', setting)
