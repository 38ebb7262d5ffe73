"""A WordPiece vocabulary: BERT's special tokens, and reading a `vocab.txt`. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.line_file import read_lines

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
REQUIRED_TOKENS = (PAD, UNK, CLS, SEP)
SUFFIX = "##"  # begins the tokens that continue a word
LONGEST_TOKEN = 256  # bytes as UTF-8, without the suffix's mark
MIN_VOCAB_SIZE = 32  # of a learned one


def read_vocabulary(path: str | Path) -> list[str]:
    """The tokens of a `vocab.txt`, one per line; the line number, counted from 0, is the id.

    Raises:
        InputError: no such file, not UTF-8, or a required special token is missing.
    """
    tokens = read_lines(path, "a vocabulary")
    try:
        check_vocabulary(tokens)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return tokens


def begins_word(vocabulary: Sequence[str]) -> np.ndarray:
    """Whether each token begins a word, bool `[vocab_size]`."""
    return np.array([not token.startswith(SUFFIX) for token in vocabulary])


def check_vocabulary(vocabulary: Sequence[str]) -> None:
    """`InputError` unless it holds the required special tokens, and each token once, none too long."""
    missing = [token for token in REQUIRED_TOKENS if token not in vocabulary]
    if missing:
        raise InputError(
            f"the vocabulary lacks {', '.join(missing)}: expected BERT's special tokens, each on a "
            "line of its own"
        )
    if len(set(vocabulary)) != len(vocabulary):
        raise InputError("the vocabulary holds a token twice: an id must name one token")
    for number, token in enumerate(vocabulary):
        if "\0" in token or len(token.removeprefix(SUFFIX).encode()) > LONGEST_TOKEN:
            raise InputError(
                f"the vocabulary's token {number}, {token!r:.40}, has a null character or more than "
                f"{LONGEST_TOKEN} bytes, which tensorflow-text does not take"
            )
