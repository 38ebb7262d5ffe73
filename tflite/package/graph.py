"""What is read of a TFLite model without an interpreter: tensors, operations, signatures, sizes of constants.

Slots are those of LiteRT's schema.fbs. Whatever an index refers to exists, once it is read.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sqb_tf.errors import InputError

from . import operations
from .flatbuffer import BYTE, INT, UINT, ULONG, Damaged, Flatbuffer, Table

MODEL_IDENTIFIER = b"TFL3"
METADATA_NAME = "TFLITE_METADATA"

# Numbers in a tensor that operations write: LiteRT allocates 4 bytes for each before the first run. Attention
# over 8,192 tokens has 0.8e9 in a file of 60 MB, 13 for each byte.
_ELEMENTS = 1 << 24
_ELEMENTS_PER_BYTE = 250
# Of a tensor: kernels take 8 at most.
_DIMENSIONS = 8
# Operations by their codes: those through which ids pass unchanged to a table, and those that look up.
_PASS_IDS = {
    2: "CONCATENATION",
    22: "RESHAPE",
    43: "SQUEEZE",
    45: "STRIDED_SLICE",
    53: "CAST",
    70: "EXPAND_DIMS",
}
_LOOK_UP, _GATHER = 7, 36

_NO_SCALES: np.ndarray = np.empty(0, np.float32)


class Tensor(NamedTuple):
    """A tensor: `signature` is its shape with -1 where it may change, `kind` a code of `TensorType`.

    `scales` are those that it is quantized by; `size_bytes` is what the file has of it, 0 of
    what operations write.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    kind: int
    buffer: int
    size_bytes: int
    scales: np.ndarray


class Operation(NamedTuple):
    """An operation: a code of `BuiltinOperator`, and indices of its tensors, -1 for an input left out."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """Its tensors, its operations in order, and which tensors are its inputs and outputs."""

    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class SignatureDef:
    """An entry point: tensors of a subgraph by their names."""

    name: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Graph:
    """A model; `buffers` are sizes in bytes, `metadata` is MediaPipe's flatbuffer, empty if there is none."""

    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[SignatureDef, ...]
    buffers: tuple[int, ...]
    metadata: bytes

    @classmethod
    def read(cls, data: bytes | mmap.mmap, origin: str) -> Graph:
        """Reads the model at the beginning of `data`.

        Raises:
            InputError: not a TFLite model, or damaged; a tensor larger than a model of this size has.
        """
        check_identifier(data, origin)
        try:
            return _read(Flatbuffer(data))
        except Damaged as error:
            raise InputError(
                f"{origin}: damaged or truncated TFLite model: {error}; convert it again"
            ) from None

    @property
    def main(self) -> Subgraph:
        """The first subgraph."""
        return self.subgraphs[0]

    def vocabulary_size(self, ids: str) -> int | None:
        """Rows of the table that the first signature's input of this name is looked up in.

        None: there is none, or the ids do not reach it unchanged.
        """
        same = {
            signature.inputs[ids]
            for signature in self.signatures
            if signature.subgraph == 0 and ids in signature.inputs
        }
        for operation in self.main.operations:
            if operation.code in _PASS_IDS:
                if same.intersection(operation.inputs):
                    same.update(operation.outputs)
            elif operation.code in (_LOOK_UP, _GATHER) and len(operation.inputs) > 1:
                # The ids of a look-up come first, those of a gather last.
                indices, table = operation.inputs[:2][:: -1 if operation.code == _GATHER else 1]
                if indices in same and self.main.tensors[table].shape:
                    return self.main.tensors[table].shape[0]
        return None


def check_identifier(data: bytes | mmap.mmap, origin: str) -> None:
    """`InputError` unless the bytes begin as a TFLite model does."""
    if bytes(data[4:8]) != MODEL_IDENTIFIER:
        raise InputError(f"{origin}: not a TFLite model; expected a file that `sqb convert` wrote")


def _read(flatbuffer: Flatbuffer) -> Graph:
    model = flatbuffer.root
    codes = [
        max(code.number(0, BYTE), code.number(3, INT)) for code in model.tables(1)
    ]  # the older field has one byte
    stored = model.tables(4)
    buffers = tuple(_buffer_size(buffer, flatbuffer.size) for buffer in stored)
    subgraphs = tuple(_subgraph(table, codes, buffers) for table in model.tables(2))
    if not subgraphs:
        raise Damaged("no subgraph")
    _check_sizes(subgraphs, flatbuffer.size)
    entries = {entry.string(0): entry.number(1, UINT) for entry in model.tables(6)}
    metadata = b""
    if METADATA_NAME in entries:
        metadata = _item(stored, entries[METADATA_NAME], "buffer").array(0, np.uint8).tobytes()
    signatures = tuple(_signature(table, subgraphs) for table in model.tables(7))
    return Graph(subgraphs, signatures, buffers, metadata)


def _buffer_size(buffer: Table, file_size: int) -> int:
    """Bytes of a constant, in the flatbuffer or, of a large model, after it."""
    offset, size = buffer.number(1, ULONG), buffer.number(2, ULONG)
    if offset <= 1:  # the schema's "none"
        return buffer.size(0)
    if offset + size > file_size:
        raise Damaged(f"a constant of {size:,} bytes at {offset:,} of {file_size:,}")
    return size


def _subgraph(table: Table, codes: Sequence[int], buffers: Sequence[int]) -> Subgraph:
    tensors = tuple(_tensor(tensor, buffers) for tensor in table.tables(0))
    nodes = tuple(_operation(operation, codes, tensors) for operation in table.tables(3))
    inputs, outputs = (_indices(table, slot, tensors) for slot in (1, 2))
    if min((*inputs, *outputs), default=0) < 0:
        raise Damaged("a graph whose input or output is no tensor")
    return Subgraph(tensors, nodes, inputs, outputs)


def _tensor(table: Table, buffers: Sequence[int]) -> Tensor:
    shape = table.numbers(0, "i")
    if len(shape) > _DIMENSIONS or any(size < 0 for size in shape):
        raise Damaged(f"a tensor of {len(shape)} dimensions, {shape[:_DIMENSIONS]}")
    signature = table.numbers(7, "i") or shape
    buffer = table.number(2, UINT)
    quantization = table.table(4)
    scales = _NO_SCALES if quantization is None else quantization.array(2, np.float32)
    size_bytes = _item(buffers, buffer, "buffer")
    return Tensor(
        table.string(3), shape, signature, table.number(1, BYTE), buffer, size_bytes, scales
    )


def _operation(table: Table, codes: Sequence[int], tensors: Sequence[Tensor]) -> Operation:
    code = _item(codes, table.number(0, UINT), "operator code")
    inputs, outputs = (_indices(table, slot, tensors) for slot in (1, 2))
    options = table.table(4)  # a split's only field is the number of parts
    splits = 0 if options is None else options.number(0, INT)
    if reason := operations.defect(code, inputs, outputs, splits):
        raise Damaged(reason)
    return Operation(code, inputs, outputs)


def _signature(table: Table, subgraphs: Sequence[Subgraph]) -> SignatureDef:
    subgraph = table.number(4, UINT)
    tensors = _item(subgraphs, subgraph, "subgraph").tensors
    inputs, outputs = (
        {entry.string(0): entry.number(1, UINT) for entry in table.tables(slot)} for slot in (0, 1)
    )
    for index in (*inputs.values(), *outputs.values()):
        _item(tensors, index, "tensor")
    return SignatureDef(table.string(2), subgraph, inputs, outputs)


def _indices(table: Table, slot: int, tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """Indices of tensors, -1 for none."""
    indices = table.numbers(slot, "i")
    if indices and not -1 <= min(indices) <= max(indices) < len(tensors):
        raise Damaged(f"tensors {min(indices)} to {max(indices)} of {len(tensors)}")
    return indices


def _item(items: Sequence, index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise Damaged(f"{what} {index} of {len(items)}")
    return items[index]


def _check_sizes(subgraphs: Iterable[Subgraph], file_size: int) -> None:
    most = max(_ELEMENTS, _ELEMENTS_PER_BYTE * file_size)
    for tensor in (tensor for subgraph in subgraphs for tensor in subgraph.tensors):
        if math.prod(tensor.shape) > most:
            raise Damaged(f"a tensor of shape {tensor.shape} in a file of {file_size:,} bytes")
