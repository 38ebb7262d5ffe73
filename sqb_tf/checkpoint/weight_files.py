"""The weights of a `transformers` folder: safetensors or `pytorch_model.bin`, in one file or in several."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError, one_line
from sqb_tf.json_schema import Natural, Size, check_json, read_json, read_json_file

NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_DAMAGED = "damaged or not a safetensors file"
# Of a safetensors file, in bytes. A tensor takes some 100; the format allows 100 MB.
_MAX_HEADER = 1 << 24
# Bytes of an element. safetensors has more types, which numpy does not have: of 8, 6 and 4 bits.
_ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: list[Natural]
    data_offsets: tuple[Size, Size]


@dataclasses.dataclass(frozen=True)
class _Index:
    """The index of weights in several files."""

    weight_map: dict[str, str]  # weight -> file


def read(folder: Path) -> dict[str, np.ndarray]:
    """The weights by name.

    Raises:
        InputError: a file that is missing, damaged, or not as its index says.
    """
    arrays: dict[str, np.ndarray] = {}
    for path in _paths(folder):
        arrays.update(_read_file(path))
    _check_index(folder, arrays)
    return arrays


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights by name, for safetensors without reading the weights; errors as `read`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in _paths(folder):
        if path.suffix == ".bin":
            shapes |= {name: array.shape for name, array in _read_file(path).items()}
        else:
            shapes |= _read_header(path)
    _check_index(folder, shapes)
    return shapes


def _file(folder: Path) -> Path:
    """The file of weights, or their index."""
    file = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder}: no weights: expected {' or '.join(NAMES)}")
    return file


def _paths(folder: Path) -> list[Path]:
    """The files that hold weights."""
    file = _file(folder)
    if file.suffix != ".json":
        return [file]
    paths = []
    present = {path.name for path in folder.iterdir()}
    for part in sorted(set(_weight_map(file).values())):
        if part not in present:
            raise InputError(f"{folder}: {part:.200} is missing, which {file.name} names")
        paths.append(folder / part)
    return paths


def _weight_map(index: Path) -> dict[str, str]:
    """Weight name -> file name."""
    return read_json_file(index, _Index).weight_map


def _check_index(folder: Path, weights: dict[str, Any]) -> None:
    file = _file(folder)
    if file.suffix == ".json" and set(weights) != set(_weight_map(file)):
        differences = ", ".join(sorted(set(weights) ^ set(_weight_map(file)))[:4])
        raise InputError(f"{file}: its weight_map differs from the files it names: {differences}")


def _read_file(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".bin":
        from sqb_tf.checkpoint import torch_file

        return torch_file.read(path)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    _read_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: {_DAMAGED}: {one_line(error)}") from None


def _read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file, each checked against the bytes that it has.

    Raises:
        InputError: no such file; a type of element that numpy does not have.
    """
    with path.open("rb") as file:
        size = path.stat().st_size - 8
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size, _MAX_HEADER):
            raise InputError(f"{path}: {_DAMAGED}: a header of {length:,} bytes")
        header = read_json(file.read(length), dict[str, Any], f"{path}: {_DAMAGED}")
    header.pop("__metadata__", None)
    tensors = check_json(header, dict[str, _Tensor], f"{path}: {_DAMAGED}")
    for name, tensor in tensors.items():
        if tensor.dtype not in _ITEM_SIZES:
            raise InputError(
                f"{path}: {name:.200} is {tensor.dtype:.20}: expected float weights, one of F32, F16 and BF16"
            )
        start, end = tensor.data_offsets
        if (
            end - start != _ITEM_SIZES[tensor.dtype] * math.prod(tensor.shape)
            or end > size - length
        ):
            raise InputError(f"{path}: {_DAMAGED}: {name:.200} has other bytes than its shape")
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
