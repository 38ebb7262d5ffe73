"""The tests' simulated devices for benchmarks: reports mark them as emulators."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from simulators.phone import Phone, tool

__all__ = ["Phone", "connected", "tool"]
_PORT = "26700"


@contextlib.contextmanager
def connected(folder: Path, models: Sequence[str]) -> Iterator[list[Phone]]:
    """Simulated phones of these models, connected to an adb server of their own."""
    if shutil.which("adb") is None:
        sys.exit("needs adb: see tests/simulators/setup.sh")
    os.environ.update(ANDROID_ADB_SERVER_PORT=_PORT, HOME=str(folder))
    with contextlib.ExitStack() as stack:
        phones = []
        for number, model in enumerate(models):
            properties = {"ro.product.model": f"{model} (simulated)"}
            phone = stack.enter_context(Phone(folder / f"phone{number}", properties=properties))
            subprocess.run(["adb", "connect", phone.address], check=True, capture_output=True)
            phones.append(phone)
        try:
            yield phones
        finally:
            subprocess.run(["adb", "kill-server"], check=True)
