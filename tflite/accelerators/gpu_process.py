"""The process that runs a package on LiteRT's GPU accelerator: `python -m` of this module with the package.

It is one of its own because a failed check in Dawn, WebGPU's implementation, aborts the process. It reads
`{"signature": index}` with the inputs from standard input, and answers on standard output: first what LiteRT
says of the package, then the outputs of each run. LiteRT's own messages go to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator

from ..npu.end_with_parent import end_with_parent
from . import messages


class _Signature:
    """A signature's buffers, which all of its runs share."""

    def __init__(self, model: CompiledModel, index: int) -> None:
        self._model, self._index = model, index
        signature = model.get_signature_by_index(index)
        # The buffers have the order of these names, which is not that of the file.
        self._inputs = dict(zip(signature["inputs"], model.create_input_buffers(index)))
        self._outputs = dict(zip(signature["outputs"], model.create_output_buffers(index)))
        self._details: dict[str, Any] = model.get_output_tensor_details(signature["key"])

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, buffer in self._inputs.items():
            buffer.write(inputs[name])
        self._model.run_by_index(
            self._index, list(self._inputs.values()), list(self._outputs.values())
        )
        return {name: self._read(name) for name in self._outputs}

    def _read(self, name: str) -> np.ndarray:
        shape = self._details[name]["shape"]
        dtype = np.dtype(self._details[name]["dtype"])
        if dtype == np.int16:
            sys.exit(f"ERROR: output {name} is int16, which LiteRT's buffers do not read in Python")
        return self._outputs[name].read(int(np.prod(shape)), dtype.type).reshape(shape)


def main(package: str, requests: BinaryIO, answers: BinaryIO) -> None:
    model = CompiledModel.from_file(
        package, hardware_accel=HardwareAccelerator.GPU | HardwareAccelerator.CPU
    )
    messages.send(answers, {"whole": model.is_fully_accelerated()})
    signatures: dict[int, _Signature] = {}
    while (received := messages.receive(requests)) is not None:
        request, inputs = received
        index = request["signature"]
        if index not in signatures:
            signatures[index] = _Signature(model, index)
        messages.send(answers, {}, signatures[index].run(inputs))


if __name__ == "__main__":
    end_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints must not mix with the answers
    main(sys.argv[1], sys.stdin.buffer, answers)
