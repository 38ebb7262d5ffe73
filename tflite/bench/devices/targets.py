"""The devices that `--device` names: this machine, phones over adb, boards over ssh."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from sqb_tf.errors import InputError
from sqb_tf.progress import warn

from . import adb

_EXPECTED = "host, local, adb, all, a serial or model of adb devices -l, or ssh:user@host"


@dataclasses.dataclass(frozen=True)
class Target:
    """A device to measure on.

    Attributes:
        transport: `host` (our runner, in this process), `local` (`benchmark_model` here), `adb` or `ssh`.
        name: as in the records: the serial of an Android device, `ssh:user@host`.
        trouble: why it cannot be used, in adb's words (`offline`, `unauthorized`); None: it can.
    """

    transport: str
    name: str
    trouble: str | None = None


def find_targets(names: Sequence[str]) -> list[Target]:
    """The devices of these names, each once, phones before this machine.

    Raises:
        InputError: a name of no device, or no device where one is needed.
    """
    targets = dict.fromkeys(target for name in names for target in _find_named(name))
    return sorted(targets, key=lambda target: target.transport in ("host", "local"))


def ssh_address(name: str) -> tuple[str, str | None]:
    """`user@host` of `ssh:user@host:port`, and the port; None: the client's own.

    Raises:
        InputError: a name of another form.
    """
    match = re.fullmatch(r"ssh:((?:\w[\w.-]*@)?\w[\w.-]*)(?::([0-9]{1,5}))?", name)
    if match is None:
        raise InputError(f"--device {name}: expected ssh:user@host or ssh:user@host:port")
    return match[1], match[2]


def _find_named(name: str) -> list[Target]:
    if name in ("host", "local"):
        return [Target(name, name)]
    if name.startswith("ssh:"):
        ssh_address(name)
        return [Target("ssh", name)]
    if name == "all" and not adb.has_adb():
        warn("adb: not found on this machine: measuring only here")
        return [Target("host", "host")]
    devices = adb.list_devices()
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
        known = ", ".join(f"{d.serial} ({d.details.get('model', d.state)})" for d in devices)
        raise InputError(f"--device {name}: expected {_EXPECTED}; adb lists {known or 'none'}")
    return matching
