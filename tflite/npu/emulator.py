"""A package compiled for one of Qualcomm's chips, run by the binary in it on Qualcomm's emulator."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sqb_tf.errors import InputError, last_line

from ..package import container
from ..package.properties import NPU, is_compiled
from ..runtime.runner import Runner
from . import compiled, end_with_parent
from .sdk import QnnPython, qnn_python

# Seconds of a run after which the emulator hangs: fp16 of squeezebert-base takes 29 for a text.
_RUN_LIMIT = 600.0
_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.BOOL: "bool",
}
_PROGRAM = Path(__file__).with_name("emulator_process.py")


class EmulatedRunner(Runner):
    """A `Runner` of a compiled package that the NPU takes whole. Its times say nothing of a phone.

    Args:
        path: what `sqb compile` wrote for a chip of Qualcomm.
        npu_python: a Python with `onnxruntime-qnn`; default: see `sdk.qnn_python`.

    Raises:
        InputError: not such a package, no such Python, or an emulator that cannot open the binary.
    """

    untimed = "an emulator's times say nothing of a phone"

    def __init__(self, path: str | Path, npu_python: str | None = None) -> None:
        chip = check_emulated(path)
        self.chip, self._npu_python = chip, qnn_python(npu_python)
        self._emulated: EmulatedModel | None = None
        try:
            super().__init__(path, num_threads=os.cpu_count() or 1)  # so that there is one emulator
        except BaseException:
            self._end()
            raise

    def _opened(self) -> Any:
        assert isinstance(self._path, str)
        self._emulated = EmulatedModel(self._path, self._npu_python)
        return self._emulated

    def close(self) -> None:
        """Ends the emulator."""
        super().close()
        self._end()

    def _end(self) -> None:
        if self._emulated is not None:
            self._emulated.close()


def check_emulated(path: str | Path) -> str:
    """The chip that a package was compiled for.

    Raises:
        InputError: a package that was not compiled, whose chip has no emulator, or of which the NPU takes but
            a part.
    """
    properties = container.unpack(path).properties
    if not is_compiled(properties):
        raise InputError(
            f"{path}: not compiled for an NPU: name the file that sqb compile --package {path} "
            "--npu qualcomm:SM8750 writes"
        )
    npu = properties[NPU]
    chip = str(npu.get("chip"))
    if not chip.startswith("qualcomm:"):
        raise InputError(
            f"{path}: compiled for {chip}: only Qualcomm's chips have an emulator here"
        )
    taken, total = npu.get("taken"), npu.get("operations")
    if taken != total:
        raise InputError(
            f"{path}: {chip} takes {taken} of {total} operations, the emulator runs whole ones: convert it "
            "to int8-full, or to fp16"
        )
    return chip


class EmulatedModel:
    """The emulator's process, and what runs each signature, by the interface of LiteRT's interpreter."""

    def __init__(self, path: str, python: QnnPython) -> None:
        self._path = path
        graph = container.parse(Path(path).read_bytes(), path)
        signatures = [_Signature(self, graph, entry, path) for entry in graph.signatureDefs]
        self.runners = {signature.name: signature for signature in signatures}
        self._folder = tempfile.TemporaryDirectory(prefix="sqb-npu-")
        request = Path(self._folder.name, "request.json")
        for number, signature in enumerate(signatures):
            signature.number = number
        entries = [signature.binary for signature in signatures]
        request.write_text(json.dumps({"file": path, "binaries": entries}))
        self._log = open(Path(self._folder.name, "log"), "w+", errors="replace")  # noqa: SIM115
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [python.executable, end_with_parent.__file__, str(_PROGRAM), str(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        try:
            self._read(1)
        except BaseException:
            self.close()
            raise

    def run(self, number: int, inputs: bytes, size: int) -> bytes:
        """The outputs' bytes, `size` of them, of one of the binaries."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(bytes([number]) + inputs)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self._read(size)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()
        self._folder.cleanup()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        content, stream = b"", self._process.stdout.fileno()
        while len(content) < size:
            if not select.select([stream], [], [], _RUN_LIMIT)[0]:
                raise self._failed(f"no answer in {_RUN_LIMIT:g} s")
            part = os.read(stream, size - len(content))
            if not part:
                raise self._failed()
            content += part
        return content

    def _failed(self, reason: str = "") -> InputError:
        """The error with the last line of the process, which has ended or is killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._log.seek(0)
        said = last_line(self._log.read())
        return InputError(f"{self._path}: Qualcomm's emulator failed: {reason or said}")


class _Signature:
    """One signature and the binary behind it."""

    number = 0

    def __init__(
        self, model: EmulatedModel, graph: schema.ModelT, entry: schema.SignatureDefT, path: str
    ) -> None:
        self.name = entry.signatureKey.decode()
        self._model = model
        self._tensors = graph.subgraphs[entry.subgraphIndex].tensors
        parts = compiled.partitions(graph, entry.subgraphIndex, path)
        if len(parts) != 1:
            raise InputError(
                f"{path}: {len(parts)} binaries in signature {self.name!r}, the emulator runs one: "
                "compile it again"
            )
        (self._part,) = parts
        for index in (*self._part.inputs, *self._part.outputs):
            if not 0 <= index < len(self._tensors) or self._tensors[index].type not in _DTYPES:
                raise InputError(f"{path}: tensor {index} has no known type: compile it again")
        self._inputs = {tensor.name.decode(): tensor.tensorIndex for tensor in entry.inputs}
        self._outputs = {tensor.name.decode(): tensor.tensorIndex for tensor in entry.outputs}

    @property
    def binary(self) -> dict[str, Any]:
        """The entry of the request to the process."""
        part = self._part
        inputs, outputs = ([self._described(i) for i in ids] for ids in (part.inputs, part.outputs))
        return {
            "name": part.name,
            "offset": part.offset,
            "size": part.size,
            "inputs": inputs,
            "outputs": outputs,
        }

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """As of LiteRT's signature runner."""
        return {name: self._details(index) for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """As of LiteRT's signature runner."""
        return {name: self._details(index) for name, index in self._outputs.items()}

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        by_index = {self._inputs[name]: values for name, values in inputs.items()}
        sent = b"".join(
            np.ascontiguousarray(by_index[index], self._dtype(index)).tobytes()
            for index in self._part.inputs
        )
        sizes = [self._size(index) for index in self._part.outputs]
        answer = self._model.run(self.number, sent, sum(sizes))
        values, start = {}, 0
        for index, size in zip(self._part.outputs, sizes):
            part = np.frombuffer(answer[start : start + size], self._dtype(index))
            values[index] = part.reshape(self._tensors[index].shape)
            start += size
        return {name: values[index] for name, index in self._outputs.items()}

    def _dtype(self, index: int) -> np.dtype:
        return np.dtype(_DTYPES[self._tensors[index].type])

    def _size(self, index: int) -> int:
        return int(np.prod(self._tensors[index].shape)) * self._dtype(index).itemsize

    def _described(self, index: int) -> dict[str, Any]:
        tensor = self._tensors[index]
        # As the compiler names it in the binary.
        name = re.sub(r"[:/;]", "_", tensor.name.decode())
        return {"name": name, "dtype": _DTYPES[tensor.type], "shape": list(map(int, tensor.shape))}

    def _details(self, index: int) -> dict[str, Any]:
        tensor = self._tensors[index]
        stored: Mapping[str, Any] = vars(tensor.quantization) if tensor.quantization else {}
        scale, zero = stored.get("scale"), stored.get("zeroPoint")
        if scale is None or zero is None:  # float
            scale, zero = [0.0], [0]
        quantization = float(scale[0]), int(zero[0])
        return {"shape_signature": np.array(tensor.shape), "quantization": quantization}
