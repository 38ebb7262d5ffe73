"""Writes the locks of all environments: each distribution with its version and the hashes of its files.

`make lock` runs it, after a pin has changed. Versions that a lock has stay, as far as the pins allow it. All
files of a version are listed, so one lock is for every platform and version of Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

LOCKS = Path(__file__).parent
REPOSITORY = LOCKS.parent
BUILD = LOCKS / "build.in"
# What each environment is made from.
PINS = {
    "build": BUILD,
    "main": REPOSITORY / "requirements.txt",
    "mediapipe": REPOSITORY / "tests/peers/mediapipe/requirements.txt",
    "torch": REPOSITORY / "benchmarks/torch-requirements.txt",
    "jax": REPOSITORY / "tests/peers/jax_backend/requirements.txt",
    "npu": REPOSITORY / "tests/peers/npu/requirements.txt",
    "audit": LOCKS / "audit.in",
}
# What torch of PyPI wants on Linux, and torch for CPUs does not, in a lock of its own.
CUDA = re.compile("nvidia-|cuda-|triton")


def entries(lock: str) -> list[str]:
    """The distributions of a lock, each with its hashes."""
    return re.findall(r"^[^\s#].*\n(?:[ \t].*\n)*", lock, re.MULTILINE)


def compile_lock(pins: Path, earlier: str) -> list[str]:
    """The entries of the lock for these pins; what the earlier lock has is kept as far as they allow it."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--constraint", str(BUILD)]
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "lock.txt")
        lock.write_text(earlier)
        subprocess.run([*command, str(pins), "--output-file", str(lock)], check=True)
        return entries(lock.read_text())


def main() -> None:
    if shutil.which("uv") is None:
        raise SystemExit("uv is not on the path: make lock installs it and runs this")
    for name, pins in PINS.items():
        lock, cuda_lock = LOCKS / f"{name}.txt", LOCKS / f"{name}-cuda.txt"
        earlier = (path.read_text() for path in (lock, cuda_lock) if path.exists())
        locked = compile_lock(pins, "".join(earlier))
        cuda = [entry for entry in locked if CUDA.match(entry)]
        lock.write_text("".join(entry for entry in locked if entry not in cuda))
        if cuda:
            cuda_lock.write_text("".join(cuda))
        print(f"{lock.relative_to(REPOSITORY)}: {len(locked) - len(cuda)} distributions")


if __name__ == "__main__":
    main()
