"""Messages between a process and its child: a line of JSON, and the bytes of the arrays that it names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np


def send(
    stream: BinaryIO, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None
) -> None:
    """Writes a message, JSON values, and arrays by name."""
    contiguous = {name: np.ascontiguousarray(values) for name, values in (arrays or {}).items()}
    layout = {name: [values.dtype.str, values.shape] for name, values in contiguous.items()}
    stream.write(json.dumps({**message, "arrays": layout}).encode() + b"\n")
    for values in contiguous.values():
        stream.write(values.tobytes())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """The next message and its arrays; None: the other side has ended, or ended in the middle of one."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    arrays = {}
    for name, (dtype, shape) in message.pop("arrays").items():
        size = np.dtype(dtype).itemsize * math.prod(shape)
        content = stream.read(size)
        if len(content) < size:
            return None
        arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    return message, arrays
