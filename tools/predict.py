"""Labels or embeds texts, finds entities and answers, or chooses, with a package or a bundle."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.data.delimited import SUFFIXES, DelimitedFile
from sqb_tf.data.example import Columns
from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.embedding import Embedding
from sqb_tf.heads.head import Head
from sqb_tf.heads.long_texts import truncated_tokens
from sqb_tf.npy_file import RowWriter
from sqb_tf.options import argument, option
from sqb_tf.progress import warn
from sqb_tools import arguments, entry, results
from sqb_tools.backends import BackendOptions, warn_of_truncation
from sqb_tools.prediction_rows import InputRow, line_rows, table_rows
from sqb_tools.printers import printer_for, record
from sqb_tools.shared_options import AnswerOptions
from sqb_tools.text_lines import check_source, text_lines

EPILOG = """examples:
  sqb predict --package sst2.tflite "a charming journey" "a tedious mess"
  sqb predict --package sst2.tflite --input reviews.txt --jsonl > labels.jsonl
  sqb predict --package sst2.tflite --input reviews.csv --text-column review > labelled.csv
  cat reviews.txt | sqb predict --model runs/sst2
  sqb predict --package ner.tflite "Ann Smith (Oslo) isn't in."
  sqb predict --package squad.tflite --context article.txt "Who won?" "When?"
  sqb predict --package embedder.tflite --input questions.txt --output vectors.npy

A file or standard input has one text per line; for pairs, text and pair separated by a tab; for multiple
choice, text and choices separated by tabs; for question answering, a JSON object with question and context,
or with --context the question alone; for entities plain text, or with --words words separated by single
spaces. With --text-column, a file is a table: the same one is printed, with what is predicted in further
columns or keys. Each line or row gives exactly one of the output: an empty text one with an error, unless
--strict is given. Input is streamed: memory does not grow with the number of lines."""


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
    text_column: str | None = option(
        None,
        "--input is a table (.tsv, .csv, .jsonl): column of the text; what is predicted is added to each row",
        group="data",
        metavar="COLUMN",
        fallback="--input has lines of text",
    )
    pair_column: str | None = option(
        None,
        "column of the second text of a pair, or of the context",
        group="data",
        metavar="COLUMN",
    )
    strict: bool = option(
        False,
        "end with an error at the first row that has no result, such as an empty one",
        group="output",
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
        check_source(self.texts, self.input)
        if self.text_column is None and self.pair_column is not None:
            raise InputError(f"--pair-column {self.pair_column}: goes with --text-column")
        if self.text_column is not None:
            if self.input is None:
                raise InputError(
                    f"--text-column {self.text_column}: goes with --input FILE, a table"
                )
            DelimitedFile(Path(self.input))  # a file of another type, or none, is reported at once
        if self.output is not None:
            if self.jsonl:
                raise InputError("give --output or --jsonl, not both: each has the vectors")
            if not self.output.endswith(".npy"):
                raise InputError(f"--output {self.output}: expected a name ending in .npy")
            check_writable(self.output)

    @property
    def table_suffix(self) -> str:
        """That of a table; nothing for lines of text."""
        suffix = Path(self.input or "").suffix.lower()
        return suffix if suffix in SUFFIXES else ""


def main(args: argparse.Namespace) -> int:
    options = arguments.read(PredictOptions, args)
    answers = arguments.read(AnswerOptions, args)
    if options.jsonl and args.json == "-":
        raise InputError("give --jsonl or --json -, not both: each writes to standard output")
    if options.model:  # flags of another head are reported before TensorFlow is imported
        _head(bundle.read_info(options.model).head, options, answers)
    backend = options.open(options.threads)
    head = backend.head = _head(backend.head, options, answers)
    rows = _results(_rows(options, head), backend, options.batch_size)
    if options.output:
        _write_vectors(args, options.output, backend, (result for _, result in rows))
        return entry.DONE
    suffix = options.table_suffix if options.text_column else ""
    printer = None if args.json == "-" else printer_for(suffix, options.jsonl, head)
    records, truncated, errors, first = [], 0, 0, ""
    for row, result in rows:
        truncated += result is not None and truncated_tokens(result) > 0
        errors += row.error is not None
        first = first or row.error or ""
        if args.json:
            records.append(record(row, result))
        if printer is not None:
            printer.print(row, result)
    warn_of_truncation(truncated, backend)
    if errors:
        subject = "1 row has" if errors == 1 else f"{errors:,} rows have"
        warn(f"{subject} no result: {first} (--strict ends at the first one)")
    if args.json:
        results.write_json(args, {"predictions": records})
    return entry.DONE


def _rows(options: PredictOptions, head: Head) -> Iterator[InputRow]:
    """The rows of the texts, of the file, or of standard input."""
    context = None if options.context is None else _read_context(options.context)
    strict = options.strict or options.output is not None  # a vector for each row
    if options.input is not None and options.text_column is not None:
        columns = Columns(options.text_column, options.pair_column, None)
        return table_rows(options.input, columns, context, strict)
    return line_rows(text_lines(options.texts, options.input), head, context, strict)


def _results(
    rows: Iterator[InputRow], backend: Backend, batch_size: int
) -> Iterator[tuple[InputRow, Any]]:
    """Each row with its result, in order, at constant memory; None for a row with an error."""
    while chunk := list(itertools.islice(rows, batch_size)):
        texts = (row.texts for row in chunk if row.texts is not None)
        predictions = backend.stream(texts, batch_size)
        for row in chunk:
            yield row, None if row.texts is None else next(predictions)[1]


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
    _check_table(head, options)
    return head if options.words else plain


def _check_table(head: Head, options: PredictOptions) -> None:
    """`InputError` unless the input is a table where its columns are named, and has the right ones."""
    suffix, named = options.table_suffix, options.text_column is not None
    has_lines = {"": True, ".tsv": head.paired, ".jsonl": head.answers_questions}
    if not named and not has_lines.get(suffix, False):
        raise InputError(
            f"--input {options.input}: a table: name the column of its texts (--text-column COLUMN)"
        )
    if not named:
        return
    prints_table = suffix != ".jsonl" and not options.jsonl and not options.output
    if not head.table_columns and (prints_table or not head.gives_vectors):
        raise InputError(f"--text-column: what a {head.name} predicts does not fit into a table")
    if head.paired and not (options.pair_column or options.context):
        raise InputError(
            "the model takes pairs of texts: name the column of the second one (--pair-column)"
        )
    if options.pair_column and not head.paired:
        raise InputError(f"--pair-column {options.pair_column}: the model takes single texts")


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


def _read_context(path: str) -> str:
    """The text of a UTF-8 file."""
    return "".join(line for _, line in numbered_lines(path))


def flags() -> arguments.Parser:
    return arguments.parser("predict", __doc__, EPILOG, PredictOptions, AnswerOptions)


if __name__ == "__main__":
    entry.run(main, flags())
