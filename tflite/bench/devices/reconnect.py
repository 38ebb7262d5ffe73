"""Waiting for a device whose connection broke, and saying why it broke."""

from __future__ import annotations

import time

from .device_files import DeviceFiles
from .device_state import StateReader
from .shells import DeviceError, Shell, Stopped

_POLL_S = 1.0
# Most informative first: a device that was plugged in again is offline for a moment.
_CAUSES = ("unauthorized", "offline", "unplugged")


def wait_for_device(
    error: DeviceError, shell: Shell, states: StateReader, files: DeviceFiles, timeout_s: float
) -> tuple[DeviceError, bool]:
    """Waits until a device answers again.

    Args:
        error: the failure of the run that lost it.

    Returns:
        The failure with its cause, and whether the device answers again.

    Raises:
        Stopped: the user interrupted.
    """
    end = time.monotonic() + timeout_s
    cause = None
    while (reason := shell.recover()) is not None:
        cause = _more_informative(cause, reason)
        if time.monotonic() > end:
            message = f"{cause} for {timeout_s:.0f} s: {error}"
            return DeviceError(cause, message, lost=True), False
        if shell.stop.wait(_POLL_S):
            raise Stopped
    try:
        boot_before = states.boot_id
        if states.read()["boot_id"] != boot_before and boot_before is not None:
            cause = "rebooted"
        files.refresh()
    except DeviceError as second:
        return second, False
    cause = cause or error.cause
    return DeviceError(cause, f"{cause} in mid-run, reachable again: {error}"), True


def _more_informative(known: str | None, reason: str) -> str:
    causes = [cause for cause in (known, reason) if cause]
    return min(causes, key=lambda c: _CAUSES.index(c) if c in _CAUSES else len(_CAUSES))
