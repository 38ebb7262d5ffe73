"""Text -> the folder of shards that `shards.py` reads."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.atomic_write import staged_directory, writing
from sqb_tf.errors import InputError
from sqb_tf.progress import Progress, log
from sqb_tf.text.tokenizer import WordPieceTokenizer, learn_vocabulary
from sqb_tf.text.vocabulary import MASK, read_vocabulary
from sqb_tf.training.pretraining.corpus import SPECIAL_PLACES, Corpus, Segmenter
from sqb_tf.training.pretraining.shards import (
    DTYPE,
    FORMAT,
    INDEX,
    RECORDS,
    SAMPLES,
    Index,
    shard_name,
)

# A vocabulary is learned from so many lines at most, evenly from the whole corpus.
VOCABULARY_LINES = 500_000
# Texts of each split that go along, for calibration and verification.
SAMPLE_TEXTS = {"train": 64, "dev": 512}


@dataclasses.dataclass(frozen=True)
class ShardOptions:
    """What shards are made of. Equal options on equal files give equal shards, to the byte."""

    text: tuple[str, ...]  # files, or folders of .txt files
    vocabulary: str | None = None  # vocab.txt; None: learn one from the text
    vocab_size: int = 6000  # of a learned vocabulary
    lowercase: bool = True
    seq_length: int = 128  # tokens of an instance, the special ones included
    held_out: float = 5.0  # per cent of the documents

    def source(self, corpus: Corpus) -> dict[str, Any]:
        """What tells whether shards are those of these options."""
        files = [[str(path.resolve()), path.stat().st_size] for path in corpus.paths]
        settings = dataclasses.asdict(self)
        del settings["text"]
        return {**settings, "files": files}


def make_shards(directory: str | Path, options: ShardOptions) -> None:
    """Writes the shards of `options` to `directory`, unless they are there already.

    Raises:
        InputError: bad options or text; too little text; a folder there that holds something else, or
            shards of other options.
    """
    directory = Path(directory)
    if options.seq_length < 16:
        raise InputError(f"seq_length {options.seq_length}: expected at least 16")
    corpus = Corpus.of(options.text, options.held_out)
    source = options.source(corpus)
    if (directory / INDEX).is_file():
        _check_same(Index.read(directory), source, directory)
        log(f"taking the shards in {directory}")
        return
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(f"{directory}: a folder that holds no shards: name a new one")
    with staged_directory(directory) as staged:
        tokenizer = WordPieceTokenizer(_vocabulary(options, corpus), options.lowercase)
        if MASK not in tokenizer.vocabulary:
            raise InputError(f"{options.vocabulary}: lacks {MASK}, which pretraining needs")
        if len(tokenizer.vocabulary) > np.iinfo(DTYPE).max + 1:
            raise InputError(
                f"{options.vocabulary}: {len(tokenizer.vocabulary)} tokens: expected at most "
                f"{np.iinfo(DTYPE).max + 1}"
            )
        _write(staged, options, source, corpus, tokenizer)


def _check_same(index: Index, source: dict[str, Any], directory: Path) -> None:
    for name, value in source.items():
        if index.source.get(name) != value:
            raise InputError(
                f"{directory}: shards with another {name.replace('_', ' ')}: "
                f"{index.source.get(name)!r}, not {value!r}: name another folder, or leave out --text to "
                "train on these"
            )


def _vocabulary(options: ShardOptions, corpus: Corpus) -> list[str]:
    if options.vocabulary is not None:
        return read_vocabulary(options.vocabulary)
    log(f"learning a vocabulary of {options.vocab_size} tokens")
    count = sum(1 for _, _, held in corpus.lines() if not held)
    every = -(-count // VOCABULARY_LINES) or 1
    training = (line for line, _, held in corpus.lines() if not held)
    texts = (line for number, line in enumerate(training) if number % every == 0)
    return learn_vocabulary(texts, options.vocab_size, options.lowercase)


def _write(
    folder: Path,
    options: ShardOptions,
    source: dict[str, Any],
    corpus: Corpus,
    tokenizer: WordPieceTokenizer,
) -> None:
    unigrams = np.zeros(len(tokenizer.vocabulary), np.int64)
    samples = {split: _Sample(size) for split, size in SAMPLE_TEXTS.items()}
    with contextlib.ExitStack() as stack:
        writers = {split: _Writer(folder, split, stack) for split in ("train", "dev")}
        segmenter = Segmenter(tokenizer, options.seq_length)
        for instance, held_out in segmenter.instances(_watched(corpus, samples)):
            tokens = instance.first + instance.second
            if not held_out:
                np.add.at(unigrams, tokens, 1)
            payload = np.zeros(2 + options.seq_length - SPECIAL_PLACES, DTYPE)
            payload[:2] = len(instance.first), len(instance.second)
            payload[2 : 2 + len(tokens)] = tokens
            writers["dev" if held_out else "train"].write(payload.tobytes())
    for split, writer in writers.items():
        if not writer.counts:
            raise InputError(
                f"{', '.join(options.text)}: no {split} instances: expected documents, parted by blank "
                f"lines, of which {options.held_out:g} per cent are held out"
            )
    records = {split: writer.counts for split, writer in writers.items()}
    log(f"{sum(records['train'])} instances to train on, {sum(records['dev'])} held out")
    index = Index(FORMAT, options.seq_length, options.lowercase, source, records, unigrams.tolist())
    (folder / INDEX).write_text(json.dumps(dataclasses.asdict(index)) + "\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(tokenizer.vocabulary) + "\n", encoding="utf-8")
    texts = {split: sample.texts for split, sample in samples.items()}
    (folder / SAMPLES).write_text(json.dumps(texts, ensure_ascii=False) + "\n", encoding="utf-8")


def _watched(corpus: Corpus, samples: dict[str, _Sample]) -> Iterator[tuple[str, bool, bool]]:
    """The corpus' lines, with progress shown; some go into `samples` as they pass."""
    total, read = max(corpus.size // 1024, 1), 0
    progress = Progress("kilobytes of text", total)
    for line, starts, held_out in corpus.lines():
        read += len(line.encode()) + 1
        progress.update(min(read // 1024, total - 1))
        samples["dev" if held_out else "train"].offer(line)
        yield line, starts, held_out
    progress.update(total)


class _Sample:
    """A uniform sample of a stream (reservoir sampling), the same every time."""

    def __init__(self, size: int) -> None:
        self._size, self._seen, self._random = size, 0, random.Random(0)
        self.texts: list[str] = []

    def offer(self, text: str) -> None:
        """Takes the text, or not."""
        if len(self.texts) < self._size:
            self.texts.append(text)
        elif (place := self._random.randint(0, self._seen)) < self._size:
            self.texts[place] = text
        self._seen += 1


class _Writer:
    """Records into files of `RECORDS` each."""

    def __init__(self, folder: Path, split: str, stack: contextlib.ExitStack) -> None:
        self._folder, self._split, self._stack = folder, split, stack
        self._file: tf.io.TFRecordWriter | None = None
        self.counts: list[int] = []

    def write(self, payload: bytes) -> None:
        with writing(self._folder, tf.errors.OpError):
            if not self.counts or self.counts[-1] == RECORDS:
                if self._file is not None:
                    self._file.close()
                path = self._folder / shard_name(self._split, len(self.counts))
                self._file = self._stack.enter_context(tf.io.TFRecordWriter(str(path)))
                self.counts.append(0)
            self._file.write(payload)
            self.counts[-1] += 1
