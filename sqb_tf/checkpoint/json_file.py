"""The JSON files of a folder that another library saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `InputError` if there is none."""
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a folder that `transformers` saved")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object")
    return values
