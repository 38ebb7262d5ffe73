"""Runs the binaries in a compiled package on Qualcomm's emulator of the Hexagon. Started by `emulator`.

A program of its own, in a Python that has onnxruntime, onnx and onnxruntime-qnn and none of this project. The
first argument is a JSON file with the place of each binary and its tensors. Then one run for each request: on
standard input a byte with the binary's number, and its inputs; on standard output its outputs. Arrays are
their bytes, one after the other.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnxruntime
import onnxruntime_qnn

_PROVIDER = "QNN"


def main(request_path: str) -> None:
    """Serves until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the emulator writes its log to standard output
    request = json.loads(Path(request_path).read_text())
    onnxruntime.set_default_logger_severity(3)
    onnxruntime.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
    content = Path(request["file"]).read_bytes()
    binaries = [Binary(entry, content) for entry in request["binaries"]]
    answers.write(b"\0")  # ready
    answers.flush()
    while number := sys.stdin.buffer.read(1):
        binary = binaries[number[0]]
        for output in binary.run(sys.stdin.buffer):
            answers.write(output.tobytes())
        answers.flush()


class Binary:
    """One of the maker's binaries as an ONNX model of one node, which is how onnxruntime runs it."""

    def __init__(self, entry: dict[str, Any], content: bytes) -> None:
        self._inputs = [_Tensor(**tensor) for tensor in entry["inputs"]]
        self._outputs = [_Tensor(**tensor) for tensor in entry["outputs"]]
        start, size = entry["offset"], entry["size"]
        node = onnx.helper.make_node(
            "EPContext",
            [tensor.name for tensor in self._inputs],
            [tensor.name for tensor in self._outputs],
            name=entry["name"],
            partition_name=entry["name"],
            domain="com.microsoft",
            source="QNN",
            embed_mode=1,
            main_context=1,
            ep_cache_context=content[start : start + size],
        )
        inputs, outputs = ([t.described() for t in ts] for ts in (self._inputs, self._outputs))
        graph = onnx.helper.make_graph([node], "npu", inputs, outputs)
        operators = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
        model = onnx.helper.make_model(graph, opset_imports=operators, ir_version=9)
        options = onnxruntime.SessionOptions()
        devices = [d for d in onnxruntime.get_ep_devices() if _PROVIDER in d.ep_name]
        backend = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
        options.add_provider_for_devices(devices[:1], backend)
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(self, stream: BinaryIO) -> list[np.ndarray]:
        """The outputs, of inputs read from a stream."""
        return self._session.run(
            None, {tensor.name: tensor.read(stream) for tensor in self._inputs}
        )


class _Tensor:
    """A tensor as the binary names it."""

    def __init__(self, name: str, dtype: str, shape: list[int]) -> None:
        self.name, self._shape, self._dtype = name, shape, np.dtype(dtype)

    def read(self, stream: BinaryIO) -> np.ndarray:
        size = math.prod(self._shape) * self._dtype.itemsize
        return np.frombuffer(stream.read(size), self._dtype).reshape(self._shape)

    def described(self) -> Any:
        kind = onnx.helper.np_dtype_to_tensor_dtype(self._dtype)
        return onnx.helper.make_tensor_value_info(self.name, kind, self._shape)


if __name__ == "__main__":
    main(sys.argv[1])
