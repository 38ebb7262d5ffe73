"""`benchmark_model` on a device: identified, started with flags, its output read."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqb_tf.errors import last_line

from ..plan import Measurement, Plan
from . import answers, tool_output, tool_result
from .adb import AdbShell
from .binaries import Binary
from .delegation import find_delegation
from .device_inputs import DeviceInputs
from .npu_libraries import folder_name
from .shells import (
    PROBE_S,
    DeviceError,
    NoAnswer,
    SettingError,
    Shell,
)
from .tool_lines import ToolError
from .tool_output import Output

# By the tool, then by delegate. Explicit: without the flag a build of TFLite's that lacks XNNPACK would
# silently run reference kernels. LiteRT's `use_cpu` is true by default, for what the others leave.
_DELEGATE_FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "tflite": {
        "xnnpack": ("--use_xnnpack=true",),
        "gpu": ("--use_gpu=true",),
        "nnapi": ("--use_nnapi=true",),
        "none": ("--use_xnnpack=false",),
    },
    "litert": {
        "xnnpack": ("--use_gpu=false",),
        "gpu": ("--use_gpu=true",),
        "npu": ("--use_gpu=false", "--use_npu=true"),
    },
}
# Whether a GPU may compute in float16, which is both tools' default.
_PRECISION_FLAG = {"tflite": "gpu_precision_loss_allowed", "litert": "allow_fp16"}
_LIBRARIES_FLAG = "dispatch_library_path"
# A runtime that lists conversions apart, or a deep model, has more than the buffer's 1024 events in a run.
_LARGER_BUFFER = "allow_dynamic_profiling_buffer_increase"
# Share of the time-out passed as `--max_secs`, so a slow model stops before it is declared hung.
_MAX_SHARE = 0.5
# Lines of output that are read: some 40 of a run, and two for each operation of a profile. Random ids fail
# 20,000 times, in 2.7 MB.
_LINES, _PROFILE_LINES = 2000, 100_000
_RESULT, _ANSWERS = "result.pb", "answers.bin"
_RESULT_MARK, _ANSWERS_MARK = "@@result", "@@answers"
# What is asked for where the build has it; an app does not say, and has no folder to write to. The memory is
# read 20 times a second by a thread of its own, in microseconds: too little to show in a median.
_WANTED = {
    "result_file_path": _RESULT,
    "output_filepath": _ANSWERS,
    "report_peak_memory_footprint": "true",
}
# The messages of sh, bash and ld.so for a file built for another processor.
_WRONG_ABI = re.compile(
    r"not executable: \d+-bit ELF|Exec format error|cannot execute binary file|wrong ELF class"
    r"|No such file or directory.*ld-linux|error while loading shared libraries"
)
# glibc's message, and Android's.
_NO_LIBRARY = re.compile(
    r"error while loading shared libraries: (?P<linux>\S+): cannot open shared object file"
    r'|CANNOT LINK EXECUTABLE .*library "(?P<android>[^"]+)" not found'
)
ACTIVITY = "org.tensorflow.lite.benchmark/.BenchmarkModelActivity"
PACKAGE = ACTIVITY.partition("/")[0]
_LOG_POLL_S = 0.5
# Scripts of the shell; their arguments follow where they are run.
_HELP = 'cd "$1" && shift && "$@" --help'
# One round trip for the output, the result file, the model's outputs and the tool's own exit code.
# `head` ends the tool at `$2` lines; 3 is the way of its exit code around `head`, 4 that of its output.
_RUN = f"""cd "$1" && rm -f {_RESULT} {_ANSWERS} || exit
lines=$2
shift 2
exec 4>&1
first() {{ if command -v head >/dev/null; then head -n "$1"; else cat; fi; }}
code=$({{ {{ "$@"; echo $? >&3; }} 2>&1 | first "$lines" >&4; }} 3>&1)
echo; echo {_RESULT_MARK}; [ -f {_RESULT} ] && base64 {_RESULT} 2>/dev/null
echo; echo {_ANSWERS_MARK}; [ -f {_ANSWERS} ] && head -c {answers.MAX_BYTES} {_ANSWERS} | base64 2>/dev/null
rm -f {_ANSWERS}
exit $code"""
_KILL = 'pkill -f "$1"'
_START_APP = f'am start -S -n {ACTIVITY} --es args "$1"'
_STOP_APP = f"am force-stop {PACKAGE}"
_CLEAR_LOG = f"logcat -c; {_STOP_APP}"
_HAS_APP = f'cd "$1" && [ -f "$2.installed" ] && pm path {PACKAGE}'
_NOTE_APP = 'cd "$1" && rm -f ./*.installed && touch "$2.installed"'


@dataclasses.dataclass
class Tool:
    """The tool on one device, as an executable or as an app.

    Attributes:
        binary: the file on this machine.
        name: of the file in the shell's folder.
        flags: the names of its flags.
        flavor: `tflite`, or `litert` for LiteRT's tool of the same name.
        npu_libraries: sha256 of the libraries for an NPU in `npu_folder`; None: there are none.
    """

    shell: Shell
    binary: Binary
    name: str
    flags: frozenset[str] = frozenset()
    flavor: str = "tflite"
    npu_libraries: str | None = None

    @property
    def npu_folder(self) -> str:
        """On the device: the tool, LiteRT and the NPU's own processor each look for their libraries there."""
        return f"{self.shell.folder}/{folder_name(self.npu_libraries or '')}"

    def identify(self) -> None:
        """Reads the executable's flavor and flags from its help. The app has no --help, and is TFLite's.

        Raises:
            DeviceError: it does not run there, or is not a benchmark tool.
        """
        text = self.shell.run(_HELP, self.shell.folder, *self._program()).text
        _check_runs(text, self.binary)
        try:
            self.flavor, self.flags = tool_output.detect_flavor(text), tool_output.parse_flags(text)
        except ToolError as error:
            raise DeviceError("not the tool", f"{self.binary.path}: {error}") from None

    def check_delegate(self, delegate: str) -> None:
        """Checks that the build has a delegate. The app does not say which it has.

        Raises:
            SettingError: it has not.
        """
        arguments = _DELEGATE_FLAGS[self.flavor].get(delegate)
        if arguments is not None and not self._lacks(*map(_flag_name, arguments)):
            return
        other = "name another build with --tool"
        if delegate == "npu":
            other = "name LiteRT's benchmark_model with --tool, which has --use_npu"
        raise SettingError(
            f"--delegates {delegate}: {self.binary.path.name} is built without it: {other}",
            delegate=delegate,
        )

    def check_precision(self, precision: str) -> None:
        """Checks that the build can be told what a GPU computes in; float16 is what it does by itself.

        Raises:
            SettingError: it cannot.
        """
        if precision == "fp32" and self._lacks(flag := _PRECISION_FLAG[self.flavor]):
            raise SettingError(
                f"--gpu-precision {precision}: {self.binary.path.name} has no --{flag}: name a later build "
                "with --tool",
                gpu_precision=precision,
            )

    def to_json(self) -> dict[str, Any]:
        """The `tool` of a record."""
        return {
            "name": f"benchmark_model ({self.flavor})",
            "sha256": self.binary.sha256,
            "mode": "app" if self.binary.is_app else "binary",
            "date": self.binary.date,
            "npu_libraries": self.npu_libraries,
        }

    def run(
        self,
        measurement: Measurement,
        plan: Plan,
        inputs: DeviceInputs,
        files: Mapping[str, str],
        profile: bool = False,
    ) -> Output:
        """One start of the tool.

        Args:
            files: names in the shell's folder: `graph`, and one for each input.
            profile: whether to time the operators too, which slows the run down.

        Raises:
            DeviceError: it gave no result that can be trusted.
        """
        arguments = self._arguments(measurement, plan, inputs, files)
        if profile and self.flavor == "tflite":
            arguments.append("--enable_op_profiling=true")
            if _LARGER_BUFFER in self.flags:
                arguments.append(f"--{_LARGER_BUFFER}=true")
        lines = _PROFILE_LINES if profile else _LINES
        try:
            output = (
                self._run_app(arguments, plan)
                if self.binary.is_app
                else self._run_binary(measurement, arguments, plan, lines)
            )
        except ToolError as error:
            cause = {"flags": "unknown flag", "failed": "failed", "garbled": "garbled output"}
            raise DeviceError(cause[error.cause], str(error)) from None
        self._check_delegation(output, measurement.delegate)
        return output

    def _check_delegation(self, output: Output, delegate: str) -> None:
        """Rejects times of the CPU that would pass for those of a delegate."""
        if warning := output.unsupported.get(delegate):
            raise SettingError(f"--delegates {delegate}: {warning}", delegate=delegate)
        if delegate == "npu" and output.npu_failure:
            raise DeviceError("not delegated", f"not on the NPU: {output.npu_failure}")
        delegation = find_delegation(output.delegations, delegate)
        if delegation is not None and delegation.extent == "none":
            reason = f"{delegation.name} took no part of the graph: this is the CPU's time"
            raise DeviceError("not delegated", reason)
        if delegate in ("gpu", "nnapi", "npu") and delegation is None:
            reason = (
                f"the tool does not report that {delegate} took a part of the graph: it fell back to the "
                "CPU, or the build does not say"
            )
            raise DeviceError("not delegated", reason)

    def _lacks(self, *names: str) -> bool:
        return bool(self.flags) and not self.flags.issuperset(names)

    def _program(self) -> list[str]:
        """The executable, as it is started: with the libraries of an NPU where there are any."""
        if self.npu_libraries is None:
            return [f"./{self.name}"]
        folder = self.npu_folder
        return ["env", f"LD_LIBRARY_PATH={folder}", f"ADSP_LIBRARY_PATH={folder}", f"./{self.name}"]

    def _arguments(
        self, measurement: Measurement, plan: Plan, inputs: DeviceInputs, files: Mapping[str, str]
    ) -> list[str]:
        # The executable runs in the folder, whose name may have a colon, which separates names from files.
        folder = f"{self.shell.folder}/" if self.binary.is_app else ""
        arguments = [
            f"--graph={folder}{files['graph']}",
            f"--num_threads={measurement.threads}",
            f"--num_runs={plan.runs}",
            f"--min_secs={plan.min_seconds:g}",
            f"--max_secs={max(plan.timeout_s * _MAX_SHARE, plan.min_seconds):g}",
        ]
        if inputs.named_signature:
            arguments.append(f"--signature_to_run_for={inputs.signature}")
        if measurement.gpu_precision and not self._lacks(_PRECISION_FLAG[self.flavor]):
            allowed = "true" if measurement.gpu_precision == "fp16" else "false"
            arguments.append(f"--{_PRECISION_FLAG[self.flavor]}={allowed}")
        arguments += _DELEGATE_FLAGS[self.flavor][measurement.delegate]
        if measurement.delegate == "npu":
            arguments.append(f"--{_LIBRARIES_FLAG}={self.npu_folder}")
        if self.flavor == "litert":
            return [*arguments, _litert_inputs(measurement, inputs)]
        # Our names: the tool only warns where the model's differ, and TensorFlow's contain colons.
        shape = ":".join(f"1,{inputs.length}" for _ in inputs.names)
        values = ",".join(f"{name}:{folder}{files[name]}" for name in inputs.names)
        arguments += [
            f"--input_layer={','.join(inputs.names)}",
            f"--input_layer_shape={shape}",
            f"--input_layer_value_files={values}",
        ]
        arguments += [f"--{flag}={value}" for flag, value in _WANTED.items() if flag in self.flags]
        return arguments

    def _run_binary(
        self, measurement: Measurement, arguments: list[str], plan: Plan, lines: int
    ) -> Output:
        cores = ["taskset", measurement.core_mask] if measurement.core_mask else []
        command = [*cores, *self._program(), *arguments]
        try:
            where = (self.shell.folder, str(lines))
            run = self.shell.run(_RUN, *where, *command, timeout_s=plan.timeout_s)
        except NoAnswer:
            # Raises if the device itself hangs. The brackets keep the pattern from matching its own shell.
            self.shell.run(_KILL, f"[{self.name[0]}]{self.name[1:]}", timeout_s=PROBE_S)
            reason = f"the tool had not ended after {plan.timeout_s:.0f} s"
            raise DeviceError("hung", reason) from None
        text, _, files = run.text.rpartition(_RESULT_MARK)
        result, _, outputs = files.partition(_ANSWERS_MARK)
        _check_runs(text, self.binary)
        output = tool_output.parse(text)
        if run.code:
            raise ToolError("failed", f"exit code {run.code} in spite of a result")
        if result.strip():
            _compare(output, tool_result.parse_result(_decode(result)))
        # Without `head` or `base64`, as before Android 6, nothing arrives.
        return dataclasses.replace(output, answers=_decode(outputs) or None)

    def _run_app(self, arguments: list[str], plan: Plan) -> Output:
        """Reads the log, since an app has no output, until its last line or an error."""
        self.shell.run(_CLEAR_LOG)
        started = self.shell.run(
            _START_APP, " ".join(arguments)
        )  # the app separates them at spaces
        if started.code or "Error" in started.text:
            last = last_line(started.text)
            raise ToolError("failed", f"am start {ACTIVITY}: {last}")
        end = time.monotonic() + plan.timeout_s
        while time.monotonic() < end:
            log = self.shell.run("logcat -d -s tflite").text
            if "Memory footprint delta" in log or re.search(r"\bE tflite|E/tflite", log):
                return tool_output.parse(log)
            if self.shell.stop.wait(_LOG_POLL_S):
                break
        self.shell.run(_STOP_APP)
        raise DeviceError("hung", f"the app wrote no result in {plan.timeout_s:.0f} s")


def install_app(shell: AdbShell, binary: Binary) -> None:
    """Installs the app, unless the device has this very file."""
    where = (shell.folder, binary.sha256[:16])
    if shell.run(_HAS_APP, *where).code:
        shell.install(binary.path)
        shell.run(_NOTE_APP, *where)


def _flag_name(argument: str) -> str:
    """`use_gpu` of `--use_gpu=true`."""
    return argument[2:].partition("=")[0]


def _litert_inputs(measurement: Measurement, inputs: DeviceInputs) -> str:
    """LiteRT's tool takes neither lengths nor files: it draws its inputs from ranges.

    Raises:
        DeviceError: it cannot run this measurement.
    """
    if not inputs.fixed:
        raise DeviceError(
            "unsupported",
            f"{Path(measurement.package).name}: LiteRT's benchmark_model cannot set a length: convert with "
            "--seq-lengths, or name TFLite's tool with --tool",
        )
    return f"--input_layer_value_range={inputs.value_ranges}"


def _check_runs(text: str, binary: Binary) -> None:
    if match := _NO_LIBRARY.search(text):
        raise DeviceError(
            "no library",
            f"{binary.path.name} needs {match['linux'] or match['android']}, which is not there: with "
            "--delegates npu put it into the folder of --npu-libraries, or name a build without it",
        )
    if match := _WRONG_ABI.search(text):
        line = next(line for line in text.splitlines() if match[0][:20] in line)
        raise DeviceError("wrong ABI", f"{binary.path.name} does not run there: {line.strip()}")


def _decode(encoded: str) -> bytes:
    """A file that the tool wrote."""
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except binascii.Error:
        raise ToolError("garbled", f"a file of its results: {encoded.strip()[:80]}") from None


def _compare(text: Output, result: Output) -> None:
    """Checks the printed figures against those of the result file, to detect a damaged digit.

    Raises:
        ToolError: they differ by more than rounding explains.
    """
    for name in ("count", "min", "max", "mean", "median"):
        printed, written = getattr(text.inference, name), getattr(result.inference, name)
        if printed is None or written is None:
            continue
        # A float32 has 7 digits, the printed mean has 6, and the printed median is in whole microseconds.
        if abs(printed - written) > 2e-5 * abs(written) + 1.1e-3:
            raise ToolError(
                "garbled", f"{name} is {printed:g} in the text and {written:g} in the result file"
            )
