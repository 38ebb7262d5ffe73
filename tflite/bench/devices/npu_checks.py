"""What a plan with the delegate `npu` needs, checked before any device is touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqb_tf.errors import InputError

from ...package.info import PackageInfo
from ..plan import Plan
from ..record import Compiled, compiled_for
from .npu_libraries import NpuLibraries, read

_GUIDE = "docs/benchmarking.md, On a GPU or an NPU"


def compiled_packages(packages: Mapping[str, PackageInfo]) -> dict[str, Compiled]:
    """What the packages that were compiled for an NPU were compiled for, by path."""
    by_path = ((path, compiled_for(info)) for path, info in packages.items())
    return {path: npu for path, npu in by_path if npu is not None}


def check_plan(
    plan: Plan, compiled: Mapping[str, Compiled], transports: Sequence[str], tools: Sequence[str]
) -> None:
    """Checks that each package has a delegate that runs it, and `npu` a device, a tool and a package.

    Args:
        compiled: see `compiled_packages`.
        transports: of the plan's devices.
        tools: files of `benchmark_model`; none: it would be downloaded.

    Raises:
        InputError: what is missing, and what to do.
    """
    if "npu" not in plan.delegates:
        if compiled:
            path, npu = next(iter(compiled.items()))
            raise InputError(
                f"{path}: compiled for {npu.chip}, which alone runs it: add --delegates npu, or name the "
                "package that it was compiled from"
            )
        return
    for path in plan.packages:
        if path not in compiled and (not compiled or set(plan.delegates) == {"npu"}):
            raise InputError(
                f"--delegates npu: {path} is not compiled for one: sqb compile --package {path} "
                "--npu MAKER:CHIP writes the package to name here"
            )
    if set(transports) == {"host"}:
        raise InputError(
            "--delegates npu: our runner has no NPU: name a device with --device, or run the package on "
            "Qualcomm's emulator, which says nothing of speed: sqb verify --npu"
        )
    if not tools:
        raise InputError(
            "--delegates npu: the benchmark_model that is downloaded has no NPU: name LiteRT's with --tool "
            f"({_GUIDE})"
        )


def find_libraries(
    folder: str | None, compiled: Mapping[str, Compiled], plan: Plan
) -> NpuLibraries | None:
    """The libraries for the NPUs of the compiled packages; None: the plan has no `npu`.

    Raises:
        InputError: the folder is not named, or lacks one.
    """
    if "npu" not in plan.delegates:
        return None
    if folder is None:
        raise InputError(
            "--npu-libraries is missing: --delegates npu needs the folder of LiteRT's dispatch library and "
            f"the NPU's own ({_GUIDE})"
        )
    return read(folder, makers(compiled))


def makers(compiled: Mapping[str, Compiled]) -> list[str]:
    """Of the NPUs that packages were compiled for, each once."""
    return list(dict.fromkeys(npu.chip.partition(":")[0] for npu in compiled.values()))


def mismatch(path: str, npu: Compiled, chip: str | None) -> str | None:
    """Why a device does not run a compiled package; None: it does, or its chip is unknown.

    Args:
        chip: what the device says, `ro.soc.model` of Android. Some phones add to the name by which LiteRT
            knows the chip (`s5e9945` for `E9945`), so that it only has to be in it.
    """
    if not chip or _is_chip(npu.chip.partition(":")[2], chip):
        return None
    from ...npu import chips  # late: LiteRT's targets take 0.4 s

    known = next((c for c in chips.parse(chips.ALL) if _is_chip(c.model, chip)), None)
    advice = f"sqb compile --package PACKAGE --npu {known}"
    if known is None:
        advice = "compile the package for this chip, if sqb compile has it"
    return f"{Path(path).name}: compiled for {npu.chip}, and the chip of this device is {chip}: {advice}"


def _is_chip(model: str, chip: str) -> bool:
    return _letters(model) in _letters(chip)


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
