"""The libraries that run a compiled package on the NPU of a device, from a folder that the user names.

They are LiteRT's and the NPU's maker's, and none is ours to ship. LiteRT loads its dispatch library from the
folder of `--dispatch_library_path`; that one loads the maker's by name, from `LD_LIBRARY_PATH`; the Hexagon
loads its own part (`Skel`) from `ADSP_LIBRARY_PATH`. Google's `litert benchmark` sets the three so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqb_tf.errors import InputError

from .binaries import runs_on
from .shells import SettingError

# By the maker, as `sqb compile --npu` names it: LiteRT's own library.
_DISPATCH = {
    "qualcomm": "libLiteRtDispatch_Qualcomm.so",
    "mediatek": "libLiteRtDispatch_MediaTek.so",
    "google-tensor": "libLiteRtDispatch_GoogleTensor.so",
    "samsung": "libLiteRtDispatch_Samsung.so",
    "intel": "libLiteRtDispatch_IntelOpenvino.so",
}
# Qualcomm's, which is in no phone's system folders where a program of adb's shell may load it.
_QNN = ("libQnnHtp.so", "libQnnSystem.so")
_QNN_PARTS = ("Stub", "Skel")  # of one version of the Hexagon, as libQnnHtpV79Skel.so


@dataclasses.dataclass(frozen=True)
class NpuLibraries:
    """Files of this machine.

    Attributes:
        files: those that end in `.so`, by name.
        dispatch: LiteRT's among them, by the maker of the NPU.
        sha256: of all names and contents.
    """

    files: tuple[Path, ...]
    dispatch: Mapping[str, Path]
    sha256: str

    def check_runs(self, abis: Sequence[str], makers: Iterable[str]) -> None:
        """Checks that a device with these ABIs can load LiteRT's for NPUs of these makers.

        Raises:
            SettingError: it cannot; what needs no NPU runs there all the same.
        """
        for path in map(self.dispatch.__getitem__, makers):
            if not runs_on(path, abis):
                raise SettingError(
                    f"--npu-libraries: {path.name} is for another processor: expected one for "
                    f"{' or '.join(abis)}",
                    delegate="npu",
                )


def read(folder: str | Path, makers: Iterable[str]) -> NpuLibraries:
    """The libraries in a folder, which has those that NPUs of these makers need.

    Raises:
        InputError: no such folder, or one is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"--npu-libraries {folder}: no such folder")
    files = {path.name: path for path in sorted(folder.glob("*.so")) if path.is_file()}
    dispatch = {}
    for maker in dict.fromkeys(makers):
        if missing := _missing(maker, files):
            raise InputError(
                f"--npu-libraries {folder}: no {', '.join(missing)} in it, which a package compiled for "
                f"{maker} needs: docs/benchmarking.md says where they are"
            )
        dispatch[maker] = files[_DISPATCH[maker]]
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return NpuLibraries(tuple(files.values()), dispatch, digest.hexdigest())


def folder_name(sha256: str) -> str:
    """Of the libraries in the device's folder; another set has another one."""
    return f"npu-{sha256[:16]}"


def _missing(maker: str, files: Iterable[str]) -> list[str]:
    if maker not in _DISPATCH:
        raise InputError(f"compiled for {maker!r}: expected one of {', '.join(_DISPATCH)}")
    names = set(files)
    needed = [_DISPATCH[maker], *(_QNN if maker == "qualcomm" else ())]
    missing = [name for name in needed if name not in names]
    if maker == "qualcomm" and not _hexagon_versions(names):
        missing.append(" and ".join(f"libQnnHtpV<N>{part}.so" for part in _QNN_PARTS))
    return missing


def _hexagon_versions(names: Iterable[str]) -> set[str]:
    """Those of which both parts are there."""
    patterns = [re.compile(rf"libQnnHtp(V[0-9]+){part}\.so") for part in _QNN_PARTS]
    versions = ({m[1] for name in names if (m := p.fullmatch(name))} for p in patterns)
    return set.intersection(*versions)
