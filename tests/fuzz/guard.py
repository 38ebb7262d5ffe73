"""Runs a target on inputs, each in a fork: a crash, no end, or too much memory is an outcome as others are.

`Guard` is the test's side. The forks are made by a process of its own, which has no threads: `python guard.py
TARGET` reads inputs from standard input, each after its size, and writes a line of JSON for each.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

# Of one input: of 1 kB to 1 MB none needs a tenth of it.
CPU_SECONDS = 5
MEGABYTES = 500
# Past the limit, so that what exceeds it is measured, not refused by the system, and this machine lives on.
ADDRESS_SPACE = 4 << 30
TESTS = Path(__file__).resolve().parents[1]


class Outcome(NamedTuple):
    """What became of an input: `accepted`, `refused` in one line, or what is wrong (and `is_bad`)."""

    kind: str
    message: str
    seconds: float
    megabytes: float

    @property
    def is_bad(self) -> bool:
        return self.kind not in ("accepted", "refused")


class Guard:
    """The process that runs a target; `with` ends it."""

    def __init__(self, target: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        command = [sys.executable, __file__, target]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate()

    def run(self, content: bytes) -> Outcome:
        """Runs the target on one input."""
        self._process.stdin.write(struct.pack("<q", len(content)) + content)
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


def _main(name: str) -> None:
    from fuzz.targets import ALL, MISBEHAVING

    target = ALL.get(name, MISBEHAVING)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    first = True
    while size := sys.stdin.buffer.read(8):
        content = sys.stdin.buffer.read(*struct.unpack("<q", size))
        if first:
            # In this process, so that no fork imports again. The first input is a valid one.
            (target.prepare or functools.partial(target.read, content))()
            first = False
        print(json.dumps(_forked(target, content)), flush=True)


def _forked(target: Any, content: bytes) -> dict[str, Any]:
    """The outcome of an input in a fork of this process."""
    start_kb = _resident_kb()
    receive, send = os.pipe()
    if not (child := os.fork()):
        os.close(receive)
        _run(target, content, send)
    os.close(send)
    with open(receive, "rb") as pipe:
        kind, _, message = pipe.read().decode(errors="replace").partition("\n")
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    megabytes = max(0, usage.ru_maxrss - start_kb) / 1024
    if os.WIFSIGNALED(status):
        kind, message = "crashed", signal.Signals(os.WTERMSIG(status)).name
    elif megabytes > MEGABYTES:
        kind = "too large"
    return dict(kind=kind, message=message, seconds=seconds, megabytes=megabytes)


def _run(target: Any, content: bytes, send: int) -> None:
    """In the fork: runs the target, writes the outcome and ends the process."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        target.read(content)
        outcome = "accepted\n"
    except target.refusals as error:
        lines = len(str(error).splitlines())
        outcome = (
            f"{'refused' if lines == 1 and len(str(error)) < 1000 else 'not one line'}\n{error}"
        )
    except BaseException:
        outcome = f"traceback\n{traceback.format_exc()[-5000:]}"
    os.write(send, outcome.encode(errors="backslashreplace")[:60_000])
    os._exit(0)


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * (resource.getpagesize() // 1024)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    _main(sys.argv[1])
