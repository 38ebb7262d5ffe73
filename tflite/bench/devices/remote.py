"""One device carrying out its part of a plan: copy once, wait until it is cool, run, keep, go on."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sqb_tf.errors import InputError

from .. import latency_stats
from ..plan import Cell, Plan
from . import android, tool
from .binaries import Binary
from .device_inputs import Payload
from .journal import Journal
from .shells import DeviceError, Shell, Stopped
from .tool import Tool
from .tool_output import Output

_COOL_POLL_S = 5.0
_RECONNECT_POLL_S = 1.0


@dataclasses.dataclass(frozen=True)
class Package:
    """A package to measure.

    Attributes:
        path: of this machine.
        facts: for its records: `sha256`, `size_bytes`, `recipe`, `lowering`, `baseline`.
        limit: the most tokens that it takes.
        payloads: what it runs on, by length.
    """

    path: str
    facts: Mapping[str, Any]
    limit: int
    payloads: Mapping[int, Payload]

    @property
    def sha256(self) -> str:
        return self.facts["sha256"]


class Remote:
    """A device with what has been copied to it.

    Args:
        name: what `--device` calls it.
        shell: the way to it.
        system: `android` or `linux`: how it describes itself.
        find_binary: the tool for a system and its ABIs.
        journal: where results go.
        report: told of every step: `report(device, event, **details)`.
    """

    def __init__(
        self,
        name: str,
        shell: Shell,
        system: ModuleType,
        find_binary: Callable[[str, Sequence[str]], Binary],
        journal: Journal,
        report: Callable[..., None],
    ) -> None:
        self.name, self.shell, self.system, self.journal = name, shell, system, journal
        self._find_binary, self._report = find_binary, report
        self.hardware: dict[str, Any] = {}
        self.tool: Tool | None = None
        self._present: dict[str, int] = {}
        self._boot_id: str | None = None
        self._spent = False  # the plan's budget
        self._stayed_on: str | None = None  # what Android's screen is given back

    def open(self, plan: Plan) -> None:
        """Describes the device, and finds, copies and asks the tool.

        Raises:
            DeviceError: it cannot be used.
            InputError: there is no tool for it.
        """
        self.hardware = self.system.describe(self.shell)
        binary = self._find_binary(self.system.SYSTEM, self.hardware["abis"])
        if binary.is_app and any(plan.core_masks):
            raise InputError(
                f"--core-masks: an app ({binary.path.name}) cannot be bound to cores: give the "
                "executable with --tool"
            )
        self.look()
        name = f"benchmark_model-{binary.sha256[:16]}"
        self.tool = Tool(self.shell, binary, name)
        if binary.is_app:
            tool.installed(self.shell, binary)
        else:
            self.put(binary.path, name)
            self.tool.ask()
        if self.system is android:
            self._stayed_on = android.wake(self.shell)

    def look(self) -> None:
        """What lies in the folder already, by name and size."""
        folder = self.shell.folder
        done = self.shell.run(
            f"mkdir -p {folder} && chmod 755 {folder} && cd {folder} && "
            'for f in *; do [ -f "$f" ] && wc -c "$f"; done'
        )
        pairs = (line.split() for line in done.text.splitlines())
        self._present = {p[1]: int(p[0]) for p in pairs if len(p) == 2 and p[0].isdigit()}

    def put(self, path: Path, name: str) -> str:
        """Copies a file unless it is there, whole, by a name that tells its content."""
        size = path.stat().st_size
        if self._present.get(name) != size:
            self._report(self.name, "push", path=path)
            staged, folder = f"{name}.part", self.shell.folder
            self.shell.push(path, staged)
            done = self.shell.run(
                f"cd {folder} && chmod 755 {staged} && wc -c < {staged} && mv {staged} {name}"
            )
            if done.code or done.text.strip() != str(size):
                said = done.text.strip()[-200:]
                raise DeviceError("not copied", f"{path.name}: {size} bytes were sent: {said}")
            self._present[name] = size
        return name

    def carry_out(self, plan: Plan, packages: Mapping[str, Package]) -> None:
        """Every cell until it is sure, in rounds, so that heat falls on all alike.

        A cell that fails is given up for this time; a device that is gone and does not come back is too.
        """
        there = True
        try:
            there = self._rounds(plan, packages)
            if there and plan.profile:
                there = self._profile(plan, packages)
        except Stopped:
            self.shell.stop = threading.Event()  # of what follows nothing is to be stopped
        if there and self._stayed_on is not None:
            with contextlib.suppress(DeviceError):  # it has nothing to do with the results
                android.rest(self.shell, self._stayed_on)

    def _rounds(self, plan: Plan, packages: Mapping[str, Package]) -> bool:
        """Whether the device is still there at the end."""
        cells = plan.cells({path: package.limit for path, package in packages.items()})
        order = random.Random(f"{plan.seed} {self.name}")
        end = time.monotonic() + plan.budget_s
        failed: set[Cell] = set()
        for index in range(plan.repeats):
            todo = [c for c in cells if c not in failed and not self._settled(c, plan, packages)]
            for cell in order.sample(todo, len(todo)):
                self._spent = self._spent or time.monotonic() > end
                if self._spent and index:
                    return True
                try:
                    self._repeat(cell, plan, packages[cell.package])
                except DeviceError as error:
                    failed.add(cell)
                    if not self._after(error, cell, plan):
                        return False
        return True

    def fail(self, cause: str, message: str, cell: Cell | None = None) -> None:
        """Keeps and tells a failure; without a cell, of the device as a whole."""
        nothing = dict.fromkeys(field.name for field in dataclasses.fields(Cell))
        failure = {
            "device": self.name,
            "hardware_name": self.hardware.get("name"),
            **(cell.to_dict() if cell else nothing),
            "cause": cause,
            "message": message,
            "at": _now(),
        }
        self.journal.add_failure(failure)
        self._report(self.name, "failed", cell=cell, failure=failure)

    def key(self, cell: Cell, plan: Plan, package: Package) -> str:
        """What must be the same for a repeat to count: device, bytes, tool and settings."""
        parts = cell.to_dict() | {
            "device": self.name,
            "hardware": self.hardware.get("name"),
            "package": package.sha256,
            "tool": self.tool and self.tool.binary.sha256,
            "runs": plan.runs,
            "min_seconds": plan.min_seconds,
        }
        return json.dumps(parts, sort_keys=True)

    def record(self, cell: Cell, plan: Plan, package: Package) -> dict[str, Any] | None:
        """The record of a cell; None if it has not been measured, or not to the end."""
        if self.tool is None or not self._settled(cell, plan, {cell.package: package}):
            return None
        repeats = self.journal.repeats(self.key(cell, plan, package))
        timed = [r for r in repeats if not r["profiled"]]
        payload, centres = (
            package.payloads[cell.seq_length],
            [latency_stats.centre(r) for r in timed],
        )
        profile = next((r["profile"] for r in reversed(repeats) if r["profiled"]), None)
        reasons = [reason for r in timed for state in r["states"] for reason in state["throttled"]]
        return {
            "package": cell.package,
            **package.facts,
            "device": self.name,
            "threads": cell.threads,
            "delegate": cell.delegate,
            "core_mask": cell.core_mask,
            "signature": payload.signature,
            "seq_length": cell.seq_length,
            "padded_to": payload.length if payload.length != cell.seq_length else None,
            "timed": "invoke",
            "latency_ms": latency_stats.of_repeats(timed),
            "samples_ms": centres,
            "ci95_ms": latency_stats.interval_of_repeats(centres),
            **{name: _median(timed, name) for name in _LOAD_NAMES},
            "private_memory_mb": None,  # which the tool does not tell
            "delegated": timed[-1]["delegated"],
            "states": [state for r in timed for state in r["states"]],
            "throttled": list(dict.fromkeys(reasons)),
            "profile": profile,
            "hardware": self.hardware,
            "tool": self.tool.record(),
            "versions": {},
            "date": timed[-1]["states"][-1]["at"],
        }

    def _settled(self, cell: Cell, plan: Plan, packages: Mapping[str, Package]) -> bool:
        """Whether the median is known well enough, or was asked for often enough, or as often as could be."""
        repeats = self.journal.repeats(self.key(cell, plan, packages[cell.package]))
        centres = [latency_stats.centre(r) for r in repeats if not r["profiled"]]
        if len(centres) < plan.fewest_repeats:
            return self._spent and bool(centres)
        interval = latency_stats.interval_of_repeats(centres)
        sure = interval is not None and latency_stats.half_width(interval) <= plan.precision
        return sure or self._spent or len(centres) >= plan.repeats

    def _repeat(self, cell: Cell, plan: Plan, package: Package, profile: bool = False) -> None:
        """One start of the tool for a cell, kept."""
        self._report(self.name, "cell", cell=cell)
        payload = package.payloads[cell.seq_length]
        files = {"graph": self.put(Path(package.path), f"{package.sha256[:16]}.tflite")}
        for name, path in payload.files.items():
            files[name] = self.put(path, path.name)
        before = self._cool(plan)
        output = self.tool.run(cell, plan, payload, files, profile)
        after = self._state()
        repeat = _as_dict(output, cell.delegate) | {"profiled": profile, "states": [before, after]}
        self.journal.add_repeat(self.key(cell, plan, package), repeat)
        self._report(self.name, "done", cell=cell, repeat=repeat)

    def _profile(self, plan: Plan, packages: Mapping[str, Package]) -> bool:
        """One more start of each line that was measured, for the times of its operators; as `_rounds`."""
        for cell in plan.cells({path: package.limit for path, package in packages.items()}):
            repeats = self.journal.repeats(self.key(cell, plan, packages[cell.package]))
            if not repeats or any(repeat["profiled"] for repeat in repeats):
                continue
            try:
                self._repeat(cell, plan, packages[cell.package], profile=True)
            except DeviceError as error:
                if not self._after(error, cell, plan):
                    return False
        return True

    def _after(self, error: DeviceError, cell: Cell, plan: Plan) -> bool:
        """Keeps a failure with its cause; whether the device can go on."""
        there = True
        if error.lost:
            error, there = self._return(error, plan)
        self.fail(error.cause, str(error), cell)
        return there

    def _return(self, error: DeviceError, plan: Plan) -> tuple[DeviceError, bool]:
        """Waits for a device that is gone: the cause of it, and whether it is there again."""
        self._report(self.name, "gone", message=str(error))
        end = time.monotonic() + plan.reconnect_s
        cause = None
        while (found := self.shell.recover()) is not None:
            cause = _graver(cause, found)
            if time.monotonic() > end:
                message = f"{cause} for {plan.reconnect_s:.0f} s: {error}"
                return DeviceError(cause, message, lost=True), False
            if self.shell.stop.wait(_RECONNECT_POLL_S):
                raise Stopped
        try:
            known = self._boot_id
            if self._state()["boot_id"] != known and known is not None:
                cause = "rebooted"
            self.look()
        except DeviceError as again:
            return again, False
        cause = cause or error.cause
        return DeviceError(cause, f"{cause} in mid-run, there again: {error}"), True

    def _cool(self, plan: Plan) -> dict[str, Any]:
        """The state before a run, when the device is cool enough for it.

        Raises:
            DeviceError: `too hot` for longer than the plan waits.
        """
        end = time.monotonic() + plan.cool_down_s
        while True:
            state = self._state()
            warm, ceiling = state["temperature_c"], plan.max_temperature_c
            if ceiling is None or warm is None or warm <= ceiling:
                return state
            if time.monotonic() >= end:
                raise DeviceError(
                    "too hot",
                    f"{warm:g} C after {plan.cool_down_s:.0f} s of waiting: expected {ceiling:g} C or "
                    "less: cool it, or raise --max-temperature",
                )
            self._report(self.name, "hot", temperature=warm)
            if self.shell.stop.wait(min(_COOL_POLL_S, max(end - time.monotonic(), 0.1))):
                raise Stopped

    def _state(self) -> dict[str, Any]:
        state = {"at": _now(), **self.system.state(self.shell)}
        self._boot_id = state["boot_id"]
        return state


_LOAD_NAMES = ("init_ms", "first_run_ms", "peak_memory_mb", "total_memory_mb")


def _as_dict(output: Output, delegate: str) -> dict[str, Any]:
    """A tool's output for the journal."""
    latency = dataclasses.asdict(output.inference)
    latency.pop("first")
    taken = tool.delegation(output, delegate)
    operations = [dataclasses.asdict(o) for p in output.profiles for o in p.operations]
    return latency | {
        "init_ms": output.init_ms,
        "first_run_ms": output.warmup.first if output.warmup else None,
        "peak_memory_mb": output.overall_memory_mb,
        "total_memory_mb": output.peak_memory_mb,
        "delegated": taken and dataclasses.asdict(taken),
        "profile": operations or None,
    }


def _median(repeats: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Of the repeats that have the figure."""
    values = [r[name] for r in repeats if r[name] is not None]
    return round(statistics.median(values), 3) if values else None


def _graver(known: str | None, found: str) -> str:
    """The more telling of two reasons: a device that is plugged in again is offline for a moment."""
    order = ("unauthorized", "offline", "unplugged")
    ranked = [cause for cause in (known, found) if cause]
    return min(ranked, key=lambda c: order.index(c) if c in order else len(order))


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
