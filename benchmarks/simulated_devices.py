"""The tests' devices (tests/device) for benchmarks: no phones, and called so in every result."""

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
    """Test devices of such names, which an adb server of their own knows until the end."""
    if shutil.which("adb") is None:
        sys.exit("needs adb: see tests/device/setup.sh")
    os.environ.update(ANDROID_ADB_SERVER_PORT=_PORT, HOME=str(folder))
    with contextlib.ExitStack() as stack:
        phones = []
        for number, model in enumerate(models):
            named = {"ro.product.model": f"{model} (test device)"}
            phone = stack.enter_context(Phone(folder / f"phone{number}", properties=named))
            subprocess.run(["adb", "connect", phone.address], check=True, capture_output=True)
            phones.append(phone)
        try:
            yield phones
        finally:
            subprocess.run(["adb", "kill-server"], check=True)
