"""The weights of a `transformers` folder: safetensors or `pytorch_model.bin`, in one file or in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.checkpoint.json_file import read_json
from sqb_tf.errors import InputError

NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


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
    for part in sorted(set(_weight_map(file).values())):
        if Path(part).name != part or not (folder / part).is_file():
            raise InputError(f"{folder}: {part} is missing, which {file.name} names")
        paths.append(folder / part)
    return paths


def _weight_map(index: Path) -> dict[str, str]:
    """Weight name -> file name."""
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise InputError(f"{index}: expected a weight_map in it, from weights to files")
    return parts


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

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file: {error}") from None


def _read_header(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file: {error}") from None
