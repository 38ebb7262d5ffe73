"""The files that a device has, so that none is copied twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from sqb_tf.errors import last_line

from .shells import DeviceError, Shell

# Android has sha256sum since 6.0. Before that the size must do: a name changes with the content, and a file
# gets it once all has arrived.
_DIGEST = """cd "$1" || exit
if command -v sha256sum >/dev/null; then sha256sum "$2"; else wc -c <"$2"; fi"""
_RENAME = 'cd "$1" && chmod 755 "$2" && mv "$2" "$3"'
_DIGEST_S = 120.0  # 1.2 GB at the 10 MB/s of a slow board


class DeviceFiles:
    """Files in a shell's folder, by names that change with their content.

    Args:
        report: called as `report("push", path=path)` before a file is copied.
    """

    def __init__(self, shell: Shell, report: Callable[..., None]) -> None:
        self._shell, self._report = shell, report
        self._checked: set[str] = set()

    def refresh(self) -> None:
        """Makes the folder if it is not there; its files are looked at again.

        Raises:
            DeviceError: `no folder`: it cannot be made, or is not ours alone.
        """
        self._checked.clear()
        result = self._shell.run(self._shell.make_folder, self._shell.folder)
        if result.code:
            raise DeviceError("no folder", f"{self._shell.folder}: {last_line(result.text)}")

    def make_folder(self, name: str) -> None:
        """Makes a folder in the shell's.

        Raises:
            DeviceError: `no folder`: it cannot be made.
        """
        result = self._shell.run('cd "$1" && mkdir -p "$2"', self._shell.folder, name)
        if result.code:
            raise DeviceError("no folder", f"{name}: {last_line(result.text)}")

    def copy(self, path: Path, name: str) -> str:
        """Copies a file unless it is there with the same content; returns `name`.

        It gets its name only once all of it has arrived.

        Raises:
            DeviceError: `not copied`, or what `Shell.push` raises.
        """
        if name not in self._checked:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            expected = (digest, str(path.stat().st_size))
            if self._fingerprint(name) not in expected:
                self._report("push", path=path)
                staged = f"{name}.part"
                self._shell.push(path, staged)
                answer = self._fingerprint(staged)
                if answer not in expected:
                    size = expected[1]
                    raise DeviceError(
                        "not copied", f"{path.name}: {size} bytes were sent: {answer}"
                    )
                renamed = self._shell.run(_RENAME, self._shell.folder, staged, name)
                if renamed.code:
                    raise DeviceError("not copied", f"{path.name}: {last_line(renamed.text)}")
            self._checked.add(name)
        return name

    def _fingerprint(self, name: str) -> str:
        """The sha256 of a file on the device, or its size; what it says of one that is not there."""
        answer = self._shell.run(_DIGEST, self._shell.folder, name, timeout_s=_DIGEST_S).text
        return answer.strip()[-200:].split("  ")[0]
