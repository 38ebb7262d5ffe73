"""Plain text -> the instances of pretraining: pairs of consecutive segments of a document."""

from __future__ import annotations

import dataclasses
import itertools
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError

if TYPE_CHECKING:
    from sqb_tf.text.tokenizer import WordPieceTokenizer

# Lines that are split into sentences and tokenized at once.
BLOCK = 2048
# The special tokens of `[CLS] first [SEP] second [SEP]`.
NUM_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The documents of UTF-8 text files, as a stream. Documents are separated by blank lines.

    Args:
        paths: the files.
        held_out: percentage of the documents that are held out, chosen by a hash of their first line.
    """

    paths: tuple[Path, ...]
    held_out: float

    @classmethod
    def find(cls, paths: Sequence[str | Path], held_out: float) -> Corpus:
        """The corpus of files, and of the `.txt` files in folders.

        Raises:
            InputError: a path that does not exist, a folder without text files, a bad percentage.
        """
        if not 0 < held_out < 100:
            raise InputError(f"held_out {held_out}: expected per cent, above 0 and below 100")
        files: list[Path] = []
        for path in map(Path, paths):
            if path.is_dir():
                in_folder = sorted(p for p in path.rglob("*.txt") if p.is_file())
                if not in_folder:
                    raise InputError(f"{path}: no .txt files in this folder or below")
                files += in_folder
            elif path.is_file():
                files.append(path)
            else:
                raise InputError(f"{path}: no such file or folder of text")
        return cls(tuple(files), held_out)

    @property
    def size(self) -> int:
        """Total bytes of the files."""
        return sum(path.stat().st_size for path in self.paths)

    def lines(self) -> Iterator[tuple[str, bool, bool]]:
        """Every non-blank line: (line, whether it starts a document, whether it is held out)."""
        for path in self.paths:
            starts, held = True, False
            for _, raw in numbered_lines(path):
                line = raw.strip()
                if line:
                    if starts:
                        held = zlib.crc32(line.encode()) % 10_000 < self.held_out * 100
                    yield line, starts, held
                starts = not line


@dataclasses.dataclass(frozen=True)
class Instance:
    """Two consecutive segments of a document, as token ids."""

    first: list[int]
    second: list[int]


class Segmenter:
    """Sentences of documents -> instances of at most `seq_length` tokens, special tokens included.

    Sentences are packed in order until the next does not fit (Devlin et al. 2019, appendix A.2). They are
    split into two segments at the end of a random sentence; a single sentence at a word near its middle.
    """

    def __init__(self, tokenizer: WordPieceTokenizer, seq_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = seq_length - NUM_SPECIAL
        self._begins_word = tokenizer.begins_word
        import tensorflow_text as tf_text  # late: finding a corpus needs no TensorFlow

        self._breaker = tf_text.StateBasedSentenceBreaker()
        self._random = random.Random(0)

    def instances(self, lines: Iterable[tuple[str, bool, bool]]) -> Iterator[tuple[Instance, bool]]:
        """The instances of `Corpus.lines`, each with whether it is held out."""
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
                    for piece in _pieces(sentence, self._max_tokens):
                        if sum(map(len, sentences)) + len(piece) > self._max_tokens:
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
    """`tokens` in parts of at most `size`."""
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size]
