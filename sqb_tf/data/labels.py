"""What a label may be: text of one line, without the spaces around it."""

from __future__ import annotations

import functools

from sqb_tf.data.lines import half_character
from sqb_tf.errors import InputError
from sqb_tf.line_file import breaks_lines


# The rows of a file share a few labels: 0.05 us for one that was seen, 0.3 us for a new one.
@functools.lru_cache(maxsize=4096)
def clean_label(label: str) -> str:
    """The label without the spaces around it.

    Raises:
        InputError: a line break in it: `labels.txt` has one label per line, and what reads it may split lines
            at any of Unicode's line breaks; half a character, which no file has.
    """
    if breaks_lines(label):
        raise InputError(
            f"label {label!r:.80}: expected text of one line: remove the line break in it"
        )
    if half_character(label):
        raise InputError(f"label {label!r:.80} holds half a character")
    return label.strip()
