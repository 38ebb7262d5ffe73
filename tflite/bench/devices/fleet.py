"""Several devices carrying out one plan in parallel; then this machine, which they would disturb."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from sqb_tf.errors import InputError
from sqb_tf.progress import warn

from ...package.info import PackageInfo
from ..host import session
from ..plan import Plan
from ..record import Failure, Missing, Record, Result
from . import android, binaries, linux, npu_checks
from .adb import AdbShell
from .device_inputs import PreparedPackage, prepare_package
from .journal import Journal
from .live import LiveStatusTable
from .npu_libraries import NpuLibraries
from .remote_device import RemoteDevice
from .scratch_folder import scratch_folder
from .shells import DeviceError, LocalShell, Shell, SshShell, Stopped
from .targets import Target, ssh_address


@dataclasses.dataclass(frozen=True)
class ConnectionOptions:
    """`benchmark_model` files of this machine, ssh's settings file, the folder of libraries for NPUs."""

    tools: Sequence[str] = ()
    ssh_config: str | None = None
    npu_libraries: str | None = None


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
        InputError: a package that cannot be opened or that no delegate of the plan runs, a length that no
            package takes, or what `npu` needs is missing.
        KeyboardInterrupt: what was measured is in the journal.
    """
    journal = journal or Journal()
    packages = {path: PackageInfo.read(path) for path in plan.packages}
    compiled = npu_checks.compiled_packages(packages)
    npu_checks.check_plan(plan, compiled, [t.transport for t in targets], options.tools)
    libraries = npu_checks.find_libraries(options.npu_libraries, compiled, plan)
    remote = [target for target in targets if target.transport != "host"]
    runnable = {path: info for path, info in packages.items() if path not in compiled}
    if remote and len(remote) < len(targets) and compiled and runnable:
        # The host lacks some of the packages: what it refuses, it refuses before the devices take their hour.
        plan.check_lengths({path: info.max_seq_length for path, info in runnable.items()})
    result = Result(failures=journal.failures)
    if remote:
        with scratch_folder() as folder, _local_folder(remote) as copies:
            prepared = _prepare(plan, packages, folder)
            connect = functools.partial(_connect, options=options, folder=folder, copies=copies)
            _measure_remote(
                remote, plan, prepared, options.tools, libraries, journal, result, connect
            )
    if len(remote) < len(targets):
        for path in compiled:
            warn(f"{path}: compiled for an NPU: not measured on host")
        result.records += _measure_host(plan, runnable, journal) if runnable else []
    if all(_is_left_out(missing, result.failures) for missing in result.missing):
        journal.finish()
    return result


def _is_left_out(missing: Missing, failures: Sequence[Failure]) -> bool:
    """Whether a measurement has a setting that its device lacks: a second run would not have it either."""
    values = dataclasses.asdict(missing)
    names = ("package", "delegate", "core_mask", "gpu_precision")
    settings = (
        {name: value for name in names if (value := getattr(failure, name))}
        for failure in failures
        if failure.device == missing.device and failure.seq_length is None
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
    tools: Sequence[str],
    libraries: NpuLibraries | None,
    journal: Journal,
    result: Result,
    connect: Callable[[Target, threading.Event], tuple[Shell, ModuleType]],
) -> None:
    """Each device in a thread of its own."""
    stop = threading.Event()
    find_binary = functools.partial(binaries.find_binary, tools)
    names = [target.name for target in targets]
    limits = {path: package.info.max_seq_length for path, package in packages.items()}
    compiled = npu_checks.compiled_packages({path: p.info for path, p in packages.items()})
    total = len(plan.measurements(limits, compiled))
    with (
        LiveStatusTable(names, total, plan.fewest_repeats) as status,
        concurrent.futures.ThreadPoolExecutor(len(targets)) as pool,
    ):
        devices = []
        for target in targets:
            shell, system = connect(target, stop)
            report = functools.partial(status.report, target.name)
            devices.append(
                RemoteDevice(
                    target.name,
                    shell,
                    system,
                    find_binary,
                    plan,
                    packages,
                    journal,
                    libraries,
                    report,
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
) -> tuple[Shell, ModuleType]:
    """The shell of a target, and the module that knows its system.

    Args:
        folder: for what the way there needs meanwhile.
        copies: the folder of `local`.
    """
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
    del settings["gpu_precisions"]  # it has no GPU, and earlier versions' journals have no such key
    key = json.dumps(settings, sort_keys=True, default=str)
    if not journal.repeats(key):
        for record in session.measure(plan, packages):
            journal.add_repeat(key, record.to_json())
    return [Record.from_json(record) for record in journal.repeats(key)]
