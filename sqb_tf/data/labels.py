"""What a label may be: text of one line, without the spaces around it; and how messages list labels."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from sqb_tf.data.lines import half_character
from sqb_tf.errors import InputError
from sqb_tf.line_file import breaks_lines

_UNNAMED = re.compile(r"LABEL_\d+")


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


def shortened(labels: Sequence[str], most: int = 5) -> str:
    """Labels for a message: the first `most`, each up to 80 characters, and how many more there are."""
    more = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    first = (label if len(label) <= 80 else f"{label[:80]}..." for label in labels[:most])
    return f"{', '.join(first)}{more}"


def differences(data: Sequence[str], model: Sequence[str]) -> str:
    """Which labels the data or a model lacks, for a message; empty if only their order differs."""
    sides = (
        ("the data lacks", [label for label in model if label not in data]),
        ("the model lacks", [label for label in data if label not in model]),
    )
    return "; ".join(f"{which} {shortened(labels)}" for which, labels in sides if labels)


def are_unnamed(labels: Sequence[str]) -> bool:
    """Whether labels are `LABEL_0` and so on, as `transformers` calls outputs that nobody named."""
    return bool(labels) and all(_UNNAMED.fullmatch(label) for label in labels)


def unnamed_hint(labels: Sequence[str]) -> str:
    """What to do about a model whose labels `are_unnamed`, for the end of a message; else nothing."""
    if not are_unnamed(labels):
        return ""
    return (
        f" ({shortened(labels, 2)} are outputs without names: give them the data's with "
        "`sqb import_hf --labels`, or in the bundle's labels.txt, in the order of the model's training)"
    )
