"""Choosing `benchmark_model` for a device: a file that the user names, or the published nightly build."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from sqb_tf.atomic_write import staged_file
from sqb_tf.errors import InputError
from sqb_tf.progress import log

URL = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest"
)
# By operating system and ABI. None is published for Android's x86 emulators.
PUBLISHED = {
    ("android", "arm64-v8a"): "android_aarch64_benchmark_model",
    ("android", "armeabi-v7a"): "android_arm_benchmark_model",
    ("linux", "x86_64"): "linux_x86-64_benchmark_model",
    ("linux", "aarch64"): "linux_aarch64_benchmark_model",
    ("linux", "armv7l"): "linux_arm_benchmark_model",
}
# e_machine of an ELF header, byte 18 (System V ABI, Machine Information).
_MACHINES = {
    183: ("arm64-v8a", "aarch64"),
    40: ("armeabi-v7a", "armv7l"),
    62: ("x86_64",),
    3: ("x86",),
}
_TIMEOUT_S = 60.0


@dataclasses.dataclass(frozen=True)
class Binary:
    """A file of the tool on this machine: an executable, or an app (`.apk`)."""

    path: Path
    sha256: str

    @property
    def is_app(self) -> bool:
        return self.path.suffix == ".apk"


def find_binary(tools: Sequence[str], system: str, abis: Sequence[str]) -> Binary:
    """The tool for a device of `system` (`android` or `linux`) that runs `abis`, best first.

    The first of `tools` that runs there; without any, the published build, downloaded once.

    Raises:
        InputError: none of the files runs there, none is published, or no network.
    """
    for path in map(Path, tools):
        if not path.is_file():
            raise InputError(f"--tool {path}: no such file: expected benchmark_model or its .apk")
        if _runs(path, abis):
            return Binary(path, _digest(path))
    if tools:
        raise InputError(
            f"--tool {', '.join(tools)}: for other devices: expected one for {' or '.join(abis)}"
        )
    for abi in abis:
        if name := PUBLISHED.get((system, abi)):
            return _download(name)
    raise InputError(
        f"no benchmark_model is published for {system} on {' or '.join(abis)}: build it and name it "
        "with --tool FILE"
    )


def cache() -> Path:
    """The folder of downloads: `squeezebert-mobile` in `XDG_CACHE_HOME`, or in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "squeezebert-mobile"


def _download(name: str) -> Binary:
    """The published file, from the cache or the network; its source is written beside it.

    `SQB_TOOL_URL` replaces `URL`, for a mirror.
    """
    path = cache() / name
    if not path.exists():
        url = f"{os.environ.get('SQB_TOOL_URL') or URL}/{name}"
        log(f"downloading {url}, once: later runs find it in {path.parent}")
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                content = answer.read()
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise InputError(
                f"{url}: cannot be downloaded ({reason}): download it on another machine and name it "
                "with --tool FILE"
            ) from None
        source = {
            "url": url,
            "sha256": hashlib.sha256(content).hexdigest(),
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        with staged_file(path.with_name(f"{name}.json")) as staged:
            staged.write_text(json.dumps(source, indent=2) + "\n")
        with staged_file(path) as staged:
            staged.write_bytes(content)
    return Binary(path, _digest(path))


def _runs(path: Path, abis: Sequence[str]) -> bool:
    """Whether an executable is for one of these ABIs; a file without an ELF header may be for any."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return True
    machine = int.from_bytes(header[18:20], "little")
    return any(abi in abis for abi in _MACHINES.get(machine, ()))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
