"""Reads weight files of `torch.save` (`pytorch_model.bin`) without PyTorch and without running code.

A `.bin` is a pickle, and a pickle may call anything. This reader follows the few opcodes and calls that a
state dict needs and rejects all others by name, as `torch.load(weights_only=True)` does. It reads both
formats: the zip archive of PyTorch 1.6 and later, and the earlier sequence of pickles
(`torch/serialization.py`).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from sqb_tf.errors import InputError, one_line

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
    OverflowError,
    struct.error,
    NotImplementedError,  # an archive of a later version
    RuntimeError,  # an encrypted archive
)
# Of a pickle, in bytes. One of 408 tensors has 59 kB and takes 30 ms.
_MAX_PICKLE = 1 << 22
_MAX_RANK = 8
# What creates a value from nothing but itself.
_VALUES = (
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, in the file's dtypes.

    Costs memory and time in proportion to the file's size, whatever it says of itself.

    Raises:
        InputError: not such a file, truncated, compressed, or a pickle that calls anything that a state dict
            does not.
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
        raise InputError(
            f"{path}: damaged or not a PyTorch weight file: {one_line(error)}"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(x, np.ndarray) for x in state.values()):
        raise InputError(f"{path}: expected a state dict: names and tensors only")
    return dict(state)


class _Storages:
    """The data of tensors, which is stored outside of the pickle: each once, and no more than the file has.

    Args:
        length: of the file in bytes.
        load: the array of a key, with its dtype and number of elements.
    """

    def __init__(self, length: int, load: Callable[[str, np.dtype, int], np.ndarray]) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._left, self._load = length, load

    def get(self, reference: Any) -> np.ndarray:
        """The storage that a persistent id names."""
        _, storage_type, key, _, size, *view = reference
        if view and view[0] is not None:
            raise InputError("a storage is a view of another: save the weights as safetensors")
        # Nothing else is hashed or shown: tuples within tuples 60 deep, each twice, would take for ever.
        is_known = isinstance(storage_type, _Global) and isinstance(key, str)
        if not is_known or not isinstance(size, int) or size < 0:
            raise ValueError("a storage without a type, a name or a size")
        dtype = np.dtype(_DTYPES[storage_type])
        if key not in self.arrays:
            self._left -= size * dtype.itemsize
            if self._left < 0:
                raise ValueError(f"a storage of {size} elements is larger than the file")
            self.arrays[key] = self._load(key, dtype, size)
        if (self.arrays[key].dtype, self.arrays[key].size) != (dtype, size):
            raise ValueError(f"storage {key:.40} has two sizes or types")
        return self.arrays[key]


def _read_zip(file: BinaryIO) -> Any:
    length = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        parts = {info.filename: info for info in archive.infolist()}
        (index,) = (name for name in parts if name.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")

        def part(name: str, most: int) -> bytes:
            info = parts[folder + name]
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
                raise ValueError(
                    f"{name:.40} is compressed or too large: torch.save stores parts as they are"
                )
            return archive.read(info)

        def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
            return np.frombuffer(part(f"data/{key}", length), dtype, size)

        if f"{folder}byteorder" in parts:
            _check_byte_order(part("byteorder", 16).decode())
        pickled = part("data.pkl", min(length, _MAX_PICKLE))
        return _load(io.BytesIO(pickled), _Storages(length, storage))


def _read_legacy(file: BinaryIO) -> Any:
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    # The bytes follow the pickle, whose tensors are views of these arrays.
    storages = _Storages(length, lambda _, dtype, size: np.zeros(size, dtype))

    def load() -> Any:
        start = file.tell()
        pickled = io.BytesIO(file.read(_MAX_PICKLE))
        value = _load(pickled, storages)
        file.seek(start + pickled.tell())
        return value

    if load() != _LEGACY_MAGIC:
        raise ValueError("no magic number of torch.save")
    _, system = load(), load()
    _check_byte_order("little" if system["little_endian"] else "big")
    state = load()
    for key in load():
        array = storages.arrays[key if isinstance(key, str) else ""]
        (size,) = struct.unpack("<q", file.read(8))
        if size != array.size:
            raise ValueError(f"a storage of {size} elements, not {array.size}")
        array[:] = np.frombuffer(file.read(array.nbytes), array.dtype, size)
    return state


def _check_byte_order(order: str) -> None:
    if order != "little":
        raise InputError(
            f"byte order {order!r:.20}: expected little: save it again on such a machine"
        )


class _Global(str):
    """The name of a function or class, `module.name`: never the function."""


def _load(file: io.BytesIO, storages: _Storages) -> Any:
    """The value of a pickle, which ends where `file` is then read on.

    `pickle.Unpickler` would make room for as many memo entries as an opcode says, and hash any key.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def after_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    argument: Any
    for code, argument, _ in pickletools.genops(file):
        name = code.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            values = [stack.pop() for _ in range(count)]
            stack.append(tuple(reversed(values)))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(after_mark()))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in ("APPEND", "APPENDS"):
            values = [stack.pop()] if name == "APPEND" else after_mark()
            _top(stack, list).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else after_mark()
            if not all(isinstance(key, (str, int)) for key in values[::2]):
                raise ValueError("a name is no text")
            _top(stack, dict).update(zip(values[::2], values[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_global(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            function, module = stack.pop(), stack.pop()
            stack.append(_global(module, function))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BINPERSID":
            stack.append(storages.get(stack.pop()))
        elif name == "BUILD":  # the versions of modules, which a state dict keeps as an attribute
            stack.pop()
            _top(stack, dict)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise InputError(
                f"calls {_shown(argument)} by the opcode {name}, which no state dict needs: it was not run. "
                "Save only the weights, or save them as safetensors"
            )
    raise EOFError("the pickle has no end")


def _top(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise ValueError(f"items for something else than a {kind.__name__}")
    return stack[-1]


def _shown(argument: Any) -> str:
    return "something" if argument is None else f"{str(argument)!r:.60}"


def _global(module: str, name: str) -> _Global:
    if (module, name) == ("collections", "OrderedDict"):
        return _Global("collections.OrderedDict")
    if module == "torch._utils" and name in _FUNCTIONS:
        return _Global(name)
    if module == "torch" and name in _DTYPES:
        return _Global(name)
    raise InputError(
        f"calls {_shown(f'{module}.{name}')}, which no state dict needs: it was not run. Save only the "
        "weights, or save them as safetensors"
    )


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
        raise ValueError("a call of something else than a function")
    if function == "collections.OrderedDict":  # Python 2 gives a list of pairs
        return dict(*arguments)
    return _FUNCTIONS[function](*arguments)


def _tensor(storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`, with strides and offset in elements."""
    if not isinstance(storage, np.ndarray) or len(shape) > _MAX_RANK:
        raise ValueError("a tensor without a storage, or of too many axes")
    if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a shape, stride or offset is not a natural number")
    count = math.prod(shape)
    if not count:
        return np.empty(shape, storage.dtype)
    # An axis of one element may have any stride.
    steps = [step if n > 1 else 0 for n, step in zip(shape, strides, strict=True)]
    last = sum((n - 1) * step for n, step in zip(shape, steps))
    if offset + last >= storage.size or count > storage.size:
        raise ValueError("a tensor extends beyond its storage")
    size = storage.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [step * size for step in steps], writeable=False
    )


def _parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data


_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_parameter": _parameter,
}
