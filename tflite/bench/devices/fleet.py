"""Several devices carrying out one plan in parallel; then this machine, which they would disturb."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tf.progress import warn

from ...package.info import PackageInfo
from ..host import session
from ..plan import Plan
from ..record import Failure, Missing, Record, Result
from . import android, binaries, linux
from .adb import AdbShell
from .device_inputs import PreparedPackage, prepare_package
from .journal import Journal
from .live import LiveStatusTable
from .remote_device import RemoteDevice
from .scratch_folder import scratch_folder
from .shells import DeviceError, LocalShell, Shell, SshShell, Stopped
from .targets import Target, ssh_address


@dataclasses.dataclass(frozen=True)
class ConnectionOptions:
    """`benchmark_model` files of this machine, and ssh's settings file."""

    tools: Sequence[str] = ()
    ssh_config: str | None = None


def measure(
    targets: Sequence[Target],
    plan: Plan,
    options: ConnectionOptions,
    journal: Journal | None = None,
) -> Result:
    """Carries a plan out on every target.

    Measurements that the journal has from an earlier run are not repeated. A device that fails does not
    stop the others.

    Raises:
        InputError: a package that cannot be opened, or a length that no package takes.
        KeyboardInterrupt: what was measured is in the journal.
    """
    journal = journal or Journal()
    packages = {path: PackageInfo.read(path) for path in plan.packages}
    remote = [target for target in targets if target.transport != "host"]
    result = Result(failures=journal.failures)
    if remote:
        with scratch_folder() as folder, _local_folder(remote) as copies:
            prepared = _prepare(plan, packages, folder)
            _measure_remote(remote, plan, prepared, options, journal, result, folder, copies)
    if len(remote) < len(targets):
        result.records += _measure_host(plan, packages, journal)
    if all(_is_left_out(missing, result.failures) for missing in result.missing):
        journal.finish()
    return result


def _is_left_out(missing: Missing, failures: Sequence[Failure]) -> bool:
    """Whether a measurement has a setting that its device lacks: a second run would not have it either."""
    values = dataclasses.asdict(missing)
    settings = (
        {name: value for name in ("delegate", "core_mask") if (value := getattr(failure, name))}
        for failure in failures
        if failure.device == missing.device and failure.package is None
    )
    return any(setting and setting.items() <= values.items() for setting in settings)


def _local_folder(targets: Sequence[Target]) -> contextlib.AbstractContextManager[Path | None]:
    """Where `local` keeps the tool, packages and inputs while it measures; None: it is no target.

    A phone keeps its copies, as copying takes a minute. Here they would double the user's packages on one
    disk. Beside the downloads, since a temporary folder may be in memory, or run no programs.
    """
    if any(target.transport == "local" for target in targets):
        return scratch_folder(binaries.cache())
    return contextlib.nullcontext()


def _prepare(
    plan: Plan, packages: Mapping[str, PackageInfo], folder: Path
) -> dict[str, PreparedPackage]:
    """The packages with their inputs, which are written to `folder`."""
    prepared = {}
    for path, info in packages.items():
        with session.naming_package(path):
            prepared[path] = prepare_package(info, plan.text, plan.lengths, folder)
    plan.check_lengths({path: info.max_seq_length for path, info in packages.items()})
    return prepared


def _measure_remote(
    targets: Sequence[Target],
    plan: Plan,
    packages: Mapping[str, PreparedPackage],
    options: ConnectionOptions,
    journal: Journal,
    result: Result,
    folder: Path,
    copies: Path | None,
) -> None:
    """Each device in a thread of its own; `folder` is for what they need meanwhile, `copies` for `local`."""
    stop = threading.Event()
    find_binary = functools.partial(binaries.find_binary, options.tools)
    limits = {path: package.info.max_seq_length for path, package in packages.items()}
    total = len(plan.measurements(limits))
    names = [target.name for target in targets]
    with (
        LiveStatusTable(names, total, plan.fewest_repeats) as status,
        concurrent.futures.ThreadPoolExecutor(len(targets)) as pool,
    ):
        devices = []
        for target in targets:
            shell, system = _connect(target, stop, options, folder, copies)
            report = functools.partial(status.report, target.name)
            devices.append(
                RemoteDevice(
                    target.name, shell, system, find_binary, plan, packages, journal, report
                )
            )
        futures = [
            pool.submit(_carry_out, device, target, status)
            for device, target in zip(devices, targets, strict=True)
        ]
        try:
            for future in futures:
                future.result()
        except BaseException:  # Ctrl-C, or a defect of ours: the other threads must end too
            stop.set()
            raise
    for device in devices:
        for measurement in device.measurements:
            record = device.record(measurement)
            if record is None:
                result.missing.append(Missing(device=device.name, **measurement.to_dict()))
            else:
                result.records.append(record)


def _connect(
    target: Target,
    stop: threading.Event,
    options: ConnectionOptions,
    folder: Path,
    copies: Path | None,
) -> tuple:
    """The shell of a target, and the module that knows its system."""
    shell: Shell
    if target.transport == "adb":
        return AdbShell(stop, target.name), android
    if target.transport == "ssh":
        address, port = ssh_address(target.name)
        shell = SshShell(stop, address, port, options.ssh_config, folder)
    else:
        assert copies is not None, "`local` has a folder"
        shell = LocalShell(stop, copies)
    return shell, linux


def _carry_out(device: RemoteDevice, target: Target, status: LiveStatusTable) -> None:
    """A device from beginning to end; a failure to begin has no package."""
    try:
        if target.trouble:
            raise DeviceError(target.trouble, _advice(target.trouble))
        device.open()
    except (DeviceError, InputError) as error:
        device.fail(getattr(error, "cause", "no tool"), str(error))
    except Stopped:
        pass
    else:
        device.carry_out()
    status.report(device.name, "end")


def _advice(trouble: str) -> str:
    """What to do about a device that adb lists and cannot use."""
    return {
        "unauthorized": "unauthorized: unlock the device and allow USB debugging for this computer",
        "offline": "offline: plug it in again, or adb reconnect",
        "no permissions": "no permissions: add the udev rules of android-sdk-platform-tools-common",
    }.get(trouble, f"{trouble}: expected the state device")


def _measure_host(
    plan: Plan, packages: Mapping[str, PackageInfo], journal: Journal
) -> list[Record]:
    """This machine by our runner; from the journal if an earlier run finished it."""
    if set(plan.delegates) != {"xnnpack"} or any(plan.core_masks):
        warn("host: measured with xnnpack on all cores only: for others --device local")
    digests = [info.sha256 for info in packages.values()]
    settings = dataclasses.asdict(plan) | {"text": plan.text.source, "host": digests}
    key = json.dumps(settings, sort_keys=True, default=str)
    if not journal.repeats(key):
        for record in session.measure(plan, packages):
            journal.add_repeat(key, record.to_json())
    return [Record.from_json(record) for record in journal.repeats(key)]
