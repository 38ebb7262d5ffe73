"""Choosing `benchmark_model` for a device: a file that the user names, or the published nightly build."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.errors import InputError
from sqb_tf.progress import log, warn

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
_LOOPBACK = ("127.0.0.1", "::1", "localhost")  # a mirror on this machine, as the tests have


@dataclasses.dataclass(frozen=True)
class Binary:
    """A file of the tool on this machine: an executable, or an app (`.apk`)."""

    path: Path
    sha256: str
    date: str  # of the file's last change; of a download the server's, which is that of the build

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
        if runs_on(path, abis):
            return _identify(path)
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
    """The published file, from the cache or the network; its source and sum are written beside it.

    `SQB_TOOL_URL` replaces `URL`, for a mirror.

    Raises:
        InputError: no network, an address that anybody on the way could answer for, or a file in the cache
            that is not the one that was downloaded.
    """
    path, record = cache() / name, cache() / f"{name}.json"
    if not path.exists():
        url = f"{os.environ.get('SQB_TOOL_URL') or URL}/{name}"
        log(f"downloading {url}, once: later runs find it in {path.parent}")
        content, modified = _fetch(url)
        digest, before = hashlib.sha256(content).hexdigest(), _recorded_sum(record)
        if before not in (None, digest):
            warn(
                f"{name} is another build than the one of {record}: sha256 {digest}, not {before}: do not "
                "compare its times with earlier ones"
            )
        source = {
            "url": url,
            "sha256": digest,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        with staged_file(record) as staged:
            staged.write_text(json.dumps(source, indent=2) + "\n")
        with staged_file(path) as staged:
            staged.write_bytes(content)
            if modified is not None:
                os.utime(staged, (modified, modified))
    binary = _identify(path)
    if binary.sha256 != _recorded_sum(record):
        raise InputError(
            f"{path}: its sha256 is not that of the download, which {record.name} has: delete it to download "
            "it again, or name a file of your own with --tool FILE"
        )
    return binary


def _recorded_sum(record: Path) -> str | None:
    """The sum of an earlier download; None if there is no record of one."""
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _fetch(url: str) -> tuple[bytes, float | None]:
    """What is at an address, and nothing but it, see `_check_address`; and when it was changed, if known."""
    try:
        _check_address(url)
        opener = urllib.request.build_opener(_CheckedRedirects)
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return answer.read(), _timestamp(answer.headers["Last-Modified"])
    except InputError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(
            f"{url}: cannot be downloaded ({reason}): download it on another machine and name it "
            "with --tool FILE"
        ) from None


def _timestamp(date: str | None) -> float | None:
    """Seconds of a date as HTTP writes it; None for none, and for anything else."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, TypeError, OverflowError):
        return None


def _check_address(url: str) -> None:
    """Checks that nobody on the way can change what comes: https, or http within this machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise InputError(
        f"{url}: expected an address of https, as what comes from it is run: change SQB_TOOL_URL, or name "
        "a file with --tool FILE"
    )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to addresses that `_check_address` accepts."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        _check_address(arguments[-1])
        return super().redirect_request(*arguments)


def runs_on(path: Path, abis: Sequence[str]) -> bool:
    """Whether an executable is for one of these ABIs; a file without an ELF header may be for any."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return True
    machine = int.from_bytes(header[18:20], "little")
    return any(abi in abis for abi in _MACHINES.get(machine, ()))


def _identify(path: Path) -> Binary:
    changed = datetime.date.fromtimestamp(path.stat().st_mtime)
    return Binary(path, hashlib.sha256(path.read_bytes()).hexdigest(), changed.isoformat())
