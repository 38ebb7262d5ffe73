"""Packages compiled for NPUs by LiteRT and the makers' SDKs, in a process of its own for each chip."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ai_edge_litert.aot.core import aot_types, common, components
from ai_edge_litert.aot.vendors import import_vendor

from sqb_tf.atomic_write import staged_file
from sqb_tf.errors import InputError
from sqb_tf.progress import track

from ..bench.devices.guarded_process import guarded_process
from ..package import container
from ..package.info import PackageInfo
from ..package.properties import NPU, is_compiled
from . import compiled, compiler_log, sdk
from .chips import Chip

_BINARY = Path("tools", "apply_plugin_main")
# LiteRT's messages and the maker's log apart: in one stream they break into each other's lines.
_TWO_FILES = (
    'LD_LIBRARY_PATH=$1; export LD_LIBRARY_PATH; shift; exec "$@" >"$0.log" 2>"$0.messages"'
)
# Exit codes of a shell: above this one that of a program which a signal ended; and ours for the time limit.
_SIGNALLED, _TOO_LONG = 128, -1


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Operations of one kind that stay on the CPU, and why, where the compiler says."""

    operation: str
    count: int
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Compilation:
    """What became of a package for one chip.

    Attributes:
        file: the compiled package; None: it failed, see `failure`.
        operations: of all signatures.
        taken: those in the NPU's binary, in `partitions` parts.
        sdk: its version, where the maker says it; `remarks` are LiteRT's on libraries of other versions.
        seconds: wall clock.
    """

    chip: Chip
    operations: int
    file: Path | None = None
    size_bytes: int = 0
    taken: int = 0
    partitions: int = 0
    refused: tuple[Refusal, ...] = ()
    sdk: str | None = None
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The keys of `sqb compile --json`."""
        values = dataclasses.asdict(self)
        return {**values, "chip": str(self.chip), "file": self.file and str(self.file)}


class CompilerFailure(Exception):
    """The maker's compiler gave no model: it ended with an error, crashed or hung."""


def check_package(path: str | Path) -> PackageInfo:
    """What a package that can be compiled says of itself.

    Raises:
        InputError: not a package; one of any length, whose compiled file would be of the length that the
            converter put in its place; one that is compiled already.
    """
    info = PackageInfo.read(path)
    if is_compiled(info.properties):
        raise InputError(
            f"{path}: compiled for {info.properties[NPU].get('chip')} already: name the package that "
            "`sqb convert` wrote"
        )
    if any(signature.seq_length is None for signature in info.signatures):
        raise InputError(
            f"{path}: takes texts of any length, an NPU those of fixed ones: convert it with "
            "--seq-lengths, as --seq-lengths 64"
        )
    return info


def output_paths(output: str | Path, chips: Sequence[Chip]) -> dict[Chip, Path]:
    """`NAME-qualcomm-SM8750.tflite` of `NAME.tflite` for each chip.

    Raises:
        InputError: a name that does not end in `.tflite`.
    """
    output = Path(output)
    if output.suffix != ".tflite":
        raise InputError(f"cannot write {output}: expected a name ending in .tflite")
    return {chip: output.with_name(f"{output.stem}{chip.file_suffix}.tflite") for chip in chips}


def compile_package(
    path: str | Path,
    outputs: dict[Chip, Path],
    *,
    npu_python: str | None = None,
    time_limit: float = 600.0,
) -> list[Compilation]:
    """Compiles a package for several chips, each into its file of `outputs`; a failed one gets none.

    Args:
        path: as checked by `check_package`.
        npu_python: a Python with `onnxruntime-qnn`, for Qualcomm's chips where LiteRT's own package of their
            SDK is missing; default: see `sdk.qnn_python`.
        time_limit: seconds for one chip.

    Raises:
        InputError: a compiler is missing, or a file cannot be written.
    """
    info, binary = check_package(path), _binary()
    folders = {
        maker: sdk.library_folders(maker, npu_python) for maker in {chip.maker for chip in outputs}
    }
    return [
        _compile(chip, output, info, _Compiler(binary, folders[chip.maker], time_limit))
        for chip, output in track(outputs.items(), "compile", len(outputs))
    ]


def _compile(chip: Chip, output: Path, info: PackageInfo, compiler: _Compiler) -> Compilation:
    start = time.monotonic()
    total = compiled.operations(container.parse(Path(info.path).read_bytes(), info.path)).total()
    try:
        model = compiler.compile(chip, info.path)
        result = _result(chip, compiler, container.parse(model, str(output)), total)
        if not result.taken:
            raise CompilerFailure(f"it took none of {total} operations")
    except (CompilerFailure, InputError) as error:  # or a model that cannot be read
        seconds = time.monotonic() - start
        return Compilation(chip, total, **_versions(compiler), seconds=seconds, failure=str(error))
    npu = {
        "chip": str(chip),
        "sdk": result.sdk,
        "litert": metadata.version("ai-edge-litert"),
        "package_sha256": info.sha256,
        **{name: getattr(result, name) for name in ("operations", "taken", "partitions")},
    }
    content = compiled.with_files(model, container.unpack(info.path), npu)
    with staged_file(output) as staged:
        staged.write_bytes(content)
    seconds = time.monotonic() - start
    return dataclasses.replace(result, file=output, size_bytes=len(content), seconds=seconds)


def _result(chip: Chip, compiler: _Compiler, graph: Any, total: int) -> Compilation:
    left = compiled.operations(graph)
    reasons = compiler_log.refusals(compiler.messages, compiler.log)
    parts = (
        compiled.partitions(graph, index, "the compiled model")
        for index in range(len(graph.subgraphs))
    )
    return Compilation(
        chip,
        total,
        taken=total - left.total(),
        partitions=sum(map(len, parts)),
        refused=tuple(
            Refusal(compiled.operation_name(code), count, tuple(reasons.get(code, ())))
            for code, count in left.most_common()
        ),
        **_versions(compiler),
    )


def _versions(compiler: _Compiler) -> dict[str, Any]:
    """The fields `sdk` and `remarks`."""
    return {
        "sdk": compiler_log.sdk_version(compiler.messages),
        "remarks": tuple(compiler_log.other_versions(compiler.messages)),
    }


class _Compiler(components.ApplyPluginT):
    """LiteRT's step of this name, with a time limit and with what the compiler says kept.

    LiteRT's own has no limit, throws away what a compiler that succeeds says, which is why operations were
    refused, and leaves a file in the temporary folder for one that fails.
    """

    def __init__(self, binary: Path, folders: Sequence[str], time_limit: float) -> None:
        self._binary, self._folders, self._time_limit = binary, folders, time_limit
        self.messages = self.log = ""

    def compile(self, chip: Chip, path: str | Path) -> bytes:
        """The compiled model; `CompilerFailure` without one."""
        config = aot_types.CompilationConfig(target=chip.target).to_dict()
        backend = import_vendor.import_vendor(config["backend_id"]).create(config)
        with tempfile.TemporaryDirectory(prefix="sqb-npu-") as folder:
            output = aot_types.Model.create_from_path(Path(folder, "model.tflite"))
            source = aot_types.Model.create_from_path(Path(path).absolute())
            backend.call_component(source, output, self)
            return output.path.read_bytes()

    def __call__(
        self,
        input_model: Any,
        output_model: Any,
        soc_manufacturer: str,
        soc_model: str,
        *args: Any,
        sdk_libs_path: str | None = None,
        **flags: Any,
    ) -> None:
        """Called by LiteRT with what the maker's compiler needs."""
        flags = {
            "cmd": "apply",
            "model": input_model.path,
            "o": output_model.path,
            "soc_manufacturer": soc_manufacturer,
            "soc_model": soc_model,
            "err": "--",
            **flags,
        }
        command = [str(self._binary), *(f"--{name}={value}" for name, value in flags.items())]
        with sdk.unused_libraries() as unused:
            own = [sdk_libs_path] if sdk_libs_path else self._folders
            libraries = [*own, unused, common.construct_ld_library_path()]
            code = self._run(command, os.pathsep.join(libraries), output_model.path)
        if code or not output_model.path.is_file() or not output_model.path.stat().st_size:
            describe = compiler_log.failure if 0 <= code <= _SIGNALLED else compiler_log.last_lines
            raise CompilerFailure(f"{self._ending(code)}: {describe(self.messages, self.log)}")

    def _run(self, command: Sequence[str], libraries: str, output: Path) -> int:
        """The exit code, `_TOO_LONG` of a process that was stopped; keeps what it said."""
        files = [Path(f"{output}.{name}") for name in ("messages", "log")]
        for file in files:
            file.touch()  # a shell that is stopped at once has made none
        try:
            with guarded_process(
                ["sh", "-c", _TWO_FILES, str(output), libraries, *command]
            ) as process:
                return process.wait(self._time_limit)
        except subprocess.TimeoutExpired:
            return _TOO_LONG
        finally:
            self.messages, self.log = (file.read_text(errors="replace") for file in files)

    def _ending(self, code: int) -> str:
        """How a shell's exit code says that a program ended."""
        if code == _TOO_LONG:
            return f"stopped after {self._time_limit:g} s (--time-limit)"
        if code > _SIGNALLED:
            with contextlib.suppress(ValueError):
                return f"the compiler crashed ({signal.Signals(code - _SIGNALLED).name})"
        return (
            f"the compiler failed with exit code {code}" if code else "the compiler wrote no model"
        )


def _binary() -> Path:
    try:
        return Path(common.get_resource(_BINARY))
    except FileNotFoundError:
        raise InputError(
            "LiteRT has no NPU compiler for this system: compile on Linux on x86-64"
        ) from None
