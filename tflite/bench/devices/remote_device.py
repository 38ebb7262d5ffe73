"""One device carrying out its part of a plan."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sqb_tf.errors import InputError, last_line

from ..plan import Measurement, Plan
from ..record import Failure, Record, TextSource
from . import android, answers, reconnect, tool
from .adb import AdbShell
from .binaries import Binary
from .device_files import DeviceFiles
from .device_inputs import PreparedPackage
from .device_state import StateReader, now
from .heat_gate import HeatGate
from .journal import Journal
from .npu_checks import compiled_packages, makers, mismatch
from .npu_libraries import NpuLibraries, folder_name
from .repeat_policy import RepeatPolicy
from .repeats import build_record, repeat_from_output
from .shells import DeviceError, SettingError, Shell, Stopped
from .tool import Tool

_ON_CORES = 'taskset "$1" true'


class RemoteDevice:
    """A device, and the measurements of a plan on it.

    Args:
        name: as `--device` names it.
        shell: runs its commands.
        system: `android` or `linux`, the module that knows how it describes itself.
        find_binary: returns the tool for a system and its ABIs.
        packages: by path.
        journal: where results go.
        npu_libraries: for the packages that were compiled for an NPU; None: the plan has no `npu`.
        report: called at every step, as `report(event, **details)`.
    """

    def __init__(
        self,
        name: str,
        shell: Shell,
        system: ModuleType,
        find_binary: Callable[[str, Sequence[str]], Binary],
        plan: Plan,
        packages: Mapping[str, PreparedPackage],
        journal: Journal,
        npu_libraries: NpuLibraries | None,
        report: Callable[..., None],
    ) -> None:
        self.name, self.shell, self.system = name, shell, system
        self.plan, self.packages, self.journal = plan, packages, journal
        self._find_binary, self._report = find_binary, report
        self._npu_libraries = npu_libraries
        self._files = DeviceFiles(shell, report)
        self._states = StateReader(system, shell)
        self._heat_gate = HeatGate(plan, self._states, shell, report)
        self._policy = RepeatPolicy(plan)
        limits = {path: package.info.max_seq_length for path, package in packages.items()}
        self._compiled = compiled_packages({path: p.info for path, p in packages.items()})
        self.measurements = plan.measurements(limits, self._compiled)
        self.hardware: dict[str, Any] = {}
        self.tool: Tool | None = None
        self._unsupported: list[dict[str, str]] = []  # settings, by the keys of records
        self._screen_setting: str | None = None  # restored at the end; None: there is none

    def open(self) -> None:
        """Describes the device; finds, copies and identifies the tool.

        Raises:
            DeviceError: it cannot be used.
            InputError: there is no tool for it.
        """
        self.hardware = self.system.describe(self.shell)
        binary = self._find_binary(self.system.SYSTEM, self.hardware["abis"])
        if binary.is_app and any(self.plan.core_masks):
            raise InputError(
                f"--core-masks: an app ({binary.path.name}) cannot be bound to cores: name the "
                "executable with --tool"
            )
        self._check_chips()
        self._files.refresh()
        name = f"benchmark_model-{binary.sha256[:16]}"
        self.tool = Tool(self.shell, binary, name)
        if binary.is_app:
            assert isinstance(self.shell, AdbShell), "only Android has apps"
            tool.install_app(self.shell, binary)
        else:
            self._files.copy(binary.path, name)
            self._copy_npu_libraries(self.tool)
            self.tool.identify()
        self._check_settings(self.tool)
        if self.system is android:
            self._screen_setting = android.keep_screen_on(self.shell)

    def carry_out(self) -> None:
        """Repeats every measurement until it is precise, in rounds, so that heat affects all alike.

        A measurement that fails is not repeated in this run; a device that disappears for good ends it.
        """
        reachable = True
        try:
            reachable = self._run_rounds()
            if reachable and self.plan.profile:
                reachable = self._run_profiles()
        except Stopped:
            self.shell.stop = threading.Event()  # the commands that clean up must not be stopped
        if reachable and self._screen_setting is not None:
            with contextlib.suppress(DeviceError):  # the results do not depend on it
                android.restore_screen(self.shell, self._screen_setting)

    def fail(
        self,
        cause: str,
        message: str,
        measurement: Measurement | None = None,
        setting: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps and reports a failure of a measurement, of a setting, or of the device as a whole."""
        names = [field.name for field in dataclasses.fields(Measurement)]
        of_all: dict[str, Any] = dict.fromkeys(names) | dict(setting or {})
        failure = Failure(
            device=self.name,
            hardware_name=self.hardware.get("name"),
            **(measurement.to_dict() if measurement else of_all),
            cause=cause,
            message=message,
            at=now(),
        )
        self.journal.add_failure(failure)
        self._report("failed", measurement=measurement, failure=failure)

    def record(self, measurement: Measurement) -> Record | None:
        """The record of a measurement; None if it was not measured, or not often enough."""
        repeats = self._repeats(measurement)
        if self.tool is None or not self._policy.settled(repeats):
            return None
        text = TextSource(self.plan.text.source, len(self.plan.text.examples))
        if self.tool.flavor == "litert":
            text = TextSource("ids drawn from a range: LiteRT's tool takes no text", 0)
        return build_record(
            measurement,
            self.packages[measurement.package],
            repeats,
            device=self.name,
            hardware=self.hardware,
            tool=self.tool.to_json(),
            text=dataclasses.asdict(text),
        )

    def _check_settings(self, opened: Tool) -> None:
        """Notes the delegates and cores that the device lacks, once each, before anything runs."""
        for delegate in self.plan.delegates:
            if self._check(opened.check_delegate, delegate) and delegate == "gpu":
                for precision in self.plan.gpu_precisions:
                    self._check(opened.check_precision, precision)
        for mask in filter(None, self.plan.core_masks):
            self._check(self._check_cores, mask)

    def _check(self, check: Callable[[str], None], value: str) -> bool:
        """Whether the device has a setting; notes one that it lacks."""
        try:
            check(value)
        except SettingError as error:
            self._leave_out(error)
            return False
        return True

    def _check_chips(self) -> None:
        """Notes the packages that were compiled for the chip of another device."""
        for path, npu in list(self._compiled.items()):
            if reason := mismatch(path, npu, self.hardware.get("chip")):
                self._leave_out(SettingError(reason, package=path, delegate="npu"))
                del self._compiled[path]

    def _copy_npu_libraries(self, opened: Tool) -> None:
        """Copies the libraries into a folder of their own, where all of them are looked for.

        Also to a device of another chip: the tool itself may need LiteRT's, with any delegate.
        """
        libraries = self._npu_libraries
        if libraries is None:
            return
        try:
            libraries.check_runs(self.hardware["abis"], makers(self._compiled))
        except SettingError as error:
            self._leave_out(error)
            return
        folder = folder_name(libraries.sha256)
        self._files.make_folder(folder)
        for path in libraries.files:
            self._files.copy(path, f"{folder}/{path.name}")
        opened.npu_libraries = libraries.sha256

    def _check_cores(self, core_mask: str) -> None:
        """Checks that a process can run on the cores of a mask.

        Raises:
            SettingError: it cannot.
        """
        answer = self.shell.run(_ON_CORES, core_mask)
        if answer.code:
            where = f"--core-masks {core_mask}: not on its {self.hardware['cores']} cores"
            raise SettingError(f"{where}: {last_line(answer.text)}", core_mask=core_mask)

    def _leave_out(self, error: SettingError) -> None:
        """One failure for all measurements of a setting."""
        self._unsupported.append(error.setting)
        self.fail(error.cause, str(error), setting=error.setting)

    def _is_supported(self, measurement: Measurement) -> bool:
        values = measurement.to_dict().items()
        return not any(setting.items() <= values for setting in self._unsupported)

    def _run_rounds(self) -> bool:
        """Whether the device is still reachable at the end."""
        order = random.Random(f"{self.plan.seed} {self.name}")
        self._policy.start()
        failed: set[Measurement] = set()
        for round_index in range(self.plan.repeats):
            pending = [
                measurement
                for measurement in self.measurements
                if measurement not in failed
                and not self._policy.settled(self._repeats(measurement))
            ]
            for measurement in order.sample(pending, len(pending)):
                if not self._is_supported(measurement):
                    continue
                if self._policy.budget_spent() and round_index:
                    return True
                try:
                    self._run(measurement)
                except SettingError as error:
                    self._leave_out(error)
                except DeviceError as error:
                    failed.add(measurement)
                    if not self._handle(error, measurement):
                        return False
        return True

    def _run_profiles(self) -> bool:
        """Starts each measurement that has times once more, to time its operators; as `_run_rounds`."""
        for measurement in self.measurements:
            repeats = self._repeats(measurement)
            if not repeats or any(repeat["profiled"] for repeat in repeats):
                continue
            try:
                self._run(measurement, profile=True)
            except DeviceError as error:
                if not self._handle(error, measurement):
                    return False
        return True

    def _run(self, measurement: Measurement, profile: bool = False) -> None:
        """Starts the tool once and keeps the result."""
        self._report("measurement", measurement=measurement)
        package = self.packages[measurement.package]
        inputs = package.inputs[measurement.seq_length]
        graph = f"{package.info.sha256[:16]}.tflite"
        files = {"graph": self._files.copy(Path(package.info.path), graph)}
        for name, path in inputs.files.items():
            files[name] = self._files.copy(path, path.name)
        before = self._heat_gate.wait()
        assert self.tool is not None, "the device is not open"
        output = self.tool.run(measurement, self.plan, inputs, files, profile)
        repeat = repeat_from_output(output, measurement.delegate)
        repeat |= {"profiled": profile, "states": [before, self._states.read()]}
        if output.answers is not None and inputs.answers is not None:
            repeat["answer_difference"] = answers.check(
                inputs.answers, output.answers, package.info.recipe, measurement.delegate
            )
        self.journal.add_repeat(self._key(measurement), repeat)
        self._report("done", measurement=measurement, repeat=repeat)

    def _handle(self, error: DeviceError, measurement: Measurement) -> bool:
        """Keeps a failure with its cause; returns whether the device can continue."""
        reachable = True
        if error.lost:
            self._report("gone", message=str(error))
            error, reachable = reconnect.wait_for_device(
                error, self.shell, self._states, self._files, self.plan.reconnect_s
            )
        self.fail(error.cause, str(error), measurement)
        return reachable

    def _repeats(self, measurement: Measurement) -> list[dict[str, Any]]:
        return self.journal.repeats(self._key(measurement))

    def _key(self, measurement: Measurement) -> str:
        """What must be equal for an earlier run's repeat to count: device, bytes, tool and settings."""
        settings = measurement.to_dict()
        # Earlier versions' journals have no such key: with TFLite's tool, their GPUs computed in float16.
        usual = "fp16" if self.tool and self.tool.flavor == "tflite" else None
        if settings["gpu_precision"] in (None, usual):
            del settings["gpu_precision"]
        if self.tool and self.tool.npu_libraries is not None:
            settings["npu_libraries"] = self.tool.npu_libraries
        parts = settings | {
            "device": self.name,
            "hardware": self.hardware.get("name"),
            "package": self.packages[measurement.package].info.sha256,
            "tool": self.tool and self.tool.binary.sha256,
            "runs": self.plan.runs,
            "min_seconds": self.plan.min_seconds,
        }
        return json.dumps(parts, sort_keys=True)
