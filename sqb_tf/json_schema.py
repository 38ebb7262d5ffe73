"""JSON that nobody vouches for: decoded within limits and checked against a schema, or refused in a line."""

from __future__ import annotations

import codecs
import functools
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from sqb_tf.errors import InputError, one_line

T = TypeVar("T")
# Of nested objects and lists. What this project and `transformers` write has at most 10; `dataclasses.asdict`
# and others that recurse stand some 300.
MAX_DEPTH = 64
# Of a file. Decoded, JSON takes up to 25 times as much memory. A tokenizer.json of 250,000 tokens has 17 MB.
MAX_BYTES = 1 << 26

# What sizes and counts are declared as: larger ones fit no int32, which shapes and TFLite have.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(source: bytes | str, schema: type[T], name: str) -> T:
    """Decodes JSON and checks its types.

    Args:
        source: the JSON, as UTF-8 where it is bytes. A byte order mark is skipped.
        schema: what it must be: a dataclass, `dict[str, int]`, `list[Any]`, `Any` and so on, checked with all
            that is in it. No conversions: a text is no number, a bool or 3.0 is no int, an int is a float.
            Keys that a dataclass does not have are dropped.
        name: of the file, and its line where one matters: the errors begin with it.

    Raises:
        InputError: not UTF-8; not JSON, which NaN and half a surrogate pair are not; another type or a value
            out of range, with its place; nested deeper than `MAX_DEPTH`; a number above 4,300 digits or, of a
            float, above 1.8e308.
    """
    if isinstance(source, str):
        source = source.encode("utf-8", "surrogatepass")
    source = source.removeprefix(codecs.BOM_UTF8)
    _check_depth(source, name)
    try:
        return _decoder(schema).decode(source)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: {_with_place(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = one_line(error).removeprefix("JSON is malformed: ")
        raise InputError(f"{name}: not JSON: {reason}") from None


def read_json_file(path: str | Path, schema: type[T], max_bytes: int = MAX_BYTES) -> T:
    """`read_json` of a file.

    Raises:
        InputError: as `read_json`; a file that cannot be read, or that is larger than `max_bytes`.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"{path}: {size:,} bytes: expected JSON of at most {max_bytes:,}")
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return read_json(source, schema, str(path))


def _check_depth(source: bytes, name: str) -> None:
    if source.count(b"[") + source.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _STRING.sub(b"", source).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InputError(
                f"{name}: objects or lists nested deeper than {MAX_DEPTH}: expected fewer levels"
            )


@functools.lru_cache
def _decoder(schema: Any) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(schema)


def _with_place(error: msgspec.ValidationError) -> str:
    """`a.b[2]: expected int, got str` for msgspec's "Expected `int`, got `str` - at `$.a.b[2]`"."""
    message, _, place = one_line(error).partition(" - at `$")
    message = message.replace("`", "")
    place = place.rstrip("`").removeprefix(".")
    return f"{place}: {message[:1].lower()}{message[1:]}" if place else message
