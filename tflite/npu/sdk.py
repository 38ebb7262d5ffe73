"""Where the compilers of the makers of NPUs are on this machine. None of them is ours to ship."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqb_tf.errors import InputError, last_line
from sqb_tf.progress import log

from .chips import Chip

# The Python module by which LiteRT finds each SDK, and how to get it.
_SDKS = {
    "qualcomm": (
        "ai_edge_litert_sdk_qualcomm",
        "pip install ai-edge-litert-sdk-qualcomm, or make .venv-npu/.installed, which has onnxruntime-qnn",
    ),
    "mediatek": ("ai_edge_litert_sdk_mediatek", "pip install ai-edge-litert-sdk-mediatek"),
    "google-tensor": (
        "ai_edge_litert_sdk_google_tensor",
        "pip install ai-edge-litert-sdk-google-tensor, or set GOOGLE_TENSOR_COMPILER_LIB to its folder",
    ),
    "samsung": (
        "ai_edge_litert_sdk_samsung",
        "Samsung gives its Exynos AI LiteCore to registered developers, for Python as "
        "ai_edge_litert_sdk_samsung",
    ),
    "intel": ("openvino", "pip install openvino ai-edge-litert-sdk-intel"),
}
_NEEDED = ("onnxruntime", "onnx", "onnxruntime_qnn")
_ENVIRONMENT = Path(".venv-npu", "bin", "python")
_HOW = (
    "make .venv-npu/.installed, or python3 -m venv .venv-npu && .venv-npu/bin/pip install onnxruntime onnx "
    "onnxruntime-qnn (Linux on x86-64, Qualcomm's licence)"
)
_LOOK_LIMIT = 60
_LOOK = f"""
import importlib.util, json
specs = {{name: importlib.util.find_spec(name) for name in {_NEEDED}}}
print(json.dumps({{n: s and list(s.submodule_search_locations or [''])[0] for n, s in specs.items()}}))
"""


@dataclasses.dataclass(frozen=True)
class QnnPython:
    """A Python that has Qualcomm's libraries: its executable, and the folder of `onnxruntime_qnn`."""

    executable: str
    libraries: str


def qnn_python(executable: str | None = None) -> QnnPython:
    """The Python of `--npu-python`; without it that of `.venv-npu` here or beside this one's, or this one.

    Raises:
        InputError: none has onnxruntime, onnx and onnxruntime-qnn.
    """
    if executable:
        return _looked_up(executable)
    beside = [Path.cwd() / _ENVIRONMENT, Path(sys.prefix).parent / _ENVIRONMENT]
    for candidate in [*map(str, beside), sys.executable]:
        with contextlib.suppress(InputError):
            return _looked_up(candidate)
    raise InputError(f"--npu-python is missing, and there is no {_ENVIRONMENT}: {_HOW}")


def library_folders(maker: str, npu_python: str | None) -> list[str]:
    """Folders of the maker's libraries beyond those that LiteRT finds by itself.

    Raises:
        InputError: this maker's SDK is missing; the message says how to get it.
    """
    module, how = _SDKS[maker]
    if importlib.util.find_spec(module) is not None:
        return []
    if maker == "google-tensor" and os.environ.get("GOOGLE_TENSOR_COMPILER_LIB"):
        return []
    if maker == "qualcomm":
        if npu_python:
            return [qnn_python(npu_python).libraries]
        with contextlib.suppress(InputError):
            return [qnn_python().libraries]
    raise InputError(f"--npu {maker}: its SDK is missing: {how}")


def with_compiler(chips: Sequence[Chip], npu_python: str | None) -> list[Chip]:
    """The chips whose maker's SDK is here; says which are left out.

    Raises:
        InputError: no SDK is.
    """
    missing: dict[str, InputError] = {}
    for maker in dict.fromkeys(chip.maker for chip in chips):
        try:
            library_folders(maker, npu_python)
        except InputError as error:
            missing[maker] = error
            log(f"left out: {error}")
    kept = [chip for chip in chips if chip.maker not in missing]
    if not kept:
        raise InputError(
            f"--npu all: no maker's compiler is installed. {next(iter(missing.values()))}"
        )
    return kept


@contextlib.contextmanager
def unused_libraries() -> Iterator[str]:
    """A folder with a library that LiteRT's plugin for Qualcomm links to and never calls.

    `libQnnLpai.so` is for another processor and in no public wheel. The loader takes any library by that
    name: the C library, which every process has loaded already.
    """
    with tempfile.TemporaryDirectory(prefix="sqb-npu-") as folder:
        if library := _c_library():
            Path(folder, "libQnnLpai.so").symlink_to(library)
        yield folder


def _c_library() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            if line.endswith("/libc.so.6"):
                return line[line.index("/") :]
    return None


def _looked_up(executable: str) -> QnnPython:
    try:
        process = subprocess.run(
            [executable, "-c", _LOOK],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LOOK_LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"no answer in {_LOOK_LIMIT} s"
        raise InputError(
            f"--npu-python {executable}: {reason}: expected a Python with "
            f"{', '.join(_NEEDED)}: {_HOW}"
        ) from None
    try:
        folders = json.loads(process.stdout)
        if not isinstance(folders, dict):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--npu-python {executable}: not a Python: {last_line(process.stderr)}"
        ) from None
    if missing := [name for name in _NEEDED if not folders.get(name)]:
        raise InputError(f"--npu-python {executable}: it has no {', '.join(missing)}: {_HOW}")
    return QnnPython(executable, folders["onnxruntime_qnn"])
