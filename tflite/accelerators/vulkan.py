"""The Vulkan driver that LiteRT's GPU accelerator runs on: the one that is named, or SwiftShader, a CPU."""

from __future__ import annotations

import ctypes.util
import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sqb_tf.errors import InputError

# The loader's own variables, the newer one first.
_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_SWIFTSHADER = "vk_swiftshader_icd.json"
# Browsers bring it, in the folder of their binary, or in one of these where the binary is a script.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FOLDERS = ("/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome")
_ACCELERATOR = "libLiteRtWebGpuAccelerator.so"
HOW = "apt-get install libvulkan1 chromium-common, or name a driver's .json in VK_DRIVER_FILES"


@dataclasses.dataclass(frozen=True)
class Driver:
    """A Vulkan driver.

    Attributes:
        manifest: the path, or paths, of the `.json` by which the loader finds it.
    """

    manifest: str

    @property
    def name(self) -> str:
        """Such as `vk_swiftshader_icd`."""
        return ", ".join(Path(path).stem for path in self.manifest.split(os.pathsep))

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that takes this driver and no other."""
        return {**os.environ, **dict.fromkeys(_VARIABLES, self.manifest)}


def find() -> Driver:
    """The driver that the environment names, else SwiftShader.

    Raises:
        InputError: none, or no Vulkan loader, or no GPU accelerator in LiteRT's package; says how to get it.
    """
    litert = importlib.util.find_spec("ai_edge_litert")
    folders = (litert.submodule_search_locations or []) if litert else []
    if not any(Path(folder, _ACCELERATOR).exists() for folder in folders):
        raise InputError(
            f"ai-edge-litert has no {_ACCELERATOR} on this system: its wheels for Linux on x86-64 have it, "
            "from version 2.3 on"
        )
    if ctypes.util.find_library("vulkan") is None:
        raise InputError(f"no Vulkan loader (libvulkan.so.1): {HOW}")
    for variable in _VARIABLES:
        if named := os.environ.get(variable):
            for part in named.split(os.pathsep):
                if not Path(part).exists():
                    raise InputError(
                        f"{variable}={named}: there is no {part}: name a driver's .json"
                    )
            return Driver(named)
    for path in _swiftshaders():
        if Path(path).is_file():
            return Driver(path)
    raise InputError(f"no Vulkan driver ({_SWIFTSHADER} of Chromium, which needs no GPU): {HOW}")


def _swiftshaders() -> Iterator[str]:
    """Where browsers may have put it."""
    binaries = filter(None, map(shutil.which, _BROWSERS))
    folders = [str(Path(binary).resolve().parent) for binary in binaries]
    yield from (str(Path(folder, _SWIFTSHADER)) for folder in (*folders, *_FOLDERS))
