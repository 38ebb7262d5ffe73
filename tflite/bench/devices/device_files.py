"""The files that a device has, so that none is copied twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .shells import DeviceError, Shell


class DeviceFiles:
    """Files in a shell's folder, by names that change with their content.

    Args:
        report: called as `report("push", path=path)` before a file is copied.
    """

    def __init__(self, shell: Shell, report: Callable[..., None]) -> None:
        self._shell, self._report = shell, report
        self._sizes: dict[str, int] = {}

    def refresh(self) -> None:
        """Lists the folder, which it creates if it is not there."""
        folder = self._shell.folder
        listing = self._shell.run(
            f"mkdir -p {folder} && chmod 755 {folder} && cd {folder} && "
            'for f in *; do [ -f "$f" ] && wc -c "$f"; done'
        )
        pairs = (line.split() for line in listing.text.splitlines())
        self._sizes = {p[1]: int(p[0]) for p in pairs if len(p) == 2 and p[0].isdigit()}

    def copy(self, path: Path, name: str) -> str:
        """Copies a file unless it is there in full; returns `name`.

        It gets its name only once all of it has arrived.

        Raises:
            DeviceError: `not copied`, or what `Shell.push` raises.
        """
        size = path.stat().st_size
        if self._sizes.get(name) != size:
            self._report("push", path=path)
            staged, folder = f"{name}.part", self._shell.folder
            self._shell.push(path, staged)
            check = self._shell.run(
                f"cd {folder} && chmod 755 {staged} && wc -c < {staged} && mv {staged} {name}"
            )
            if check.code or check.text.strip() != str(size):
                answer = check.text.strip()[-200:]
                raise DeviceError("not copied", f"{path.name}: {size} bytes were sent: {answer}")
            self._sizes[name] = size
        return name
