"""Seeded damage to valid files: a number names a mutant, and gives the same one on every machine.

Half of the mutants are damaged as bytes; the others keep the form of the file (a zip of parts, JSON, lines)
and have other values in it, which reaches the code behind the first checks.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from fuzz.graph_mutations import change_graph

# What programs take for a size, an offset, a count or an index, at and beyond the limits of their types.
_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x10000,
    1 << 24,
    1 << 28,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "64", "\0", "\ud800", "é" * 300, [], [1], {}, {"a": [1]}, [[]]),
    *(-5, 0, 1, 1.5, 64, 10**6, 2**31, 10**30, -0.0, 1e308, float("nan"), float("inf"), float("-inf")),
)  # fmt: skip
_LINES = (
    "",
    "\0",
    "\0\0",
    "a" * 300,
    "\r",
    " ",
    "\x85",
    "\u2028",
    "[PAD]",
    "##",
    "##\0",
    "\x1b[2J",
)
# Characters that lines may add: all of a file of one line, 300 times in each of 500 lines, were 1.5 GB.
_MOST_ADDED = 1 << 20


def mutant(seeds: Sequence[bytes], number: int) -> bytes:
    """The mutant of that number of some of the seeds: one to three changes."""
    rng = random.Random(number)
    content = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choice(_BYTE_CHANGES) if rng.random() < 0.5 else _keep_form
        content = change(rng, content, seeds)
    return content


def _keep_form(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Other values in a file of the same form; bytes of a file that has none that is known."""
    if content[-65_557:].find(b"PK\5\6") >= 0:
        return _zip(rng, content, seeds)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return rng.choice(_BYTE_CHANGES)(rng, content, seeds)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _lines(rng, text)
    return _json(rng, value)


# --- Bytes ---------------------------------------------------------------------------------------


def _flip(rng: random.Random, content: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Up to eight flipped bits."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _number(rng: random.Random, content: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Another number in place of one that may be an offset or a count: small, and aligned as such are."""
    size = rng.choice((1, 2, 4, 4, 4, 8))
    for _ in range(50):
        position = rng.randrange(max(1, len(content))) // size * size
        if int.from_bytes(content[position : position + size], "little") <= len(content):
            break
    old = int.from_bytes(content[position : position + size], "little")
    new = rng.choice(
        (*_NUMBERS, len(content), old + 1, old - 1, rng.randrange(max(1, len(content))))
    )
    stored = (new % (1 << 8 * size)).to_bytes(size, "little")
    return content[:position] + stored + content[position + size :]


def _truncate(rng: random.Random, content: bytes, _seeds: Sequence[bytes]) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _splice(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """A piece of a seed over, or between, the bytes; or a piece left out."""
    source = rng.choice(seeds)
    start = rng.randrange(len(source) + 1)
    piece = source[start : start + rng.choice((0, 1, 4, 16, 64, 1024))]
    position = rng.randrange(len(content) + 1)
    return content[:position] + piece + content[position + rng.choice((0, len(piece), 4, 64)) :]


_Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
_BYTE_CHANGES: tuple[_Change, ...] = (_flip, _flip, _number, _number, _number, _truncate, _splice)


# --- Forms ---------------------------------------------------------------------------------------


def _zip(rng: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    """Changes a part or the directory of a zip, which other bytes may come before."""
    if rng.random() < 0.3:  # the directory: names, methods, sizes and offsets of the parts
        start = max(0, content.rfind(b"PK\5\6") - 400)
        return content[:start] + rng.choice(_BYTE_CHANGES)(rng, content[start:], seeds)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {info.filename: archive.read(info) for info in archive.infolist()}
            start = min((info.header_offset for info in archive.infolist()), default=0)
        if content[4:8] == b"TFL3" and rng.random() < 0.3:
            return _repacked(rng, change_graph(rng, content[:start]), parts)
    except Exception:  # damaged by an earlier change
        return rng.choice(_BYTE_CHANGES)(rng, content, seeds)
    if not parts:
        return content
    name = rng.choice(list(parts))
    if rng.random() < 0.1:
        del parts[name]
    else:
        parts[name] = _keep_form(rng, parts[name], [parts[name]])
    return _repacked(rng, content[:start], parts)


def _repacked(rng: random.Random, front: bytes, parts: dict[str, bytes]) -> bytes:
    """A zip of these parts after `front`, seldom a compressed one."""
    out = io.BytesIO(front)
    out.seek(len(front))
    method = rng.choice(
        (zipfile.ZIP_STORED,) * 17 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile(out, "a" if front else "w", method) as archive:
        for part, value in parts.items():
            archive.writestr(part, value)
    return out.getvalue()


def _json(rng: random.Random, value: Any) -> bytes:
    """One value of a document replaced, removed or added; seldom a document too deep or too long to parse."""
    if rng.random() < 0.05:
        return rng.choice((b"[" * 200_000, b'{"a":' * 200_000, b"1" * 100_000, b"", b"{", b"\xff"))
    containers = [value]
    for node in containers:
        items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        containers += [item for item in items if isinstance(item, (dict, list))]
    node = rng.choice(containers)
    if (node is value and rng.random() < 0.1) or not isinstance(node, (dict, list)):
        value = rng.choice(_VALUES)
    elif not node:
        node.append(1) if isinstance(node, list) else node.update(a=1)
    else:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if rng.random() < 0.15:
            del node[key]
        else:
            node[key] = rng.choice(_VALUES)
    return json.dumps(value, indent=rng.choice((None, 2))).encode()


def _lines(rng: random.Random, text: str) -> bytes:
    """A line replaced, removed, added or repeated."""
    lines = text.split("\n")
    index = rng.randrange(len(lines))
    long = lines[index][: _MOST_ADDED // 300] * 300
    new = rng.choice((*_LINES, rng.choice(lines), long))
    count = rng.choice((0, 1, 1, 1, 2, 500))
    lines[index : index + rng.randint(0, 1)] = [new[: _MOST_ADDED // max(count, 1)]] * count
    return "\n".join(lines).encode("utf-8", "surrogatepass")
