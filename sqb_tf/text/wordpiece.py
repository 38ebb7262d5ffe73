"""WordPiece: words of normalized text to pieces of the vocabulary, the longest first.

The ids are those of tensorflow-text's FastWordpieceTokenizer (Song et al. 2020,
https://arxiv.org/abs/2012.15524), its treatment of long words and of odd vocabularies included.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

from sqb_tf.text.characters import Characters, is_space, is_word
from sqb_tf.text.vocabulary import SUFFIX

# UTF-8 bytes of a word; a longer one is unknown (`max_bytes_per_word` of FastBertTokenizer).
MAX_WORD_BYTES = 100
# A word of at most this many characters is not too long, whatever they are.
SURELY_SHORT = MAX_WORD_BYTES // 4

# Words whose pieces are kept: 5 MB, none being longer than MAX_WORD_BYTES.
KEPT = 16_384

# An id, and the first and end character of its piece in the normalized text.
Piece = tuple[int, int, int]


class WordPiece:
    """Splits normalized text into pieces; a word that the pieces do not spell to its end is unknown.

    Args:
        vocabulary: the tokens, in the order of their ids.
        unknown_id: the id of an unknown word.
        characters: which of them separate words.
    """

    def __init__(self, vocabulary: Sequence[str], unknown_id: int, characters: Characters) -> None:
        self._unknown_id = unknown_id
        self._separate = characters.separate
        # The pieces that begin a word, and the others without their ##.
        self._first = {token: i for i, token in enumerate(vocabulary) if token[:2] != SUFFIX}
        self._inner = {token[2:]: i for i, token in enumerate(vocabulary) if token[:2] == SUFFIX}
        self._known = self._first, self._inner
        # Three times as fast with a small vocabulary, which splits most words; as fast with BERT's.
        self._match = functools.lru_cache(KEPT)(self._longest_match)
        # Whitespace inside tokens, and then what they begin with.
        self._spaces = set(filter(is_space, set("".join(vocabulary))))
        self._prefixes = [_prefixes(some) if self._spaces else set() for some in self._known]

    def ids(self, text: str) -> list[int]:
        """The ids of a normalized text."""
        if self._has_spaced_pieces(text):
            return [index for index, _, _ in self.pieces(text)]
        ids: list[int] = []
        for word in text.translate(self._separate).split():
            index = self._first.get(word)
            if index is not None and len(word) <= SURELY_SHORT:
                ids.append(index)
            else:
                ids += self._split(word)[0]
        return ids

    def pieces(self, text: str) -> list[Piece]:
        """The ids of a normalized text with their positions in it."""
        spans = self._spaced_words if self._has_spaced_pieces(text) else self._words
        pieces: list[Piece] = []
        for word, position in spans(text):
            for index, size in zip(*self._split(word), strict=True):
                pieces.append((index, position, position + size))
                position += size
        return pieces

    def _split(self, word: str) -> tuple[list[int], list[int]]:
        """The pieces of a word: ids, and sizes in characters."""
        if len(word) > MAX_WORD_BYTES:
            return [self._unknown_id], [len(word)]
        return self._match(word)

    def _longest_match(self, word: str) -> tuple[list[int], list[int]]:
        """`_split` for words that are kept."""
        size = len(word)
        unknown = [self._unknown_id], [size]
        if size > SURELY_SHORT and len(word.encode()) > MAX_WORD_BYTES:
            return unknown
        ids: list[int] = []
        sizes: list[int] = []
        known, start = self._first, 0
        while start < size:
            for end in range(size, start, -1):
                index = known.get(word[start:end])
                if index is not None:
                    break
            else:
                return unknown
            ids.append(index)
            sizes.append(end - start)
            known, start = self._inner, end
        return ids, sizes

    def _words(self, text: str) -> Iterator[tuple[str, int]]:
        """The words of a normalized text, each with its position."""
        position = 0
        for word in text.translate(self._separate).split():
            position = text.index(word, position)  # between words are separators only
            yield word, position
            position += len(word)

    def _has_spaced_pieces(self, text: str) -> bool:
        """Whether a text has whitespace that is also inside tokens, and then may not end a word."""
        return bool(self._spaces) and not self._spaces.isdisjoint(text)

    def _spaced_words(self, text: str) -> Iterator[tuple[str, int]]:
        """As `_words`, of a text that `_has_spaced_pieces`.

        A cased vocabulary learned from texts with no-break spaces has such pieces. As tensorflow-text
        does, a word extends as far as pieces spell it, whitespace included.
        """
        position = 0
        while position < len(text):
            start = position
            if is_word(text[start]):
                end = start + 1
            else:
                end = self._spelled(text, start)
                while end < len(text) and not (is_space(text[end]) or is_word(text[end])):
                    end += 1
            if end > start:
                yield text[start:end], start
            position = end + (end < len(text) and is_space(text[end]))

    def _spelled(self, text: str, start: int) -> int:
        """How far from `start` pieces can spell the text."""
        known, size, rest = 0, 0, ""  # `rest` is the beginning of a piece
        for end in range(start, len(text)):
            size += len(text[end].encode())
            if size > MAX_WORD_BYTES or is_word(text[end]):
                return end
            rest += text[end]
            while rest not in self._prefixes[known]:
                for length in range(len(rest) - 1, 0, -1):
                    if rest[:length] in self._known[known]:
                        break
                else:
                    return end
                known, rest = 1, rest[length:]
        return len(text)


def _prefixes(tokens: Iterable[str]) -> set[str]:
    """What tokens begin with, without those that no word contains: marks are words of their own."""
    usable = (token for token in tokens if not any(map(is_word, token)))
    return {token[:end] for token in usable for end in range(1, len(token) + 1)}
