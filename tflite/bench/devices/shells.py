"""Where commands run: this machine, a board over ssh, a phone over adb. One face for all three."""

from __future__ import annotations

import abc
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sqb_tf.errors import InputError

# What a command's output ends with, before its exit code: adb's older shell protocol has none of its own,
# and an output without it was cut off.
_END = "@@sqb:"
_POLL_S = 0.2
# Slower than this a link is of no use: 53 MB would take a minute.
MIN_PUSH_MB_S = 1.0
MIN_PUSH_S = 10.0
# In which a device that is there answers.
PROBE_S = 5.0


class DeviceError(Exception):
    """Why a run, or a device, gave no result.

    Attributes:
        cause: a few words of a fixed set, as `offline`, `hung`, `storage full`.
        lost: whether the way to the device broke, so that nothing more can be asked of it now.
    """

    def __init__(self, cause: str, message: str, lost: bool = False) -> None:
        super().__init__(message)
        self.cause, self.lost = cause, lost


class NoAnswer(DeviceError):
    """A command had no end in its time: it hangs, or the device does not answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__("offline", f"no answer in {seconds:.0f} s", lost=True)


class Stopped(Exception):
    """The user interrupted."""


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended: exit code, and standard output and error as they came."""

    code: int
    text: str


class Shell(abc.ABC):
    """Runs commands and copies files to `folder`, where they are run.

    `stop` ends whatever is going on with `Stopped`.
    """

    folder: str

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def run(self, command: str, timeout_s: float = 30.0) -> Done:
        """A command of the device's shell, to its end.

        Raises:
            NoAnswer: no end after `timeout_s`.
            DeviceError: lost: the connection broke.
        """
        started = time.monotonic()
        wrapped = f'(\n{command}\n) 2>&1; echo "\n{_END}$?"'
        text = self._execute(self._shell(wrapped), timeout_s).text.replace("\r\n", "\n")
        body, mark, code = text.rpartition(f"\n{_END}")
        if not mark or not code.strip().isdigit():
            lasted = time.monotonic() - started
            message = f"the connection broke after {lasted:.1f} s{_complaint(text)}"
            raise DeviceError("connection lost", message, lost=True)
        return Done(int(code), body)

    def push(self, path: Path, name: str) -> None:
        """Copies a file to `folder/name`.

        Raises:
            DeviceError: `storage full`, `slow link`, or lost.
        """
        size_mb = path.stat().st_size / 1e6
        limit_s = MIN_PUSH_S + size_mb / MIN_PUSH_MB_S
        try:
            done = self._execute(self._copy(path, name), limit_s)
        except NoAnswer:
            self.run("true", PROBE_S)
            raise DeviceError(
                "slow link",
                f"{path.name}: {size_mb:.1f} MB were not copied in {limit_s:.0f} s: expected "
                f"{MIN_PUSH_MB_S:g} MB a second or more",
            ) from None
        if done.code == 0:
            return
        reason = f"{path.name} was not copied{_complaint(done.text)}"
        if "no space left" in done.text.lower():
            raise DeviceError("storage full", reason)
        raise DeviceError("connection lost", reason, lost=True)

    def recover(self) -> str | None:
        """Tries to reach the device again; None if it answers, else in a word why not."""
        try:
            self.run("true", PROBE_S)
        except DeviceError:
            return "unplugged"
        return None

    @abc.abstractmethod
    def _shell(self, command: str) -> Sequence[str]:
        """What runs a command there, as a command of this machine."""

    @abc.abstractmethod
    def _copy(self, path: Path, name: str) -> Sequence[str]:
        """What copies a file to `folder/name`, as a command of this machine."""

    def _execute(self, arguments: Sequence[str], timeout_s: float) -> Done:
        """A program of this machine. In a session of its own: Ctrl-C is for us, not for it."""
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        end = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    text, _ = process.communicate(timeout=_POLL_S)
                    return Done(process.returncode, text)
                except subprocess.TimeoutExpired:
                    if self.stop.is_set():
                        raise Stopped from None
                    if time.monotonic() > end:
                        raise NoAnswer(timeout_s) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it started, which has our pipe
                process.communicate()


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
    """A Linux board: `user@host`, by the ssh client's own keys and settings.

    One connection is kept open for all commands: to open one takes longer than a run.
    """

    folder = "/tmp/squeezebert-mobile"

    def __init__(
        self, stop: threading.Event, address: str, port: str | None, config: str | None
    ) -> None:
        super().__init__(stop)
        self._address = address
        self._sockets = tempfile.TemporaryDirectory(prefix="sqb-ssh-")
        self._options = [
            *(["-F", config] if config else []),
            *(["-o", f"Port={port}"] if port else []),
            *["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"],
            *["-o", "ControlMaster=auto", "-o", f"ControlPath={self._sockets.name}/%C"],
            *["-o", "ControlPersist=60", "-o", "LogLevel=ERROR"],
        ]

    def _shell(self, command: str) -> Sequence[str]:
        return ["ssh", *self._options, self._address, command]

    def _copy(self, path: Path, name: str) -> Sequence[str]:
        return ["scp", *self._options, "-q", str(path), f"{self._address}:{self.folder}/{name}"]


class AdbShell(Shell):
    """An Android device by its serial, through the `adb` client."""

    folder = "/data/local/tmp/squeezebert-mobile"

    def __init__(self, stop: threading.Event, serial: str) -> None:
        super().__init__(stop)
        self.serial = serial

    def recover(self) -> str | None:
        if _is_address(self.serial):
            # adb itself tries only every ten seconds, and never again what it once gave up.
            adb("disconnect", self.serial)
            adb("connect", self.serial, timeout_s=10)
        state = next((d.state for d in listed() if d.serial == self.serial), "unplugged")
        if state != "device":
            return state
        return super().recover()

    def install(self, path: Path) -> None:
        """Installs an app, replacing an older or newer one.

        Raises:
            DeviceError: `not installed`, with the reason.
        """
        arguments = ["adb", "-s", self.serial, "install", "-r", "-d", "-g", str(path)]
        done = self._execute(arguments, 120)
        if done.code or "Success" not in done.text:
            reason = (done.text.strip().splitlines() or ["no message"])[-1]
            raise DeviceError("not installed", f"{path.name}: {reason}")

    def _shell(self, command: str) -> Sequence[str]:
        return ["adb", "-s", self.serial, "shell", command]

    def _copy(self, path: Path, name: str) -> Sequence[str]:
        return ["adb", "-s", self.serial, "push", str(path), f"{self.folder}/{name}"]


@dataclasses.dataclass(frozen=True)
class Listed:
    """A line of `adb devices -l`: serial, state (`device` when it can be used), what else it says."""

    serial: str
    state: str
    details: dict[str, str]


def has_adb() -> bool:
    """Whether this machine has the adb client."""
    return shutil.which("adb") is not None


def listed() -> list[Listed]:
    """The devices that adb knows, in any state.

    Raises:
        InputError: no adb on this machine, or it fails.
    """
    found = []
    for line in adb("devices", "-l").splitlines():
        # `emulator-5554   device product:sdk model:Pixel_3 transport_id:1`; a state may have blanks.
        match = re.match(r"(\S+)\s+(device|[a-z][a-z ]*?)(?=\s+\S+:|\s*$|;|\s*\()", line)
        if match and not line.startswith(("List of", "*")):
            details = dict(re.findall(r"(\w+):(\S+)", line[match.end() :]))
            found.append(Listed(match[1], match[2].strip(), details))
    return found


def adb(*arguments: str, timeout_s: float = 30.0) -> str:
    """What an adb command prints, whether it succeeds or not.

    Raises:
        InputError: no adb on this machine, or no answer.
    """
    if not has_adb():
        raise InputError(
            "adb: not found on this machine: install Android's platform tools (Debian: apt install "
            "adb) and add them to PATH"
        )
    try:
        done = subprocess.run(
            ["adb", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return ""
    if done.returncode and arguments[0] == "devices":
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"adb devices: {reason}: restart its server with adb kill-server")
    return done.stdout + done.stderr


def _complaint(text: str) -> str:
    """The line in which a client says what went wrong, after a colon; nothing if it does not."""
    wrong = [
        line.strip()
        for line in text.splitlines()
        if re.search(r"\b(error|failed|cannot|closed|refused|No space)\b", line)
    ]
    return f": {wrong[-1][:200]}" if wrong else ""


def _is_address(serial: str) -> bool:
    """Whether a serial is a host and port, of a device over TCP."""
    return re.fullmatch(r"\S+:\d+", serial) is not None
