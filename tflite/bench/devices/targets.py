"""What `--device` names: this machine, phones over adb, boards over ssh."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from sqb_tf.errors import InputError
from sqb_tf.progress import log

from . import shells

_KINDS = "host, local, adb, all, a serial or model of adb devices -l, or ssh:user@host"


@dataclasses.dataclass(frozen=True)
class Target:
    """A place to measure.

    Attributes:
        kind: `host` (our runner, in this process), `local` (`benchmark_model` here), `adb` or `ssh`.
        name: as in the records: the serial of an Android device, `ssh:user@host`.
        trouble: why it cannot be used, as adb says it (`offline`, `unauthorized`); None: it can.
    """

    kind: str
    name: str
    trouble: str | None = None


def find(wanted: Sequence[str]) -> list[Target]:
    """The places that are wanted, each once, phones before this machine.

    Raises:
        InputError: a name that is none of them, or no device where one is needed.
    """
    found: list[Target] = []
    for name in wanted:
        found += _named(name)
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda target: target.kind in ("host", "local"))


def ssh_address(name: str) -> tuple[str, str | None]:
    """`user@host` and the port of `ssh:user@host:port`, if it has one.

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"ssh:((?:[\w.-]+@)?[\w.-]+)(?::(\d+))?", name)
    if match is None:
        raise InputError(f"--device {name}: expected ssh:user@host or ssh:user@host:port")
    return match[1], match[2]


def _named(name: str) -> list[Target]:
    if name in ("host", "local"):
        return [Target(name, name)]
    if name.startswith("ssh:"):
        ssh_address(name)
        return [Target("ssh", name)]
    if name == "all" and not shells.has_adb():
        log("adb: not found on this machine: measuring here alone")
        return [Target("host", "host")]
    devices = shells.listed()
    targets = [Target("adb", d.serial, None if d.state == "device" else d.state) for d in devices]
    if name == "all":
        return [*targets, Target("host", "host")]
    if name == "adb":
        if not targets:
            raise InputError(
                "--device adb: adb lists no device: plug one in with USB debugging allowed, or "
                "adb connect HOST:PORT"
            )
        return targets
    matching = [
        target
        for target, device in zip(targets, devices, strict=True)
        if name == device.serial or name.lower() == device.details.get("model", "").lower()
    ]
    if not matching:
        listed = ", ".join(f"{d.serial} ({d.details.get('model', d.state)})" for d in devices)
        raise InputError(f"--device {name}: expected {_KINDS}; adb lists {listed or 'none'}")
    return matching
