"""A simulated Android phone in a folder, for the real `adb` client: see `Phone`."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from simulators.adbd import Daemon
from simulators.phone_commands import ASK, CONTROL_COMMANDS, SCRIPTS

HERE = Path(__file__).parent
TMP = "/data/local/tmp"
HOT = 45.0  # degrees C; from here on the phone throttles
CORES = range(8)
SMALL_KHZ, BIG_KHZ, THROTTLED_KHZ = 1766400, 2803200, 1920000  # cores 0-3, 4-7, 4-7 when hot

RUN_FAULTS = (
    *("unauthorized", "offline", "unplug_run", "reboot"),
    *("hang", "garbled", "wrong_abi", "hot"),
)
PUSH_FAULTS = ("unplug_push", "full", "slow")

PROPERTIES = {
    "ro.product.manufacturer": "Google",
    "ro.product.brand": "google",
    "ro.product.model": "Pixel 3 (test device)",
    "ro.product.name": "blueline",
    "ro.product.device": "blueline",
    "ro.soc.manufacturer": "QTI",
    "ro.soc.model": "SDM845",
    "ro.board.platform": "sdm845",
    "ro.hardware": "blueline",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.build.version.release": "12",
    "ro.build.version.sdk": "31",
    "ro.build.fingerprint": "google/blueline/blueline:12/SP1A.210812.016/test:user/test-keys",
    "ro.kernel.qemu": "1",
    "sys.boot_completed": "1",
}

# Paths of the phone in a command, but not the host's processes in /proc.
PATHS = re.compile(
    r"(?<![\w./~-])(?=/data/local/tmp(?![\w.-])|/sdcard\b|/sys/|/proc/(?!self\b|\d|\$))"
)


@dataclasses.dataclass
class Fault:
    """A fault that happens once: at run or push number `at`, counted from 0.

    Faults of runs (only runs with `--graph` count):
        unauthorized: the connection drops, and for `seconds` no client is authorized (AUTH).
        offline: the phone does not answer for `seconds`, then drops the connections.
        unplug_run: in mid-run the tool is killed and the phone is disconnected for `seconds`.
        reboot: the same, with a new boot id and uptime; every command is killed.
        hang: the run prints its first lines and then nothing, until it is killed.
        garbled: the count line of the regular runs is damaged.
        wrong_abi: the tool cannot be executed (exit code 126).
        hot: at the end of the run the phone has 52 C, after `seconds` 30 C.
    Faults of pushes:
        unplug_push: in the middle of the push the phone is disconnected for `seconds`.
        full: no space is left.
        slow: 20 kB per second.
    """

    kind: str
    at: int
    seconds: float = 1.0

    def __post_init__(self) -> None:
        assert self.kind in RUN_FAULTS + PUSH_FAULTS, self.kind


class Phone:
    """A phone whose `/data/local/tmp`, `/sys` and `/proc` are inside `folder`; a context manager.

    Commands run on this machine in `/bin/sh` (Android has mksh; both are POSIX shells), with the phone's
    paths replaced by those inside `folder`. Its property `ro.kernel.qemu` says that it is an emulator.

    Attributes:
        address: "127.0.0.1:PORT", for `adb connect`; it does not change.
        root: the folder for `/`.
        tmp: the folder for `/data/local/tmp`.
        runs: the command line of each started run of the tool with `--graph`.
        pushes: (path on the phone, bytes) of each completed push.
        events: (kind, index) of each fault that happened.
        faults: the faults to come; may be set at any time.
        environment: variables of the phone's commands; the stand-in tool reads BENCHMARK_VARIANT and
            BENCHMARK_DELEGATES.
    """

    def __init__(
        self,
        folder: Path,
        serial_name: str = "pixel-test",
        properties: Mapping[str, str] | None = None,
        shell_v2: bool = True,
        faults: list[Fault] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.root = self.folder / "root"
        self.tmp = self.root / TMP[1:]
        self.properties = {**PROPERTIES, "ro.serialno": serial_name, **(properties or {})}
        if not shell_v2:
            old = {"ro.build.version.release": "6.0.1", "ro.build.version.sdk": "23"}
            self.properties.update({**old, **(properties or {})})
        self.shell_v2 = shell_v2
        self.faults = list(faults or [])
        self.environment = dict(environment or {})
        self.runs: list[str] = []
        self.pushes: list[tuple[str, int]] = []
        self.events: list[tuple[str, int]] = []
        self._fired: list[Fault] = []
        self._pushes_begun = 0
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []
        self._temperature = 30.0

    def __enter__(self) -> "Phone":
        self._system = self.folder / "system"
        self._programs = self.folder / "bin"
        for path in (self.tmp, self.root / "sdcard", self._system / "dumpsys", self._programs):
            path.mkdir(parents=True, exist_ok=True)
        lines = (f"[{name}]: [{value}]\n" for name, value in sorted(self.properties.items()))
        (self._system / "properties").write_text("".join(lines))
        (self._system / "logcat").touch()
        for name, text in SCRIPTS.items():
            _script(self._programs / name, f"#!/bin/sh\n{text}")
        for name in CONTROL_COMMANDS:
            _script(self._programs / name, f"#!{sys.executable} -IS\n{ASK}")
        self._write_system()
        self._boot()
        self.temperature = self._temperature
        self._control = socket.create_server(("127.0.0.1", 0))
        self._control_address = "127.0.0.1:{1}".format(*self._control.getsockname())
        threading.Thread(target=self._listen, daemon=True).start()
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        identity = "".join(f"{name}={self.properties[name]};" for name in names)
        self.daemon = Daemon(self, identity, self.shell_v2)
        self.address = f"127.0.0.1:{self.daemon.port}"
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        self.daemon.stop()
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        self._kill(self.processes())

    @property
    def temperature(self) -> float:
        """Temperature of battery and processor in degrees C; at 45 and above the phone throttles."""
        return self._temperature

    @temperature.setter
    def temperature(self, degrees: float) -> None:
        self._temperature = degrees
        hot = degrees >= HOT
        status = 2 if hot else 0
        for core in CORES[4:]:
            clock = THROTTLED_KHZ if hot else BIG_KHZ
            self._write(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_max_freq", clock)
        self._write("sys/class/thermal/thermal_zone0/temp", round(1000 * degrees))
        dumpsys = self._system / "dumpsys"
        dumpsys.joinpath("battery").write_text(
            "Current Battery Service state:\n"
            "  AC powered: false\n  USB powered: true\n  Wireless powered: false\n"
            "  Max charging current: 500000\n  status: 2\n  health: 2\n  present: true\n"
            "  level: 85\n  scale: 100\n  voltage: 4200\n"
            f"  temperature: {round(10 * degrees)}\n  technology: Li-ion\n"
        )
        reading = f"Temperature{{mValue={degrees}, mType=0, mName=cpu0-silver, mStatus={status}}}"
        dumpsys.joinpath("thermalservice").write_text(
            f"IsStatusOverride: false\nThermalEventListeners:\n\tcallbacks: 0\n"
            f"Thermal Status: {status}\nCached temperatures:\n\t{reading}\nHAL Ready: true\n"
        )

    def path(self, remote: str) -> Path:
        """The path on this machine for a path of the phone."""
        return self.root / remote.lstrip("/")

    def start(self, command: str, apart: bool) -> subprocess.Popen:
        """Starts a command in the phone's shell, with its input and outputs in pipes."""
        now = time.monotonic() - self._booted
        self._write("proc/uptime", f"{now:.2f} {now:.2f}")
        arguments = ["-c", PATHS.sub(str(self.root), command)] if command else []
        return subprocess.Popen(
            ["/bin/sh", *arguments],
            cwd=self.root,
            env={
                "PATH": f"{self._programs}:/usr/bin:/bin",
                "HOME": str(self.root),
                "PHONE": str(self._system),
                "PHONE_ROOT": str(self.root),
                "PHONE_CONTROL": self._control_address,
                **self.environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )

    def shown(self, output: bytes) -> bytes:
        """A command's output with the phone's own paths in it."""
        return output.replace(os.fsencode(self.root), b"")

    def pushing(self, remote: str) -> dict[str, float]:
        """Called by the daemon when a push begins; returns its faults."""
        index, self._pushes_begun = self._pushes_begun, self._pushes_begun + 1
        faults = self._due(index, PUSH_FAULTS)
        for fault in faults:
            self.events.append((fault.kind, index))
        return {fault.kind: fault.seconds for fault in faults}

    def pushed(self, remote: str, size: int) -> None:
        self.pushes.append((remote, size))

    def unplug(self, seconds: float) -> None:
        """Drops every connection and refuses new ones for `seconds`."""
        self.daemon.refuse()
        self._later(seconds, self.daemon.listen)

    def reboot(self, seconds: float = 1.0) -> None:
        """Kills every command and disconnects for `seconds`; files stay."""
        self._boot()
        self.unplug(seconds)
        self._kill(self.processes())

    def unauthorize(self, seconds: float) -> None:
        """Drops every connection and authorizes no new one for `seconds`."""
        self.daemon.authorized = False
        self.daemon.drop()
        self._later(seconds, lambda: setattr(self.daemon, "authorized", True), self.daemon.drop)

    def go_offline(self, seconds: float) -> None:
        """Does not answer for `seconds`, then drops every connection."""
        self.daemon.mute = True
        self._later(seconds, lambda: setattr(self.daemon, "mute", False), self.daemon.drop)

    def processes(self) -> list[int]:
        """Ids of the processes that run on the phone."""
        mark = f"PHONE_CONTROL={self._control_address}\0".encode()
        return [pid for pid in _pids() if mark in _read(f"/proc/{pid}/environ") + b"\0"]

    def _later(self, seconds: float, *actions) -> None:
        def run() -> None:
            for action in actions:
                action()

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _due(self, index: int, kinds: tuple[str, ...]) -> list[Fault]:
        """The faults of these kinds that are due at this run or push; each is returned once."""
        with self._lock:
            due = [
                fault
                for fault in self.faults
                if fault.kind in kinds
                and fault.at == index
                and not any(fault is fired for fired in self._fired)
            ]
            self._fired += due
        return due

    def _boot(self) -> None:
        self._booted = time.monotonic()
        self._write("proc/sys/kernel/random/boot_id", uuid.uuid4())

    def _write(self, name: str, value: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Atomically: a command may be reading the file.
        new = path.with_name(f".{path.name}.{threading.get_ident()}")
        new.write_text(f"{value}\n")
        new.replace(path)

    def _write_system(self) -> None:
        """Writes the files of /sys and /proc that do not change."""
        cpu = "sys/devices/system/cpu"
        for name in ("possible", "present", "online"):
            self._write(f"{cpu}/{name}", "0-7")
        for core in CORES:
            clock = SMALL_KHZ if core < 4 else BIG_KHZ
            for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq"):
                self._write(f"{cpu}/cpu{core}/cpufreq/{name}", clock)
            self._write(f"{cpu}/cpu{core}/cpufreq/scaling_governor", "schedutil")
        self._write("sys/class/thermal/thermal_zone0/type", "cpu0-silver-usr")
        self._write(
            "proc/meminfo",
            "MemTotal:        3730000 kB\nMemFree:          410000 kB\nMemAvailable:    1900000 kB",
        )
        features = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimddp"
        cores = (
            f"processor\t: {core}\nBogoMIPS\t: 38.40\nFeatures\t: {features}\n"
            "CPU implementer\t: 0x51\nCPU architecture: 8\nCPU variant\t: 0x7\n"
            f"CPU part\t: {'0x803' if core < 4 else '0x802'}\nCPU revision\t: 12\n"
            for core in CORES
        )
        hardware = "Hardware\t: Qualcomm Technologies, Inc SDM845 (test device)"
        self._write("proc/cpuinfo", "\n".join([*cores, hardware]))
        (self._system / "dumpsys" / "power").write_text(
            "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
            "  mWakefulness=Awake\n  mIsPowered=true\n  mStayOn=false\n"
            "  mBatteryLevel=85\n\nDisplay Power: state=ON\n"
        )

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer = self._control.accept()[0]
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        """Answers a command of the phone: lines of JSON in both directions."""
        with peer, peer.makefile("rw") as lines, contextlib.suppress(OSError):
            request = json.loads(lines.readline() or "{}")
            if "run" in request:
                self._accompany(request, lines)
            elif "command" in request:
                lines.write(json.dumps(self._answer(**request)) + "\n")
                lines.flush()

    def _accompany(self, request: dict, lines) -> None:
        """Follows a run of the tool from its start to its end, which may be sudden."""
        words = [word.replace(str(self.root), "") for word in request["run"]]
        with self._lock:
            index = len(self.runs)
            self.runs.append(shlex.join(words))
        faults = {fault.kind: fault for fault in self._due(index, RUN_FAULTS)}
        for kind in faults:
            if kind in ("hang", "garbled", "wrong_abi"):
                self.events.append((kind, index))
        lines.write(json.dumps(list(faults)) + "\n")
        lines.flush()
        if lines.readline() == "half way\n":
            for fault in faults.values():
                self._strike(fault, index, request["pid"])
            lines.write("\n")
            lines.flush()
            lines.readline()  # its end, or nothing if it was killed
        if "hot" in faults:
            self.events.append(("hot", index))
            self.temperature = 52.0
            self._later(faults["hot"].seconds, lambda: setattr(self, "temperature", 30.0))
        lines.write("\n")
        lines.flush()

    def _strike(self, fault: Fault, index: int, pid: int) -> None:
        """Carries out a fault in the middle of a run."""
        actions = {
            "unauthorized": self.unauthorize,
            "offline": self.go_offline,
            "unplug_run": self.unplug,
            "reboot": self.reboot,
        }
        if fault.kind not in actions:
            return
        time.sleep(0.05)  # until the tool's output has arrived
        # In this order: a client that sees the connection drop finds the event, and gets no exit code.
        self.events.append((fault.kind, index))
        actions[fault.kind](fault.seconds)
        if fault.kind == "unplug_run":
            self._kill([pid])

    def _answer(self, command: str, arguments: list[str], pid: int) -> dict:
        """The output of one of `CONTROL_COMMANDS`, and its exit code."""
        if command == "reboot":
            self._later(0.1, self.reboot)
            return {"text": "", "code": 0}
        signals = {f"-{s.value}": s for s in signal.Signals}
        signals |= {f"-{s.name.removeprefix('SIG')}": s for s in signal.Signals}
        signals |= {f"-{s.name}": s for s in signal.Signals}
        sent = next((signals[a] for a in arguments if a in signals), signal.SIGTERM)
        pattern = next((a for a in reversed(arguments) if not a.startswith("-")), "")
        whole = "-f" in arguments
        pids = [p for p in self.processes() if p != pid and _matches(p, pattern, whole, command)]
        if command in ("pkill", "killall"):
            self._kill(pids, sent)
            return {"text": "", "code": 0 if pids else 1}
        gap = " " if command == "pidof" else "\n"
        text = gap.join(map(str, pids)) + "\n" if pids else ""
        return {"text": text, "code": 0 if pids else 1}

    def _kill(self, pids: list[int], sent: int = signal.SIGKILL) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)


def tool(folder: Path, name: str = "benchmark_model", variant: str = "") -> Path:
    """Writes the stand-in for the benchmark tool, which runs wherever it is pushed; returns its path.

    Named `X.apk` it can be installed. `variant`: "" for a current build, "old" for one of 2020, "litert" for
    LiteRT's tool of the same name.
    """
    text = (HERE / "benchmark_model.py").read_text()
    assert text.count('VARIANT = ""\n') == 1
    path = folder / name
    _script(
        path, f"#!{sys.executable} -P\n" + text.replace('VARIANT = ""', f'VARIANT = "{variant}"')
    )
    return path


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # it has ended
        return b""


def _matches(pid: int, pattern: str, whole: bool, command: str) -> bool:
    """Whether the name of a process, or with `whole` its command line, matches a pattern."""
    if whole:
        line = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")
        # Except the shell that runs the command itself.
        return command not in line and re.search(pattern, line) is not None
    name = _read(f"/proc/{pid}/comm").decode().strip()
    if command in ("pidof", "killall"):
        return name == pattern[:15]
    return re.search(pattern, name) is not None
