"""Labels or embeds texts, finds entities and answers, or chooses, with a package or a bundle."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.embedding import Embedding
from sqb_tf.heads.head import Head
from sqb_tf.heads.long_texts import truncated_tokens
from sqb_tf.npy_file import RowWriter
from sqb_tf.options import argument, option
from sqb_tf.terminal import show
from sqb_tools import arguments, entry, results
from sqb_tools.backends import BackendOptions, warn_of_truncation
from sqb_tools.shared_options import AnswerOptions
from sqb_tools.text_lines import text_lines

EPILOG = """examples:
  sqb predict --package sst2.tflite "a charming journey" "a tedious mess"
  sqb predict --package sst2.tflite --input reviews.txt --jsonl > labels.jsonl
  cat reviews.txt | sqb predict --model runs/sst2
  sqb predict --package ner.tflite "Ann Smith (Oslo) isn't in."
  sqb predict --package squad.tflite --context article.txt "Who won?" "When?"
  sqb predict --package embedder.tflite --input questions.txt --output vectors.npy

A file or standard input has one text per line; for pairs, text and pair separated by a tab; for multiple
choice, text and choices separated by tabs; for question answering, a JSON object with question and context,
or with --context the question alone; for entities plain text, or with --words words separated by single
spaces. Input is streamed: memory does not grow with the number of lines."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions(BackendOptions):
    """The texts, what predicts, and how results are printed."""

    texts: tuple[str, ...] = argument(
        (), "texts, in place of --input or standard input", group="data"
    )
    input: str | None = option(
        None, "file with one text per line", group="data", metavar="FILE", fallback="standard input"
    )
    context: str | None = option(
        None,
        "question answering: file with the text that the questions are about",
        group="data",
        metavar="FILE",
    )
    batch_size: int = option(64, "texts read and encoded at once", group="model")
    threads: int = option(1, "CPU threads of a package", group="model")
    words: bool = option(
        False,
        "tagged words: the texts are words separated by single spaces; give each one's tag, not the entities",
        group="data",
    )
    jsonl: bool = option(False, "print one JSON object per line", group="output")
    output: str | None = option(
        None,
        "of an embedder: write the vectors, in the order of the texts, as a float32 array of numpy",
        group="output",
        metavar="FILE.npy",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise InputError(f"--batch-size {self.batch_size}: expected at least 1")
        if self.threads < 1:
            raise InputError(f"--threads {self.threads}: expected at least 1")
        if self.texts and self.input:
            raise InputError("give texts as arguments or --input FILE, not both")
        if self.output is not None:
            if self.jsonl:
                raise InputError("give --output or --jsonl, not both: each has the vectors")
            if not self.output.endswith(".npy"):
                raise InputError(f"--output {self.output}: expected a name ending in .npy")
            check_writable(self.output)


def main(args: argparse.Namespace) -> int:
    options = arguments.read(PredictOptions, args)
    answers = arguments.read(AnswerOptions, args)
    if options.jsonl and args.json == "-":
        raise InputError("give --jsonl or --json -, not both: each writes to standard output")
    if options.model:  # flags of another head are reported before TensorFlow is imported
        _head(bundle.read_info(options.model).head, options, answers)
    backend = options.open(options.threads)
    head = backend.head = _head(backend.head, options, answers)
    context = None if options.context is None else _read_context(options.context)
    lines = text_lines(options.texts, options.input)
    rows = (head.parse_line(line, where, context) for where, line in lines)
    predictions = backend.stream(rows, options.batch_size)
    if options.output:
        _write_vectors(args, options.output, backend, (result for _, result in predictions))
        return entry.DONE
    records, truncated = [], 0
    for (text, pair), result in predictions:
        record = {"text": text, **({"pair": pair} if pair is not None else {})}
        record |= {name: _plain(value) for name, value in dataclasses.asdict(result).items()}
        truncated += truncated_tokens(result) > 0
        if args.json:
            records.append(record)
        if options.jsonl:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        elif args.json != "-":
            show(result.line(text, pair))
    warn_of_truncation(truncated, backend)
    if args.json:
        results.write_json(args, {"predictions": records})
    return entry.DONE


def _head(head: Head, options: PredictOptions, answers: AnswerOptions) -> Head:
    """A model's head as the flags want it; `InputError` for flags of another one."""
    head = head.update_settings(answers.settings)
    plain = head.for_plain_text()
    if options.words and plain is head:
        raise InputError(f"--words is for tagged words: the model is a {head.name}")
    if options.context and not head.answers_questions:
        raise InputError(f"--context is for question answering: the model is a {head.name}")
    if options.output and not head.gives_vectors:
        raise InputError(
            f"--output is for the vectors of an embedder: the model is a {head.name}: its results go with "
            "--jsonl"
        )
    return head if options.words else plain


def _write_vectors(
    args: argparse.Namespace, path: str, backend: Backend, embeddings: Iterable[Embedding]
) -> None:
    """Writes the vectors as one file, whole or not at all, and prints how many they are."""
    truncated = 0
    with staged_file(path) as staged, RowWriter(staged) as rows:
        for result in embeddings:
            rows.append(result.embedding[None])
            truncated += truncated_tokens(result) > 0
    warn_of_truncation(truncated, backend)
    count, size = rows.shape
    summary = {"output": path, "vectors": count, "size": size}
    results.emit(args, f"{path}: {count} vectors of {size} values", summary)


def _plain(value: Any) -> Any:
    """A value for JSON; numbers of a float32 array are the shortest that read as the same float32."""
    return value.astype(str).astype(float).tolist() if isinstance(value, np.ndarray) else value


def _read_context(path: str) -> str:
    """The text of a UTF-8 file."""
    return "".join(line for _, line in numbered_lines(path))


def flags() -> arguments.Parser:
    return arguments.parser("predict", __doc__, EPILOG, PredictOptions, AnswerOptions)


if __name__ == "__main__":
    entry.run(main, flags())
