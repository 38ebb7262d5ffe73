"""What tables and plots both ask of the records (see `session.measure`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def by_name(records: Sequence[Record]) -> dict[str, str]:
    """{package's path: short name}, in the order of the plan; the path itself if two files share a name."""
    paths = list(dict.fromkeys(record["package"] for record in records))
    stems = [Path(path).stem for path in paths]
    return {p: s if stems.count(s) == 1 else p for p, s in zip(paths, stems, strict=True)}


def on_text(records: Sequence[Record]) -> list[Record]:
    """The records of every text at its own length."""
    return [record for record in records if record["seq_length"] is None]
