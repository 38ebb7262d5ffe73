"""Reads weight files of `torch.save` (`pytorch_model.bin`) without PyTorch and without running code.

A `.bin` is a pickle, and a pickle may call anything. This reader allows the few calls that a state dict needs
and rejects all others by name, as `torch.load(weights_only=True)` does. It reads both formats: the zip
archive of PyTorch 1.6 and later, and the earlier sequence of pickles (`torch/serialization.py`).
"""

from __future__ import annotations

import collections
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from sqb_tf.errors import InputError

# The first value in files of `torch.save` from before the zip archives.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    struct.error,
    NotImplementedError,  # a compressed or encrypted archive
)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, in the file's dtypes.

    Raises:
        InputError: not such a file, truncated, or a pickle that calls anything that a state dict does not.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            state = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except _DAMAGED as error:
        raise InputError(f"{path}: damaged or not a PyTorch weight file: {error}") from None
    if not isinstance(state, dict) or not all(isinstance(x, np.ndarray) for x in state.values()):
        raise InputError(f"{path}: expected a state dict: names and tensors only")
    return dict(state)


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        (index,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            _check_byte_order(archive.read(f"{folder}byteorder").decode())

        def storage(key: str, dtype: type, size: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, size)

        with archive.open(index) as pickled:
            return _StateDict(pickled, storage).load()


def _read_legacy(file: BinaryIO) -> Any:
    length = file.seek(0, 2)
    file.seek(0)
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: type, size: int) -> np.ndarray:
        if size * np.dtype(dtype).itemsize > length:
            raise ValueError(f"a storage of {size} elements in a file of {length} bytes")
        # The bytes follow the pickle, whose tensors are views of this array.
        return storages.setdefault(key, np.zeros(size, dtype))

    def load() -> Any:
        return _StateDict(file, storage).load()

    if load() != _LEGACY_MAGIC:
        raise ValueError("no magic number of torch.save")
    _, system = load(), load()
    _check_byte_order("little" if system["little_endian"] else "big")
    state = load()
    for key in load():
        (size,) = struct.unpack("<q", file.read(8))
        if size != storages[key].size:
            raise ValueError(f"a storage of {size} elements, not {storages[key].size}")
        data = file.read(storages[key].nbytes)
        storages[key][:] = np.frombuffer(data, storages[key].dtype, size)
    return state


def _check_byte_order(order: str) -> None:
    if order != "little":
        raise InputError(f"byte order {order}: expected little: save it again on such a machine")


class _StateDict(pickle.Unpickler):
    """Loads a state dict; `storage(key, dtype, size)` returns the data that is stored outside the pickle."""

    def __init__(self, file: Any, storage: Callable[[str, type, int], np.ndarray]) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _DTYPES:
            return name
        raise InputError(
            f"calls {module}.{name}, which no state dict needs: it was not run. Save only the weights, "
            "or save them as safetensors"
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, storage_type, key, _, size, *view = pid
        if view and view[0] is not None:
            raise InputError("a storage is a view of another: save the weights as safetensors")
        return self._storage(key, _DTYPES[storage_type], size)


def _tensor(storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`, with strides and offset in elements."""
    if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a shape, stride or offset is not a natural number")
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) and offset + last >= storage.size:
        raise ValueError("a tensor extends beyond its storage")
    size = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [step * size for step in strides], writeable=False
    )


def _parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data
