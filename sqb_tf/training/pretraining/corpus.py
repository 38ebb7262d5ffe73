"""Plain text -> the instances of pretraining: pairs of segments that follow each other in a document."""

from __future__ import annotations

import dataclasses
import itertools
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow_text as tf_text

from sqb_tf.errors import InputError
from sqb_tf.text.tokenizer import WordPieceTokenizer

# Lines that are parted into sentences and tokenized at once.
BLOCK = 2048
# [CLS] first [SEP] second [SEP]
SPECIAL_PLACES = 3


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The documents of UTF-8 text files, as streams. Blank lines part documents.

    Args:
        paths: files, or folders whose `.txt` files are taken.
        held_out: per cent of the documents that are held out, chosen by a hash of their first line.
    """

    paths: tuple[Path, ...]
    held_out: float

    @classmethod
    def of(cls, paths: Sequence[str | Path], held_out: float) -> Corpus:
        """The corpus of files and folders; `InputError` for one that is missing or holds no text file."""
        if not 0 < held_out < 100:
            raise InputError(f"held_out {held_out}: expected per cent, above 0 and below 100")
        found: list[Path] = []
        for path in map(Path, paths):
            if path.is_dir():
                files = sorted(p for p in path.rglob("*.txt") if p.is_file())
                if not files:
                    raise InputError(f"{path}: no .txt files in this folder or below")
                found += files
            elif path.is_file():
                found.append(path)
            else:
                raise InputError(f"{path}: no such file or folder of text")
        return cls(tuple(found), held_out)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.paths)

    def lines(self) -> Iterator[tuple[str, bool, bool]]:
        """Every line with text: (line, whether its document starts with it, whether it is held out)."""
        for path in self.paths:
            starts, held = True, False
            for line in _text_lines(path):
                if line:
                    if starts:
                        held = zlib.crc32(line.encode()) % 10_000 < self.held_out * 100
                    yield line, starts, held
                starts = not line


def _text_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for line in file:
                yield line.strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


@dataclasses.dataclass(frozen=True)
class Instance:
    """Two segments of a document, the one before the other, as token ids."""

    first: list[int]
    second: list[int]


class Segmenter:
    """Sentences of documents -> instances that fill `seq_length` tokens with their special ones.

    Sentences are packed in order until the next one has no room (Devlin et al. 2019, appendix A.2); they are
    parted at the end of a random sentence, a single one at a word near its middle.
    """

    def __init__(self, tokenizer: WordPieceTokenizer, seq_length: int) -> None:
        self._tokenizer = tokenizer
        self._room = seq_length - SPECIAL_PLACES
        self._begins_word = tokenizer.begins_word
        self._breaker = tf_text.StateBasedSentenceBreaker()
        self._random = random.Random(0)

    def instances(self, lines: Iterable[tuple[str, bool, bool]]) -> Iterator[tuple[Instance, bool]]:
        """The instances of `Corpus.lines`, and whether each is held out."""
        lines = iter(lines)
        sentences: list[list[int]] = []
        held_out = False
        while block := list(itertools.islice(lines, BLOCK)):
            parts = self._breaker.break_sentences([line for line, _, _ in block])
            ids = iter(self._tokenizer(parts.flat_values).to_list())
            for (_, starts, held), count in zip(block, parts.row_lengths().numpy(), strict=True):
                if starts:
                    yield from self._emit(sentences, held_out)
                    sentences, held_out = [], held
                for sentence in itertools.islice(ids, int(count)):
                    for piece in _pieces(sentence, self._room):
                        if sum(map(len, sentences)) + len(piece) > self._room:
                            yield from self._emit(sentences, held_out)
                            sentences = []
                        sentences.append(piece)
        yield from self._emit(sentences, held_out)

    def _emit(self, sentences: list[list[int]], held_out: bool) -> Iterator[tuple[Instance, bool]]:
        tokens = [token for sentence in sentences for token in sentence]
        if len(tokens) < 2:
            return
        if len(sentences) > 1:
            before = self._random.randint(1, len(sentences) - 1)
            cut = sum(map(len, sentences[:before]))
        else:
            cut = len(tokens) // 2
            while cut < len(tokens) - 1 and not self._begins_word[tokens[cut]]:
                cut += 1
        yield Instance(tokens[:cut], tokens[cut:]), held_out


def _pieces(tokens: list[int], size: int) -> Iterator[list[int]]:
    """`tokens` in parts of at most `size`; nothing of none."""
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size]
