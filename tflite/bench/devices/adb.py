"""Android devices through the `adb` client."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from sqb_tf.errors import InputError, last_line

from .shells import DeviceError, Shell


class AdbShell(Shell):
    """An Android device by its serial, through the `adb` client."""

    folder = "/data/local/tmp/squeezebert-mobile"
    # Readable to all: the app reads its files there. Only adb's shell and root can write to /data/local/tmp.
    make_folder = 'mkdir -p "$1" && chmod 755 "$1" && cd "$1"'

    def __init__(self, stop: threading.Event, serial: str) -> None:
        super().__init__(stop)
        self.serial = serial

    def recover(self) -> str | None:
        if _is_address(self.serial):
            # adb itself retries only every ten seconds, and never after it gave up once.
            adb("disconnect", self.serial)
            adb("connect", self.serial, timeout_s=10)
        state = next((d.state for d in list_devices() if d.serial == self.serial), "unplugged")
        if state != "device":
            return state
        return super().recover()

    def install(self, path: Path) -> None:
        """Installs an app, in place of an older or newer one.

        Raises:
            DeviceError: `not installed`, with the reason.
        """
        arguments = ["adb", "-s", self.serial, "install", "-r", "-d", "-g", str(path.absolute())]
        result = self._execute(arguments, 120)
        if result.code or "Success" not in result.text:
            reason = last_line(result.text)
            raise DeviceError("not installed", f"{path.name}: {reason}")

    def _shell(self, command: str) -> Sequence[str]:
        return ["adb", "-s", self.serial, "shell", command]

    def _copy(self, path: Path, name: str) -> Sequence[str]:
        return ["adb", "-s", self.serial, "push", str(path), f"{self.folder}/{name}"]


@dataclasses.dataclass(frozen=True)
class AdbListing:
    """A line of `adb devices -l`: serial, state (`device` when it can be used), further details."""

    serial: str
    state: str
    details: dict[str, str]


def has_adb() -> bool:
    """Whether this machine has the adb client."""
    return shutil.which("adb") is not None


def list_devices() -> list[AdbListing]:
    """The devices that adb knows, in any state.

    Raises:
        InputError: no adb on this machine, or it fails.
    """
    listings = []
    for line in adb("devices", "-l").splitlines():
        # `emulator-5554   device product:sdk model:Pixel_3 transport_id:1`; a state may contain spaces.
        match = re.match(r"(\S+)\s+(device|[a-z][a-z ]*?)(?=\s+\S+:|\s*$|;|\s*\()", line)
        if match and not line.startswith(("List of", "*")):
            details = dict(re.findall(r"(\w+):(\S+)", line[match.end() :]))
            listings.append(AdbListing(match[1], match[2].strip(), details))
    return listings


def adb(*arguments: str, timeout_s: float = 30.0) -> str:
    """The output of an adb command, whether it succeeds or not.

    Raises:
        InputError: no adb on this machine, or no answer.
    """
    if not has_adb():
        raise InputError(
            "adb: not found on this machine: install Android's platform tools (Debian: apt install "
            "adb) and add them to PATH"
        )
    try:
        completed = subprocess.run(
            ["adb", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return ""
    if completed.returncode and arguments[0] == "devices":
        reason = last_line(completed.stderr)
        raise InputError(f"adb devices: {reason}: restart its server with adb kill-server")
    return completed.stdout + completed.stderr


def _is_address(serial: str) -> bool:
    """Whether a serial is the host and port of a device over TCP."""
    return re.fullmatch(r"[^\s-]\S*:[0-9]{1,5}", serial) is not None
