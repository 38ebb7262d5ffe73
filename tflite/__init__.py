"""The mobile side: lowering, quantization, packaging, running, verification, measurement.

Names load on first use, so that importing the package does not import TensorFlow.
"""

from importlib import import_module
from typing import Any

import sqb_tf  # noqa: F401  first: it sets TensorFlow's log level

_LAZY = {
    "Runner": ".runtime.runner",
    "nearest": ".runtime.vector_index",
    "convert": ".conversion.converter",
    "release": ".verification.release",
    "Release": ".verification.release",
    "BoundsMissed": ".verification.release",
}
__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sqb_tflite' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
