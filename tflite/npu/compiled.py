"""A compiled package: what of its graph is in the NPU's binary, and its files and properties after it.

LiteRT's compiler puts each run of operations that it takes into one custom operation, `DISPATCH_OP`, whose
options say where in the file the maker's binary for it is. It drops what follows the model.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from sqb_tf.errors import InputError, one_line
from sqb_tf.line_file import join_lines

from ..package import container
from ..package.archive import append_files
from ..package.metadata import LABELS_FILE, PROPERTIES_FILE, VOCABULARY_FILE
from ..package.properties import MODEL_SUM, NPU

_DISPATCH = b"DISPATCH_OP"
_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


@dataclasses.dataclass(frozen=True)
class Partition:
    """Operations in one binary of the maker: its name in the binary, and the binary's place in the file.

    `inputs` and `outputs` are indices of tensors of its subgraph.
    """

    name: str
    offset: int
    size: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def operations(graph: schema.ModelT) -> collections.Counter[int]:
    """How many operations of each code of `BuiltinOperator` are for the CPU."""
    codes = _codes(graph)
    return collections.Counter(
        codes[operator.opcodeIndex][0]
        for subgraph in graph.subgraphs
        for operator in subgraph.operators or []
        if codes[operator.opcodeIndex][1] != _DISPATCH
    )


def operation_name(code: int) -> str:
    """`GATHER` of its code."""
    return _NAMES.get(code, f"operation {code}")


def partitions(graph: schema.ModelT, subgraph: int, origin: str) -> list[Partition]:
    """The maker's binaries that a subgraph calls, in order.

    Raises:
        InputError: one is not where the file says it is.
    """
    codes = _codes(graph)
    calls = [
        operator
        for operator in graph.subgraphs[subgraph].operators or []
        if codes[operator.opcodeIndex][1] == _DISPATCH
    ]
    return [_partition(call, origin) for call in calls]


def with_files(model: bytes, package: container.Package, npu: Mapping[str, Any]) -> bytes:
    """The compiled model as a package, with the files of the one that it is of.

    Args:
        npu: the property of this name: chip, SDK and so on.
    """
    properties = {
        **package.properties,
        NPU: dict(npu),
        MODEL_SUM: hashlib.sha256(model).hexdigest(),
    }
    files = {VOCABULARY_FILE: join_lines(package.vocabulary).encode()}
    if package.labels is not None:
        files[LABELS_FILE] = join_lines(package.labels).encode()
    files[PROPERTIES_FILE] = json.dumps(properties, sort_keys=True, indent=2).encode()
    return append_files(memoryview(model), files)


def _partition(call: schema.OperatorT, origin: str) -> Partition:
    try:
        options = flexbuffers.Loads(bytes(call.customOptions))
        name, offset, size = (options[f] for f in ("name", "bytecode_offset", "bytecode_size"))
        if not (type(name) is str and type(offset) is type(size) is int and min(offset, size) >= 0):
            raise ValueError(f"a name and two sizes, not {name!r}, {offset!r}, {size!r}")
    except (ValueError, LookupError, TypeError, AssertionError, struct.error) as error:
        raise InputError(
            f"{origin}: damaged {_DISPATCH.decode()}: {one_line(error)}; compile it again"
        ) from None
    return Partition(name, offset, size, tuple(call.inputs), tuple(call.outputs))


def _codes(graph: schema.ModelT) -> list[tuple[int, bytes | None]]:
    """Code and custom name of each operator code; the older field of the code has one byte."""
    return [
        (max(code.builtinCode, code.deprecatedBuiltinCode), code.customCode)
        for code in graph.operatorCodes
    ]
