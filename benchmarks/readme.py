"""Measured tables in the README, each between a pair of markers."""

from __future__ import annotations

from pathlib import Path


def update(path: str | Path, name: str, content: str) -> None:
    """Replaces the text between `<!-- name -->` and `<!-- /name -->` in the file."""
    path, begin, end = Path(path), f"<!-- {name} -->", f"<!-- /{name} -->"
    head, rest = path.read_text(encoding="utf-8").split(begin)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{begin}\n{content}\n{end}{tail}", encoding="utf-8")
