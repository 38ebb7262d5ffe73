"""The JSON files of a folder that another library saved: nothing in them is taken for granted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.json_schema import read_json_file

_WORDS = {
    bool: "true or false",
    dict: "an object",
    int: "a whole number",
    list: "a list",
    str: "a string",
}


def read_json(path: Path, kind: type = dict) -> Any:
    """The JSON value in a file; `InputError` if there is none, or another than of `kind`."""
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a folder that `transformers` saved")
    return read_json_file(path, kind)


def field(values: Mapping[str, Any], path: Path, name: str, kind: type) -> Any:
    """A value of a JSON object, None if it is missing or null; `InputError` if it is not of `kind`.

    A bool is no whole number.
    """
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{path}: {name} {value!r:.200}: expected {_WORDS[kind]}")
    return value
