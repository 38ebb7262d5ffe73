"""Shells that run commands: on this machine, and on a board over ssh; `adb.py` has the one for phones."""

from __future__ import annotations

import abc
import dataclasses
import functools
import re
import subprocess
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from .command_line import command_line
from .guarded_process import guarded_process

# Printed after a command's output, before its exit code: adb's older shell protocol transfers no exit code,
# and output without this mark was cut off.
_END = "@@sqb:"
_POLL_S = 0.2
# A slower link is of no use: 53 MB would take a minute.
MIN_PUSH_MB_S = 1.0
MIN_PUSH_S = 10.0
# A reachable device answers within this time.
PROBE_S = 5.0
# Its owner alone can read or change the copies that are run. Another user of a board may have made a folder
# of this name, or a link, in /tmp.
_PRIVATE_FOLDER = """umask 077; mkdir -p "$1" || exit
[ -O "$1" ] && [ ! -L "$1" ] || { echo "it belongs to another user, or is a link: remove it"; exit 1; }
chmod 700 "$1" && cd "$1\""""


class DeviceError(Exception):
    """Why a run, or a device, gave no result.

    Attributes:
        cause: a few words of a fixed set, such as `offline`, `hung`, `storage full`.
        lost: whether the connection to the device broke, so that no command can run there now.
    """

    def __init__(self, cause: str, message: str, lost: bool = False) -> None:
        super().__init__(message)
        self.cause, self.lost = cause, lost


class SettingError(DeviceError):
    """A setting of the plan that the device cannot run, whatever else is measured.

    Attributes:
        setting: by the keys of records, such as {"delegate": "gpu"}.
    """

    def __init__(self, message: str, **setting: str) -> None:
        super().__init__("unsupported", message)
        self.setting = setting


class NoAnswer(DeviceError):
    """A command did not end in time: it hangs, or the device does not answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__("offline", f"no answer in {seconds:.0f} s", lost=True)


class Stopped(Exception):
    """The user interrupted."""


@dataclasses.dataclass(frozen=True)
class CommandResult:
    """Exit code of a command, and its standard output and error, merged."""

    code: int
    text: str


class Shell(abc.ABC):
    """Runs commands on a device and copies files to its `folder`, which the script `make_folder` makes.

    Once `stop` is set, every call raises `Stopped`.
    """

    folder: str
    make_folder = _PRIVATE_FOLDER

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def run(self, script: str, *arguments: str, timeout_s: float = 30.0) -> CommandResult:
        """Runs a script, which finds the arguments in `$1` and so on, to its end.

        Raises:
            NoAnswer: it did not end within `timeout_s`.
            DeviceError: lost: the connection broke.
        """
        started = time.monotonic()
        wrapped = f'(\n{command_line(script, *arguments)}\n) 2>&1; echo "\n{_END}$?"'
        text = self._execute(self._shell(wrapped), timeout_s).text.replace("\r\n", "\n")
        body, mark, code = text.rpartition(f"\n{_END}")
        if not mark or not re.fullmatch("[0-9]{1,3}", code.strip()):
            seconds = time.monotonic() - started
            message = f"the connection broke after {seconds:.1f} s{_find_error_line(text)}"
            raise DeviceError("connection lost", message, lost=True)
        return CommandResult(int(code), body)

    def push(self, path: Path, name: str) -> None:
        """Copies a file to `folder/name`.

        Raises:
            DeviceError: `storage full`, `slow link`, or lost.
        """
        size_mb = path.stat().st_size / 1e6
        limit_s = MIN_PUSH_S + size_mb / MIN_PUSH_MB_S
        try:
            # Absolute: `-x` would be a flag, and scp takes `h:x` for a file on host h.
            result = self._execute(self._copy(path.absolute(), name), limit_s)
        except NoAnswer:
            self.run("true", timeout_s=PROBE_S)
            raise DeviceError(
                "slow link",
                f"{path.name}: {size_mb:.1f} MB were not copied in {limit_s:.0f} s: expected "
                f"{MIN_PUSH_MB_S:g} MB a second or more",
            ) from None
        if result.code == 0:
            return
        reason = f"{path.name} was not copied{_find_error_line(result.text)}"
        if "no space left" in result.text.lower():
            raise DeviceError("storage full", reason)
        raise DeviceError("connection lost", reason, lost=True)

    def recover(self) -> str | None:
        """Tries to reach the device again; None if it answers, else the reason in a word."""
        try:
            self.run("true", timeout_s=PROBE_S)
        except DeviceError:
            return "unplugged"
        return None

    @abc.abstractmethod
    def _shell(self, command: str) -> Sequence[str]:
        """The command of this machine that runs `command` there."""

    @abc.abstractmethod
    def _copy(self, path: Path, name: str) -> Sequence[str]:
        """The command of this machine that copies a file to `folder/name`."""

    def _execute(self, arguments: Sequence[str], timeout_s: float) -> CommandResult:
        """Runs a program of this machine."""
        end = time.monotonic() + timeout_s
        with guarded_process(arguments) as process:
            while True:
                try:
                    text, _ = process.communicate(timeout=_POLL_S)
                    return CommandResult(process.returncode, text)
                except subprocess.TimeoutExpired:
                    if self.stop.is_set():
                        raise Stopped from None
                    if time.monotonic() > end:
                        raise NoAnswer(timeout_s) from None


class LocalShell(Shell):
    """This machine, for a `benchmark_model` binary of Linux."""

    def __init__(self, stop: threading.Event, folder: Path) -> None:
        super().__init__(stop)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = str(folder.resolve())

    def _shell(self, command: str) -> Sequence[str]:
        return ["sh", "-c", command]

    def _copy(self, path: Path, name: str) -> Sequence[str]:
        return ["cp", str(path), f"{self.folder}/{name}"]


class SshShell(Shell):
    """A Linux board at `user@host`, by the ssh client's own keys and settings.

    One connection stays open for all commands: opening one takes longer than a run. `sockets` is a folder for
    its socket.
    """

    def __init__(
        self,
        stop: threading.Event,
        address: str,
        port: str | None,
        config: str | None,
        sockets: Path,
    ) -> None:
        super().__init__(stop)
        self._address = address
        # Short, as a socket's path has at most 104 characters on macOS, whose temporary folder takes 49.
        socket = zlib.crc32(f"{address}:{port}".encode())
        self._options = [
            *(["-F", config] if config else []),
            *(["-o", f"Port={port}"] if port else []),
            *["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"],
            *["-o", "ControlMaster=auto", "-o", f"ControlPath={sockets}/{socket:08x}"],
            *["-o", "ControlPersist=60", "-o", "LogLevel=ERROR"],
        ]

    @functools.cached_property
    def folder(self) -> str:  # type: ignore[override]
        """With the user's number: every user of a board has one."""
        user = self.run("id -u").text.strip()
        if not re.fullmatch("[0-9]{1,10}", user):
            raise DeviceError("unreadable", f"id -u: expected the user's number, got: {user[:200]}")
        return f"/tmp/squeezebert-mobile-{user}"

    def _shell(self, command: str) -> Sequence[str]:
        return ["ssh", *self._options, self._address, command]

    def _copy(self, path: Path, name: str) -> Sequence[str]:
        return ["scp", *self._options, "-q", str(path), f"{self._address}:{self.folder}/{name}"]


def _find_error_line(text: str) -> str:
    """The last line in which a client reports an error, after a colon; empty if there is none."""
    errors = [
        line.strip()
        for line in text.splitlines()
        if re.search(r"\b(error|failed|cannot|closed|refused|No space|not found|too long)\b", line)
    ]
    return f": {errors[-1][:200]}" if errors else ""
