"""What opening a package costs, measured in a process that does nothing else.

In a process that has run TensorFlow or another package, code is already in memory, and the peak of memory
is theirs. Run as `python -m sqb_tflite.bench.host.cold_start`, this module is that process:
JSON in, JSON out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.errors import InputError, last_line

from ...runtime.runner import Runner

NAMES = ("init_ms", "first_run_ms", "peak_memory_mb", "private_memory_mb", "total_memory_mb")


def measure(
    path: str, num_threads: int, inputs: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """Opens a package and runs `inputs` once, in a new process.

    Returns:
        init_ms: `Runner(path)`, vocabulary and labels included, and the first allocation, in which
            XNNPACK packs the weights. The parts of the file that this reads are in the page cache.
        first_run_ms: the run after that.
        peak_memory_mb: the rise of the peak of resident memory above that of the process with the
            interpreter imported and nothing opened, in 10^6 bytes: what the package adds to an app. It
            counts every mapped page of the file, more than were read: how many more depends on the
            kernel, see `evict_from_page_cache`.
        private_memory_mb: the rise of anonymous memory after that run: packed weights, activations, the
            vocabulary. Unlike pages of the file, the system cannot reclaim it. None where the system does
            not report it (macOS).
        total_memory_mb: the peak of the whole process, Python and its libraries included.

    Raises:
        InputError: the process failed or crashed.
    """
    request = {
        "package": path,
        "threads": num_threads,
        "inputs": {name: values.tolist() for name, values in inputs.items()},
    }
    completed = subprocess.run(
        # -P: the current folder provides no modules.
        [sys.executable, "-P", "-m", "sqb_tflite.bench.host.cold_start"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
    )
    if completed.returncode:
        reason = last_line(completed.stderr)
        raise InputError(
            f"{path}: could not be loaded and run in a process of its own "
            f"(exit code {completed.returncode}): {reason}"
        )
    return json.loads(completed.stdout)


def evict_from_page_cache(path: str | Path) -> None:
    """Drops a file from the page cache, so that it is read from storage, as an app reads it.

    The cache keeps a file just written in pieces of up to 2 MB, and reading a byte maps a whole piece: at 128
    tokens int8 then adds 1.73 times its size to a process's peak, and 1.38 times when read from storage
    (docs/results, AVX2). No effect on pages that another process has mapped, nor on systems without such a
    call (macOS). Errors are left to the caller that opens the file.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            os.fsync(file.fileno())  # dirty pages stay
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def summarize(starts: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The median of each figure over several starts; None where the system does not report it."""
    medians: dict[str, float | None] = {}
    for name in NAMES:
        values = [value for start in starts if (value := start[name]) is not None]
        medians[name] = round(statistics.median(values), 3) if len(values) == len(starts) else None
    return medians


def _measure_here(
    path: str, threads: int, inputs: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    peak_before, private_before = peak_memory(), _private_memory()
    start = time.perf_counter()
    run = Runner(path, threads).prepare(inputs)
    opened = time.perf_counter()
    run()
    end = time.perf_counter()
    peak, private = peak_memory(), _private_memory()
    values = (
        1e3 * (opened - start),
        1e3 * (end - opened),
        (peak - peak_before) / 1e6,
        None if private is None or private_before is None else (private - private_before) / 1e6,
        peak / 1e6,
    )
    return dict(zip(NAMES, values, strict=True))


def peak_memory() -> int:
    """The peak of this process's resident memory in bytes.

    Not `ru_maxrss` on Linux: there it starts with the parent's, 800 MB under TensorFlow. macOS starts it
    anew, and counts bytes.
    """
    peak = _process_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if peak is None else peak


def _private_memory() -> int | None:
    """Bytes of this process's resident memory that no file backs; None where unknown (macOS)."""
    return _process_status("RssAnon")


def _process_status(name: str) -> int | None:
    """Bytes of a line of Linux's /proc/self/status; None on other systems."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = re.search(rf"{name}:\s*(\d+) kB", status)
    return 1024 * int(line[1]) if line else None


if __name__ == "__main__":
    request = json.load(sys.stdin)
    arrays = {name: np.array(values, np.int32) for name, values in request["inputs"].items()}
    json.dump(_measure_here(request["package"], request["threads"], arrays), sys.stdout)
