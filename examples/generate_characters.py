"""Writes `sqb_tf/text/characters.txt`: what tensorflow-text's BERT tokenizer does with every character.

Run again only if tensorflow-text changes; `tests/unit/test_encoder.py` compares every character.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

import tensorflow as tf
import tensorflow_text as tf_text

from sqb_tf.atomic_write import staged_file
from sqb_tf.text.characters import SYLLABLES, TABLE

HEADER = f"""\
# Each character in tensorflow-text {tf_text.__version__}. Made by examples/generate_characters.py.
# Ranges of code points in hexadecimal, first and last. [space] separates words, [word] is a word by itself.
# [cased] and [uncased] say what characters become: +offset or -offset, or =code,points (= alone: nothing).
# Characters in no section stay as they are; Hangul syllables are decomposed by arithmetic.
"""
CODES = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]


def normalized(lowercase: bool) -> dict[int, str]:
    """What each character becomes."""
    characters = tf.constant([chr(code).encode() for code in CODES])
    found = tf_text.FastBertNormalizer(lowercase).normalize(characters).numpy()
    return {code: text.decode() for code, text in zip(CODES, found, strict=True)}


def classes() -> tuple[list[int], list[int]]:
    """The characters that separate words, and those that are words, once normalized."""
    # Between two letters a separator leaves 2 tokens, a word of its own 3, all else 1, the unknown one.
    tokenizer = tf_text.FastWordpieceTokenizer(["[UNK]", "x"], token_out_type=tf.int32)
    sizes = tokenizer.tokenize(tf.constant([f"x{chr(code)}x".encode() for code in CODES]))
    sizes = sizes.row_lengths().numpy()
    space = [code for code, size in zip(CODES, sizes, strict=True) if size == 2]
    return space, [code for code, size in zip(CODES, sizes, strict=True) if size == 3]


def ranges(codes: Iterable[int]) -> Iterator[str]:
    """Sorted code points as lines of ranges."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return (f"{first:x} {last:x}" for first, last in runs)


def changes(texts: dict[int, str]) -> Iterator[str]:
    """The characters that change as lines: runs that share an offset or a replacement."""
    runs: list[tuple[int, int, str]] = []
    for code, text in texts.items():
        if text == chr(code) or code in SYLLABLES:
            continue
        replacements = {"=" + ",".join(f"{ord(character):x}" for character in text)}
        if len(text) == 1 and text != " ":
            replacements.add(f"{ord(text) - code:+x}")
        if runs and code == runs[-1][1] + 1 and runs[-1][2] in replacements:
            runs[-1] = (runs[-1][0], code, runs[-1][2])
        else:
            runs.append((code, code, min(replacements)))  # "+" and "-" sort before "="
    return (f"{first:x} {last:x} {replacement}" for first, last, replacement in runs)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    space, word = classes()
    sections = {
        "space": ranges(space),
        "word": ranges(word),
        "cased": changes(normalized(False)),
        "uncased": changes(normalized(True)),
    }
    with staged_file(TABLE) as path, open(path, "w", encoding="ascii") as file:
        file.write(HEADER)
        for name, lines in sections.items():
            file.write(f"[{name}]\n")
            file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
