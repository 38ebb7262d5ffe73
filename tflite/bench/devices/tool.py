"""`benchmark_model` on a device: asked what it is, told what to run, and its answer read."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..plan import Cell, Plan
from . import tool_output, tool_result
from .binaries import Binary
from .device_inputs import Payload
from .shells import (
    PROBE_S,
    AdbShell,
    DeviceError,
    NoAnswer,
    Shell,
)
from .tool_lines import ToolError
from .tool_output import Delegation, Output

_DELEGATE_FLAGS = {
    # Explicit: without the flag a build that lacks XNNPACK would run on reference kernels and not say so.
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
    "none": ("--use_xnnpack=false",),
}
# The whole of a plan's `max_secs`: so that a slow model still ends by itself before it is held to hang.
_MAX_SHARE = 0.5
_RESULT = "result.pb"
_RESULT_MARK = "@@result"
# What running a file for another processor says, in sh, bash and ld.so.
_WRONG_ABI = re.compile(
    r"not executable: \d+-bit ELF|Exec format error|cannot execute binary file|wrong ELF class"
    r"|No such file or directory.*ld-linux|error while loading shared libraries"
)
ACTIVITY = "org.tensorflow.lite.benchmark/.BenchmarkModelActivity"
PACKAGE = ACTIVITY.partition("/")[0]
_LOG_POLL_S = 0.5


@dataclasses.dataclass
class Tool:
    """The tool on one device, as an executable or as an app.

    Attributes:
        binary: where it is from.
        name: of the file in the shell's folder.
        flags: that it has.
        kind: `tflite`, or `litert` for LiteRT's tool of the same name.
    """

    shell: Shell
    binary: Binary
    name: str
    flags: frozenset[str] = frozenset()
    kind: str = "tflite"

    def ask(self) -> None:
        """Finds out what the executable is, and its flags. The app answers no --help, and is TFLite's.

        Raises:
            DeviceError: it does not run there, or is no benchmark tool.
        """
        done = self.shell.run(f"cd {self.shell.folder} && ./{self.name} --help")
        _check_runs(done.text, self.binary)
        try:
            self.kind, self.flags = tool_output.tool_of(done.text), tool_output.flags(done.text)
        except ToolError as error:
            raise DeviceError("not the tool", f"{self.binary.path}: {error}") from None

    def record(self) -> dict[str, Any]:
        """For the records."""
        return {
            "name": f"benchmark_model ({self.kind})",
            "sha256": self.binary.sha256,
            "mode": "app" if self.binary.is_app else "binary",
        }

    def run(
        self,
        cell: Cell,
        plan: Plan,
        payload: Payload,
        files: Mapping[str, str],
        profile: bool = False,
    ) -> Output:
        """One start of the tool.

        Args:
            files: names in the shell's folder: `graph`, and one for each input.
            profile: whether to time the operators too, which slows the run down.

        Raises:
            DeviceError: whatever came of it that is no result.
        """
        arguments = self._arguments(cell, plan, payload, files)
        if profile and self.kind == "tflite":
            arguments.append("--enable_op_profiling=true")
        try:
            output = (
                self._run_app(arguments, plan)
                if self.binary.is_app
                else self._run_binary(cell, arguments, plan)
            )
        except ToolError as error:
            cause = {"flags": "unknown flag", "failed": "failed", "garbled": "garbled output"}
            raise DeviceError(cause[error.cause], str(error)) from None
        taken = delegation(output, cell.delegate)
        if cell.delegate != "none" and taken is not None and taken.extent == "none":
            reason = f"{taken.name} took no part of the graph: it is the CPU's time"
            raise DeviceError("not delegated", reason)
        if cell.delegate in ("gpu", "nnapi") and taken is None and self.kind == "tflite":
            reason = f"the tool does not say that {cell.delegate} took a part of the graph"
            raise DeviceError("not delegated", reason)
        return output

    def _arguments(
        self, cell: Cell, plan: Plan, payload: Payload, files: Mapping[str, str]
    ) -> list[str]:
        folder = self.shell.folder
        arguments = [
            f"--graph={folder}/{files['graph']}",
            f"--num_threads={cell.threads}",
            f"--num_runs={plan.runs}",
            f"--min_secs={plan.min_seconds:g}",
            f"--max_secs={max(plan.timeout_s * _MAX_SHARE, plan.min_seconds):g}",
        ]
        if payload.several:
            arguments.append(f"--signature_to_run_for={payload.signature}")
        if self.kind == "litert":
            return arguments + _litert_arguments(cell, payload)
        # Names are ours: the tool only warns where a model's differ, and those of TensorFlow have colons.
        shape = ":".join(f"1,{payload.length}" for _ in payload.names)
        values = ",".join(f"{name}:{folder}/{files[name]}" for name in payload.names)
        arguments += [
            f"--input_layer={','.join(payload.names)}",
            f"--input_layer_shape={shape}",
            f"--input_layer_value_files={values}",
            *_DELEGATE_FLAGS[cell.delegate],
        ]
        if "result_file_path" in self.flags:
            arguments.append(f"--result_file_path={folder}/{_RESULT}")
        return arguments

    def _run_binary(self, cell: Cell, arguments: list[str], plan: Plan) -> Output:
        cores = f"taskset {cell.core_mask} " if cell.core_mask else ""
        result = f"{self.shell.folder}/{_RESULT}"
        # The tool's own exit code, with its result in the same round trip.
        command = (
            f"cd {self.shell.folder} && rm -f {result}\n{cores}./{self.name} {' '.join(arguments)}\n"
            f"code=$?\necho; echo {_RESULT_MARK}; [ -f {result} ] && base64 {result} 2>/dev/null\n"
            "exit $code"
        )
        try:
            done = self.shell.run(command, plan.timeout_s)
        except NoAnswer:
            # It fails if the device is what hangs. In brackets the pattern does not match its own shell.
            self.shell.run(f"pkill -f '[{self.name[0]}]{self.name[1:]}'", PROBE_S)
            reason = f"the tool had not ended after {plan.timeout_s:.0f} s"
            raise DeviceError("hung", reason) from None
        text, _, encoded = done.text.rpartition(_RESULT_MARK)
        _check_runs(text, self.binary)
        output = tool_output.parse(text)
        if done.code:
            raise ToolError("failed", f"exit code {done.code} in spite of a result")
        if encoded.strip():
            _compare(output, _decoded(encoded))
        return output

    def _run_app(self, arguments: list[str], plan: Plan) -> Output:
        """Through the log, since an app has no output; its end is its last line, or an error."""
        self.shell.run(f"logcat -c; am force-stop {PACKAGE}")
        started = self.shell.run(f'am start -S -n {ACTIVITY} --es args "{" ".join(arguments)}"')
        if started.code or "Error" in started.text:
            last = (started.text.strip().splitlines() or ["no message"])[-1]
            raise ToolError("failed", f"am start {ACTIVITY}: {last}")
        end = time.monotonic() + plan.timeout_s
        while time.monotonic() < end:
            log = self.shell.run("logcat -d -s tflite").text
            if "Memory footprint delta" in log or re.search(r"\bE tflite|E/tflite", log):
                return tool_output.parse(log)
            if self.shell.stop.wait(_LOG_POLL_S):
                break
        self.shell.run(f"am force-stop {PACKAGE}")
        raise DeviceError("hung", f"the app wrote no result in {plan.timeout_s:.0f} s")


def installed(shell: AdbShell, binary: Binary) -> None:
    """Installs the app, unless the device has this very one."""
    marker = f"{shell.folder}/{binary.sha256[:16]}.installed"
    have = shell.run(f"[ -f {marker} ] && pm path {PACKAGE}")
    if have.code:
        shell.install(binary.path)
        shell.run(f"rm -f {shell.folder}/*.installed; touch {marker}")


def _litert_arguments(cell: Cell, payload: Payload) -> list[str]:
    """LiteRT's tool takes neither lengths nor files: its inputs are drawn from ranges.

    Raises:
        DeviceError: it cannot run this.
    """
    if not payload.fixed:
        raise DeviceError(
            "unsupported",
            f"{Path(cell.package).name}: LiteRT's benchmark_model cannot set a length: convert with "
            "--seq-lengths, or give TFLite's tool with --tool",
        )
    if cell.delegate not in ("xnnpack", "gpu"):
        raise DeviceError(
            "unsupported", f"--delegates {cell.delegate}: LiteRT's benchmark_model has none"
        )
    gpu = "true" if cell.delegate == "gpu" else "false"
    return [f"--input_layer_value_range={payload.ranges}", f"--use_gpu={gpu}"]


def _check_runs(text: str, binary: Binary) -> None:
    if match := _WRONG_ABI.search(text):
        line = next(line for line in text.splitlines() if match[0][:20] in line)
        raise DeviceError("wrong ABI", f"{binary.path.name} does not run there: {line.strip()}")


def delegation(output: Output, delegate: str) -> Delegation | None:
    """What a delegate took, the most of several subgraphs; None where the tool does not say.

    A tool that applies the GPU tells of XNNPACK too, which takes the rest.
    """
    own = [one for one in output.delegations if delegate in one.name.lower()]
    return max(own, key=lambda one: ("none", "partial", "full").index(one.extent), default=None)


def _decoded(encoded: str) -> Output:
    try:
        return tool_result.parse_result(base64.b64decode("".join(encoded.split()), validate=True))
    except binascii.Error:
        raise ToolError("garbled", f"the result file: {encoded.strip()[:80]}") from None


def _compare(text: Output, result: Output) -> None:
    """The printed figures against those of the result file, so that a damaged digit is not taken for one.

    Raises:
        ToolError: they differ by more than both are rounded.
    """
    for name in ("count", "min", "max", "mean", "median"):
        printed, written = getattr(text.inference, name), getattr(result.inference, name)
        if printed is None or written is None:
            continue
        # A float32 has 7 digits, the printed mean 6, and a printed median is a whole microsecond.
        if abs(printed - written) > 2e-5 * abs(written) + 1.1e-3:
            raise ToolError(
                "garbled", f"{name} is {printed:g} in the text and {written:g} in the result file"
            )
