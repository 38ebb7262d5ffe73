"""Files of unlabelled texts, such as those for calibration."""

from __future__ import annotations

from pathlib import Path

from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError


def read_texts(path: str | Path, paired: bool) -> list[str] | list[tuple[str, str]]:
    """The texts of a file, one per line; for pairs, two texts separated by a tab. Blank lines are skipped.

    Raises:
        InputError: unreadable, not UTF-8, without text, a line that is not a pair.
    """
    lines = [(n, line.rstrip("\r\n")) for n, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise InputError(f"{path}: no text in it: expected at least one line of real text")
    if not paired:
        return [line for _, line in lines]
    for number, line in lines:
        if not all(part.strip() for part in line.partition("\t")[::2]):
            raise InputError(f"{path}:{number}: expected two texts separated by a tab")
    return [(text, pair) for text, _, pair in (line.partition("\t") for _, line in lines)]
