"""Several devices carrying out one plan, side by side; then this machine, which they would disturb."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.progress import log

from ...runtime.runner import Runner
from .. import inputs, package_facts
from ..host import session
from ..plan import Plan
from . import android, binaries, device_inputs, linux
from .journal import Journal
from .live import Board
from .remote import Package, Remote
from .shells import (
    AdbShell,
    DeviceError,
    LocalShell,
    SshShell,
    Stopped,
)
from .targets import Target, ssh_address

Result = dict[str, list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Access:
    """How devices are reached: `benchmark_model` files of this machine, and ssh's settings file."""

    tools: Sequence[str] = ()
    ssh_config: str | None = None


def measure(
    targets: Sequence[Target], plan: Plan, access: Access, journal: Journal | None = None
) -> Result:
    """Carries a plan out on every target: `records`, `failures`, and `missing` for what has no record.

    What a journal has from an earlier run is not measured again. A device that fails does not stop the
    others.

    Raises:
        InputError: a package that cannot be opened, or a length that none takes.
        KeyboardInterrupt: what was measured is in the journal.
    """
    journal = journal or Journal()
    away = [target for target in targets if target.kind != "host"]
    result: Result = {"records": [], "failures": journal.failures, "missing": []}
    if away:
        with tempfile.TemporaryDirectory(prefix="sqb-inputs-") as folder:
            _measure_away(away, plan, prepare(plan, Path(folder)), access, journal, result)
    if len(away) < len(targets):
        result["records"] += _measure_here(plan, journal)
    if not result["missing"]:
        journal.finish()
    return result


def prepare(plan: Plan, folder: Path) -> dict[str, Package]:
    """The plan's packages with their inputs, written to `folder`."""
    made = {}
    for path in plan.packages:
        with session.naming(path):
            runner, content = Runner(path), Path(path).read_bytes()
            limit = inputs.longest(runner)
            known = package_facts.of_package(content, runner.package.properties)
            payloads = {
                length: device_inputs.prepare(runner, content, plan.text, length, folder)
                for length in plan.lengths
                if length <= limit
            }
            made[path] = Package(path, known, limit, payloads)
    plan.check_lengths({path: one.limit for path, one in made.items()})
    return made


def _measure_away(
    targets: Sequence[Target],
    plan: Plan,
    packages: Mapping[str, Package],
    access: Access,
    journal: Journal,
    result: Result,
) -> None:
    """Every device in a thread of its own."""
    cells = plan.cells({path: package.limit for path, package in packages.items()})
    stop = threading.Event()
    find = functools.partial(binaries.find, access.tools)
    with (
        Board([target.name for target in targets], len(cells), plan.fewest_repeats) as board,
        concurrent.futures.ThreadPoolExecutor(len(targets)) as pool,
    ):
        devices = [_remote(target, stop, access, find, journal, board) for target in targets]
        futures = [
            pool.submit(_carry_out, device, target, plan, packages, board)
            for device, target in zip(devices, targets, strict=True)
        ]
        try:
            for future in futures:
                future.result()
        except BaseException:  # Ctrl-C, or a mistake of ours: the other threads must end too
            stop.set()
            raise
    text = {"source": plan.text.source, "texts": len(plan.text.examples)}
    for device in devices:
        for cell in cells:
            record = device.record(cell, plan, packages[cell.package])
            if record is None:
                result["missing"].append({"device": device.name, **cell.to_dict()})
            else:
                result["records"].append(record | {"text": text})


def _remote(
    target: Target,
    stop: threading.Event,
    access: Access,
    find: Any,
    journal: Journal,
    board: Board,
) -> Remote:
    if target.kind == "adb":
        shell, system = AdbShell(stop, target.name), android
    elif target.kind == "ssh":
        address, port = ssh_address(target.name)
        shell, system = SshShell(stop, address, port, access.ssh_config), linux
    else:
        shell, system = LocalShell(stop, binaries.cache() / "device"), linux
    return Remote(target.name, shell, system, find, journal, board.report)


def _carry_out(
    device: Remote,
    target: Target,
    plan: Plan,
    packages: Mapping[str, Package],
    board: Board,
) -> None:
    """A device from beginning to end; what keeps it from beginning is a failure without a package."""
    try:
        if target.trouble:
            raise DeviceError(target.trouble, _advice(target))
        device.open(plan)
    except (DeviceError, InputError) as error:
        device.fail(getattr(error, "cause", "no tool"), str(error))
    except Stopped:
        pass
    else:
        device.carry_out(plan, packages)
    board.report(device.name, "end")


def _advice(target: Target) -> str:
    """What to do about a device that adb lists and cannot use."""
    return {
        "unauthorized": "unauthorized: unlock the device and allow USB debugging for this computer",
        "offline": "offline: plug it in again, or adb reconnect",
        "no permissions": "no permissions: add the udev rules of android-sdk-platform-tools-common",
    }.get(target.trouble or "", f"{target.trouble}: expected the state device")


def _measure_here(plan: Plan, journal: Journal) -> list[dict[str, Any]]:
    """This machine by our runner; from the journal if an earlier run came so far."""
    if set(plan.delegates) != {"xnnpack"} or any(plan.core_masks):
        log("host: measured with xnnpack on all cores alone: for others --device local")
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in plan.packages]
    wanted = dataclasses.asdict(plan) | {"text": plan.text.source, "host": digests}
    key = json.dumps(wanted, sort_keys=True, default=str)
    if not journal.repeats(key):
        for record in session.measure(plan):
            journal.add_repeat(key, record)
    return journal.repeats(key)
