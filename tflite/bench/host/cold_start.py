"""What opening a package costs, measured in a process that does nothing else.

In a process that has run TensorFlow or another package, code is already in memory and the peak of memory
is others'. Run as `python -m sqb_tflite.bench.host.cold_start`, this module is that process: JSON in,
JSON out.
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

from sqb_tf.errors import InputError

from ...runtime.runner import Runner

NAMES = ("init_ms", "first_run_ms", "peak_memory_mb", "private_memory_mb", "total_memory_mb")


def fresh(path: str, num_threads: int, inputs: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Opens a package and runs `inputs` once, in a new process.

    Returns:
        init_ms: `Runner(path)`, vocabulary and labels included, and the first allocation, in which
            XNNPACK packs the weights. What is read of the file is in the page cache.
        first_run_ms: the run after that.
        peak_memory_mb: by how much the peak of resident memory rises above that of the process with
            the interpreter imported and nothing opened, in 10^6 bytes: what the package adds to an
            app. It counts the pages of the file that were mapped, more than were read: how many more
            depends on the kernel, see `forget`.
        private_memory_mb: by how much memory that is no file's has risen after that run: packed weights,
            activations, the vocabulary. Pages of the file the system can take back at any time, these
            it cannot. None where the system does not tell (macOS).
        total_memory_mb: the peak of the whole process, Python and its libraries included.

    Raises:
        InputError: the process failed or crashed.
    """
    request = {
        "package": path,
        "threads": num_threads,
        "inputs": {name: values.tolist() for name, values in inputs.items()},
    }
    done = subprocess.run(
        # -P: the folder that we happen to be in provides no modules.
        [sys.executable, "-P", "-m", "sqb_tflite.bench.host.cold_start"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(
            f"{path}: could not be loaded and run in a process of its own "
            f"(exit code {done.returncode}): {reason}"
        )
    return json.loads(done.stdout)


def forget(path: str | Path) -> None:
    """Has the system forget what it keeps of a file in memory: it is read from storage then, as an app's is.

    A file just written is kept in pieces of up to 2 MB, and a byte read maps all of one: int8 at 128 tokens
    adds 1.73 times its size to a process's peak then, and 1.38 read from storage (docs/avx2.md). In vain for
    what another process has mapped, and on a system without such a request (macOS). A file that cannot be
    opened is told of by who opens it next.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            os.fsync(file.fileno())  # what is not yet in storage is kept
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def summary(loads: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The median of each figure over several loads; None of one that the system does not tell."""
    values = {name: [load[name] for load in loads] for name in NAMES}
    return {
        name: None if None in found else round(statistics.median(found), 3)
        for name, found in values.items()
    }


def _measure(path: str, threads: int, inputs: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    before, private = _memory("VmHWM"), _memory("RssAnon")
    start = time.perf_counter()
    run = Runner(path, threads).prepare(inputs)
    opened = time.perf_counter()
    run()
    done = time.perf_counter()
    peak = _memory("VmHWM")
    values = (
        1e3 * (opened - start),
        1e3 * (done - opened),
        (peak - before) / 1e6,
        None if private is None else (_memory("RssAnon") - private) / 1e6,
        peak / 1e6,
    )
    return dict(zip(NAMES, values, strict=True))


def _memory(name: str) -> int | None:
    """Bytes of this process's memory by Linux's names: `VmHWM`, resident at most, or `RssAnon`, no file's.

    Linux hands `ru_maxrss` down from the process that starts this one: 800 MB under TensorFlow.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # macOS, which starts `ru_maxrss` anew, gives it in bytes, and has no `RssAnon`
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if name == "VmHWM" else None
    return 1024 * int(re.search(rf"{name}:\s*(\d+) kB", status)[1])


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    arrays = {name: np.array(values, np.int32) for name, values in asked["inputs"].items()}
    json.dump(_measure(asked["package"], asked["threads"], arrays), sys.stdout)
