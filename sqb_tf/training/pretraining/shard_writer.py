"""Plain text -> a folder of shards, which `shards.py` reads."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sqb_tf.atomic_write import staged_directory, writing
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.errors import InputError
from sqb_tf.line_file import write_lines
from sqb_tf.progress import Progress, log
from sqb_tf.text.tokenizer import WordPieceTokenizer, learn_vocabulary
from sqb_tf.text.vocabulary import MASK, read_vocabulary
from sqb_tf.training.pretraining.corpus import NUM_SPECIAL, Corpus, Segmenter
from sqb_tf.training.pretraining.options import ShardOptions
from sqb_tf.training.pretraining.shards import (
    DTYPE,
    FORMAT,
    INDEX,
    MAX_TOKENS,
    RECORDS,
    SAMPLES,
    Index,
    shard_name,
)

# A vocabulary is learned from at most this many lines, evenly spaced in the corpus.
VOCABULARY_LINES = 500_000
# Texts of each split that are kept for calibration and verification.
SAMPLE_TEXTS = {"train": 512, "dev": 512}


def make_shards(
    directory: str | Path, options: ShardOptions, vocabulary: Sequence[str] | None = None
) -> None:
    """Writes the shards of `options` to `directory`, unless it already has them.

    Args:
        directory: the folder of shards.
        options: text, split, vocabulary and length.
        vocabulary: a model's tokens; None: those of the file `options.vocabulary`, or learned ones.

    Raises:
        InputError: bad options or text; too little text; a folder with other contents, or with shards of
            other options.
    """
    directory = Path(directory)
    if options.text is None:
        raise InputError("text: expected text files, or folders of .txt files")
    corpus = Corpus.find(options.text, options.held_out)
    source = _source(options, corpus, vocabulary)
    if (directory / INDEX).is_file():
        _check_same(Index.read(directory), source, directory)
        log(f"using the shards in {directory}")
        return
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(f"{directory}: the folder is not empty and has no shards: name a new one")
    with staged_directory(directory) as staged:
        tokens = vocabulary or _vocabulary(options, corpus)
        tokenizer = WordPieceTokenizer(tokens, options.lowercase)
        name = options.vocabulary or "the vocabulary"
        if MASK not in tokenizer.vocabulary:
            raise InputError(f"{name}: no {MASK}, which pretraining and squeezing need")
        if len(tokenizer.vocabulary) > MAX_TOKENS:
            raise InputError(
                f"{name}: {len(tokenizer.vocabulary)} tokens: expected at most {MAX_TOKENS}"
            )
        _write(staged, options, source, corpus, tokenizer)


def _source(
    options: ShardOptions, corpus: Corpus, vocabulary: Sequence[str] | None
) -> dict[str, Any]:
    """The options with the names and sizes of the files: equal sources give equal shards."""
    files = [[str(path.resolve()), path.stat().st_size] for path in corpus.paths]
    settings = dataclasses.asdict(options)
    del settings["text"]
    if vocabulary is not None:  # a model's, whatever its name
        digest = hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()
        settings["vocabulary"] = f"sha256 {digest}"
    return {**settings, "files": files}


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
    log(f"learning a vocabulary of at most {options.vocab_size} tokens")
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
    unigrams: np.ndarray = np.zeros(len(tokenizer.vocabulary), np.int64)
    samples: dict[str, ReservoirSample[str]] = {
        split: ReservoirSample(size) for split, size in SAMPLE_TEXTS.items()
    }
    with contextlib.ExitStack() as stack:
        writers = {split: _Writer(folder, split, stack) for split in ("train", "dev")}
        segmenter = Segmenter(tokenizer, options.seq_length)
        for instance, held_out in segmenter.instances(_sampled_lines(corpus, samples)):
            tokens = instance.first + instance.second
            if not held_out:
                np.add.at(unigrams, tokens, 1)
            payload: np.ndarray = np.zeros(2 + options.seq_length - NUM_SPECIAL, DTYPE)
            payload[:2] = len(instance.first), len(instance.second)
            payload[2 : 2 + len(tokens)] = tokens
            writers["dev" if held_out else "train"].write(payload.tobytes())
    for split, writer in writers.items():
        if not writer.counts:
            raise InputError(
                f"{', '.join(options.text or ())}: no {split} instances: expected documents separated by "
                f"blank lines, {options.held_out:g} per cent of them held out"
            )
    records = {split: writer.counts for split, writer in writers.items()}
    log(f"{sum(records['train'])} instances to train on, {sum(records['dev'])} held out")
    index = Index(FORMAT, options.seq_length, options.lowercase, source, records, unigrams.tolist())
    (folder / INDEX).write_text(json.dumps(dataclasses.asdict(index)) + "\n", encoding="utf-8")
    write_lines(folder / "vocab.txt", tokenizer.vocabulary)
    texts = {split: sample.items for split, sample in samples.items()}
    (folder / SAMPLES).write_text(json.dumps(texts, ensure_ascii=False) + "\n", encoding="utf-8")


def _sampled_lines(
    corpus: Corpus, samples: dict[str, ReservoirSample[str]]
) -> Iterator[tuple[str, bool, bool]]:
    """`corpus.lines()` with progress shown; every line is offered to its split's sample."""
    total, read = max(corpus.size // 1024, 1), 0
    progress = Progress("kilobytes of text", total)
    for line, starts, held_out in corpus.lines():
        read += len(line.encode()) + 1
        progress.update(min(read // 1024, total - 1))
        samples["dev" if held_out else "train"].offer(line)
        yield line, starts, held_out
    progress.update(total)


class _Writer:
    """Writes records into files of `RECORDS` each."""

    def __init__(self, folder: Path, split: str, stack: contextlib.ExitStack) -> None:
        self._folder, self._split, self._stack = folder, split, stack
        self._file: tf.io.TFRecordWriter | None = None
        self.counts: list[int] = []

    def write(self, payload: bytes) -> None:
        with writing(self._folder, tf.errors.OpError):
            file = self._file
            if file is None or self.counts[-1] == RECORDS:
                file = self._open_next()
            file.write(payload)
            self.counts[-1] += 1

    def _open_next(self) -> tf.io.TFRecordWriter:
        if self._file is not None:
            self._file.close()
        path = self._folder / shard_name(self._split, len(self.counts))
        self._file = self._stack.enter_context(tf.io.TFRecordWriter(str(path)))
        self.counts.append(0)
        return self._file
