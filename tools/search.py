"""Finds the lines of a text file that are nearest in meaning to a query, with an embedder."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.options import argument, option
from sqb_tf.terminal import show
from sqb_tflite.runtime.vector_index import Corpus, VectorIndex, nearest
from sqb_tools import arguments, entry, results
from sqb_tools.backends import BackendOptions
from sqb_tools.text_lines import check_source, text_lines

EPILOG = """examples:
  sqb search --package embedder.tflite --corpus questions.txt "my card does not work"
  sqb search --model squeezebert-micro --corpus notes.txt --top-k 10 "birthday of Anna" "flights"
  sqb search --package embedder.tflite --corpus questions.txt --input queries.txt --json results.json

The corpus has one text per line. Its vectors are computed once and kept in a folder, CORPUS.index; they are
computed again when the corpus or the model has changed. Queries are one per line, as `sqb predict` takes
texts."""

# Queries that are embedded and compared at once.
QUERIES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(BackendOptions):
    """The queries, what is searched, and with which model."""

    queries: tuple[str, ...] = argument(
        (), "queries, in place of --input or standard input", group="data"
    )
    corpus: str = option(
        dataclasses.MISSING, "text file to search, one text per line", group="data", metavar="FILE"
    )
    input: str | None = option(
        None,
        "file with one query per line",
        group="data",
        metavar="FILE",
        fallback="standard input",
    )
    index: str | None = option(
        None,
        "folder that keeps the vectors of the corpus",
        group="data",
        metavar="DIR",
        fallback="CORPUS.index",
    )
    top_k: int = option(5, "lines that are shown for a query", group="output")
    threads: int = option(1, "CPU threads of a package", group="model")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 1:
            raise InputError(f"--top-k {self.top_k}: expected at least 1")
        if self.threads < 1:
            raise InputError(f"--threads {self.threads}: expected at least 1")
        if self.queries and self.input:
            raise InputError("give queries as arguments or --input FILE, not both")
        check_source(self.queries, self.input)

    def open_index(self) -> VectorIndex:
        """The corpus and where its vectors are kept; no model is loaded."""
        corpus = Corpus.read(self.corpus)
        index = VectorIndex(Path(self.index or f"{self.corpus}.index"), corpus, self.sha256())
        index.check()
        return index


def main(args: argparse.Namespace) -> int:
    options = arguments.read(SearchOptions, args)
    index = options.open_index()
    backend = options.open(options.threads)
    if not backend.head.gives_vectors:
        raise InputError(
            f"{options.package or options.model}: for {backend.kind}: expected an embedder, as `sqb finetune "
            "--task similarity` or `--task retrieval` makes one"
        )
    vectors = index.open()
    if vectors is None:
        vectors = index.build(backend)
    searches = []
    for search in _searches(backend, index.corpus, vectors, options):
        if args.json:
            searches.append(search)
        if args.json != "-":
            show(_table(search), flush=True)
    if args.json:
        summary = {"corpus": options.corpus, "index": str(index.folder), "vectors": len(vectors)}
        results.write_json(args, {**summary, "searches": searches})
    return entry.DONE


def _searches(
    backend: Backend, corpus: Corpus, vectors: np.ndarray, options: SearchOptions
) -> Iterator[dict[str, Any]]:
    """Each query with the lines that are nearest to it."""
    lines = text_lines(options.queries, options.input)
    rows = (backend.head.parse_line(line, where, None) for where, line in lines)
    while chunk := list(itertools.islice(rows, QUERIES)):
        embedded = np.stack([result.embedding for _, result in backend.results(chunk)])
        ranked = zip(chunk, *nearest(vectors, embedded, options.top_k), strict=True)
        for (query, _), indices, cosines in ranked:
            yield {"query": query, "results": _hits(corpus, indices, cosines)}


def _hits(corpus: Corpus, indices: Sequence[int], cosines: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"line": corpus.lines[i], "score": float(cosine), "text": corpus.texts[i]}
        for i, cosine in zip(indices, cosines, strict=True)
    ]


def _table(search: dict[str, Any]) -> str:
    """For people: the query, then score, line number and text of every hit."""
    hits = (f"  {hit['score']:.4f}  {hit['line']:>7}  {hit['text']}" for hit in search["results"])
    return "\n".join([search["query"], *hits])


def flags() -> arguments.Parser:
    return arguments.parser("search", __doc__, EPILOG, SearchOptions)


if __name__ == "__main__":
    entry.run(main, flags())
