"""What a record says of the package that was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def of_package(content: bytes, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Hash and size of its bytes, and how it was made, by its own properties."""
    made = {name: properties.get(name) for name in ("recipe", "lowering", "baseline")}
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        **made,
    }
