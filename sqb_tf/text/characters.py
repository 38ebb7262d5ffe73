"""What BERT's basic tokenizer makes of each character, independent of Python's version of Unicode.

`characters.txt` is tensorflow-text's own behaviour, read out of it character by character
(examples/generate_characters.py). Python's `str.lower` and `unicodedata` would follow the Unicode version
of the interpreter (14.0 in 3.11, 15.0 in 3.12, 15.1 in 3.13), so nothing here uses them.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable
from pathlib import Path

from sqb_tf.errors import InputError

TABLE = Path(__file__).with_name("characters.txt")
# Characters whose replacement is kept, at most: 16,384 take 3 MB; a text in any one script has fewer.
KEPT = 16_384
# Hangul syllables, decomposed by arithmetic (The Unicode Standard, section 3.12) instead of 11,172 lines.
SYLLABLES = range(0xAC00, 0xD7A4)
LEADING, VOWEL, TRAILING = 0x1100, 0x1161, 0x11A7
VOWELS, TRAILINGS = 21, 28

# First and last code points of CJK ideographs, as in BERT's tokenization.py.
IDEOGRAPHS = (
    [0x3400, 0x4E00, 0xF900, 0x20000, 0x2A700, 0x2B740, 0x2B820, 0x2F800],
    [0x4DBF, 0x9FFF, 0xFAFF, 0x2A6DF, 0x2B73F, 0x2B81F, 0x2CEAF, 0x2FA1F],
)

# First and last code point, and what each character between becomes: a string, or an offset to add.
Run = tuple[int, int, str | int]


class CharacterMap(dict):
    """Code point -> string, for `str.translate`: computed where missing, kept up to `KEPT` entries.

    Raises:
        InputError: a lone surrogate, which is not a character.
    """

    def __init__(self, rule: Callable[[int], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        if 0xD800 <= code <= 0xDFFF:
            raise InputError(
                f"the text contains the lone surrogate U+{code:04X}: expected Unicode text, that is, "
                "text that can be written as UTF-8"
            )
        replacement = self._rule(code)
        if len(self) < KEPT:
            self[code] = replacement
        return replacement


class Characters:
    """The rules for cased or uncased text.

    Attributes:
        normalize: map that folds case and strips accents (`lowercase`), and turns control characters
            into spaces. One character may become none or several.
        separate: map from normalized characters to text whose words are separated by spaces: a
            punctuation mark or a CJK character is a word.
    """

    def __init__(self, lowercase: bool) -> None:
        self._runs = _runs("uncased" if lowercase else "cased")
        self._firsts = [first for first, _, _ in self._runs]
        self._lowercase = lowercase
        self.normalize = CharacterMap(self._normalized)
        self.separate = CharacterMap(_separated)

    def _normalized(self, code: int) -> str:
        if self._lowercase and code in SYLLABLES:
            return _jamo(code - SYLLABLES.start)
        index = bisect.bisect_right(self._firsts, code) - 1
        if index < 0 or code > self._runs[index][1]:
            return chr(code)
        replacement = self._runs[index][2]
        return replacement if isinstance(replacement, str) else chr(code + replacement)


def is_space(character: str) -> bool:
    """Whether a normalized character separates words."""
    return _within(ord(character), _ranges("space"))


def is_word(character: str) -> bool:
    """Whether a normalized character is a word by itself: punctuation, CJK."""
    return _within(ord(character), _ranges("word"))


def is_ideograph(character: str) -> bool:
    """Whether a normalized character is a CJK ideograph."""
    return _within(ord(character), IDEOGRAPHS)


def _separated(code: int) -> str:
    character = chr(code)
    if is_word(character):
        return f" {character} "
    return " " if is_space(character) else character


def _jamo(index: int) -> str:
    """The letters of a Hangul syllable."""
    leading, rest = divmod(index, VOWELS * TRAILINGS)
    vowel, trailing = divmod(rest, TRAILINGS)
    letters = chr(LEADING + leading) + chr(VOWEL + vowel)
    return letters + chr(TRAILING + trailing) if trailing else letters


def _within(code: int, ranges: tuple[list[int], list[int]]) -> bool:
    firsts, lasts = ranges
    index = bisect.bisect_right(firsts, code) - 1
    return index >= 0 and code <= lasts[index]


@functools.cache
def _sections() -> dict[str, list[str]]:
    """The lines of the table, by section."""
    sections: dict[str, list[str]] = {}
    for line in TABLE.read_text(encoding="ascii").split("\n"):
        if line.startswith("["):
            lines = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


@functools.cache
def _ranges(section: str) -> tuple[list[int], list[int]]:
    """First and last code points of a section's ranges."""
    pairs = [line.split(" ") for line in _sections()[section]]
    return [int(first, 16) for first, _ in pairs], [int(last, 16) for _, last in pairs]


@functools.cache
def _runs(section: str) -> list[Run]:
    """The runs of a section that maps characters."""
    runs: list[Run] = []
    for line in _sections()[section]:
        first, last, replacement = line.split(" ")
        if replacement[0] in "+-":
            value: str | int = int(replacement, 16)
        else:
            value = "".join(chr(int(code, 16)) for code in replacement[1:].split(",") if code)
        runs.append((int(first, 16), int(last, 16), value))
    return runs
