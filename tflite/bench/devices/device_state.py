"""A device's state around each run: time, temperature, clocks, limits."""

from __future__ import annotations

import datetime
from types import ModuleType
from typing import Any

from .shells import Shell


class StateReader:
    """Reads the state of a device.

    Args:
        system: `android` or `linux`, the module that knows the commands.
    """

    def __init__(self, system: ModuleType, shell: Shell) -> None:
        self._system, self._shell = system, shell
        self.boot_id: str | None = None  # of the last reading; another one after a reboot

    def read(self) -> dict[str, Any]:
        """`at`, `temperature_c`, `throttled`, `boot_id`, and what else the system reports."""
        state = {"at": now(), **self._system.state(self._shell)}
        self.boot_id = state["boot_id"]
        return state


def now() -> str:
    """Date and time with the time zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
