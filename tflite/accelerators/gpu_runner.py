"""A package on LiteRT's GPU accelerator, by the interface of the CPU's `Runner`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from sqb_tf.errors import InputError

from ..runtime.runner import Runner
from . import messages, vulkan

_PROCESS = f"{__package__}.gpu_process"
# Seconds for opening a package, or for one text: squeezebert-base takes 2.3 for 64 tokens over SwiftShader.
TIME_LIMIT = 300.0
# What LiteRT says of operations that stay on the CPU: "MEAN: Tensor type(INT16) is not supported. add_1".
_REFUSED = "Following operations are not supported by GPU delegate:"
_COUNTS = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+)")


class GpuRunner(Runner):
    """A packaged `.tflite`, run by LiteRT's GPU accelerator (ML Drift on WebGPU) in a process of its own.

    What the accelerator does not take runs on the CPU in the same process; `whole` says whether there is
    such a thing. It says nothing about whether answers are right, and over SwiftShader times say nothing
    about a GPU. For one thread at a time.

    Args:
        path: the package, of fixed lengths.
        time_limit: seconds for opening it, and for each run.

    Raises:
        InputError: as `Runner`; no driver (`vulkan.find`); a package that the accelerator cannot open, as
            one of any length; from every method that runs the model, a process that crashed or took longer
            than `time_limit`.
    """

    untimed = "its time on the GPU accelerator would be that of messages between processes"

    def __init__(self, path: str | Path, time_limit: float = TIME_LIMIT) -> None:
        super().__init__(path)
        self.driver, self._limit = vulkan.find(), time_limit
        self.runtime = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
        self._indices = {name: index for index, name in enumerate(self.signatures)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROCESS, os.path.abspath(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**self.driver.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            self.whole: bool = self._receive("open it")[0]["whole"]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._closed:
            return
        super().close()
        self._process.kill()
        self._process.communicate()
        self._log.close()

    @property
    def refused(self) -> dict[str, int]:
        """Why operations stay on the CPU, in LiteRT's words, and how many such lines it wrote."""
        lines = iter(self._messages())
        reasons: Counter[str] = Counter()
        for line in lines:
            if _REFUSED not in line:
                continue
            for refusal in lines:
                if _COUNTS.search(refusal):
                    break
                # Without the tensor's name, of which there is one for each operation.
                reasons[re.sub(r"(not supported\.) .*", r"\1", refusal).rstrip(": ")] += 1
        return dict(reasons)

    @property
    def left_to_cpu(self) -> int:
        """How many operations of all signatures stay on the CPU, as LiteRT counts them."""
        return sum(int(match[2]) for line in self._messages() if (match := _COUNTS.search(line)))

    def stored_outputs(
        self, inputs: Mapping[str, np.ndarray], signature: str
    ) -> dict[str, np.ndarray]:
        if self._closed:
            raise InputError(f"the runner of {self.origin} was closed: open it again")
        request = {"signature": self._indices[signature]}
        with contextlib.suppress(BrokenPipeError):  # it has ended: `_receive` says how
            messages.send(cast(BinaryIO, self._process.stdin), request, inputs)
        return self._receive("run it")[1]

    def _receive(self, what: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        timer, started = threading.Timer(self._limit, self._process.kill), time.monotonic()
        timer.start()
        try:
            answer = messages.receive(cast(BinaryIO, self._process.stdout))
        finally:
            timer.cancel()
        if answer is not None:
            return answer
        code = self._process.wait()
        if time.monotonic() - started >= self._limit:
            reason = f"no answer in {self._limit:g} s"
        else:
            end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            reason = f"{end}, {self._last_message()}"
        raise InputError(
            f"{self.origin}: LiteRT's GPU accelerator cannot {what}: {reason}; convert it with --for gpu"
        )

    def _messages(self) -> list[str]:
        """LiteRT's lines so far."""
        file = (
            self._log.fileno()
        )  # read without moving to its beginning, from where LiteRT would write on
        log = os.pread(file, os.fstat(file).st_size, 0)
        return log.decode(errors="replace").splitlines()

    def _last_message(self) -> str:
        """Where it says why it ended: its last warning or error that is no report of its end."""
        lines = [line for line in self._messages() if "accelerator_registry" not in line]
        grave = [line for line in lines if re.match(r"WARNING: A|ERROR|F\d{4}|.*Assert", line)]
        return " ".join(((grave or lines or ["no message"])[-1]).split())[:200]
