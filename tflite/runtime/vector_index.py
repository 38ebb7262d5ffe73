"""Search by meaning: the vectors of a text file's lines, kept on disk, and which are nearest to a query."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sqb_tf.atomic_write import staged_directory
from sqb_tf.data.lines import decoded_lines
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.embedding import unit
from sqb_tf.heads.long_texts import truncated_tokens
from sqb_tf.npy_file import RowWriter
from sqb_tf.progress import log, track, warn

# Files of an index.
VECTORS, KEY = "vectors.npy", "index.json"
# Vectors that are compared at once: 25 MB at 384 values.
BLOCK = 16_384
# Lines that are sorted by length and embedded together: the interpreter allocates anew for each length.
EMBEDDED = 1024


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The lines of a text file that are not blank.

    Attributes:
        path: the file.
        lines: their numbers, from 1.
        texts: the lines without their ends.
        sha256: of the file.
    """

    path: Path
    lines: Sequence[int]
    texts: Sequence[str]
    sha256: str

    @classmethod
    def read(cls, path: str | Path) -> Corpus:
        """The corpus in a UTF-8 file; `InputError` if it cannot be read or holds no text."""
        try:
            content = Path(path).read_bytes()  # once: the digest is that of these lines
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        numbered = decoded_lines(io.BytesIO(content), str(path))
        rows = [(n, line.rstrip("\r\n")) for n, line in numbered if line.strip()]
        if not rows:
            raise InputError(f"{path}: no text in it: expected one text per line")
        digest = hashlib.sha256(content).hexdigest()
        return cls(Path(path), [n for n, _ in rows], [text for _, text in rows], digest)


@dataclasses.dataclass(frozen=True)
class VectorIndex:
    """A folder that holds the vectors of a corpus, as one model computes them.

    Args:
        folder: its place; beside the corpus it is called `NAME.index`.
        corpus: the texts.
        model_sha256: of the model's files.
    """

    folder: Path
    corpus: Corpus
    model_sha256: str

    @property
    def _key(self) -> dict[str, str | int]:
        """What the vectors depend on."""
        return {
            "model_sha256": self.model_sha256,
            "corpus_sha256": self.corpus.sha256,
            "vectors": len(self.corpus.texts),
        }

    def check(self) -> None:
        """`InputError` if the folder holds something else, which a new index would replace."""
        path = self.folder
        if path.is_dir() and not {file.name for file in path.iterdir()} <= {VECTORS, KEY}:
            raise InputError(
                f"{path}: the folder holds something else than an index: name a new one"
            )
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: a file: expected a folder for the index")

    def open(self) -> np.ndarray | None:
        """The vectors, float32 `[texts, hidden]`, of length 1, mapped; None if there are none of this model
        and corpus.
        """
        try:
            key = json.loads((self.folder / KEY).read_text(encoding="utf-8"))
            vectors = np.load(self.folder / VECTORS, mmap_mode="r")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, RecursionError) as error:
            log(f"{self.folder}: damaged ({type(error).__name__}): the index is made again")
            return None
        if key == self._key and len(vectors) == len(self.corpus.texts):
            return vectors
        log(f"{self.folder}: made for another model or corpus: the index is made again")
        return None

    def build(self, backend: Backend) -> np.ndarray:
        """Embeds the corpus with progress, and keeps the vectors; an earlier index is replaced at the end.

        Raises:
            InputError: the folder cannot be written.
        """
        texts, truncated = self.corpus.texts, 0
        results = backend.results(((text, None) for text in texts), EMBEDDED)
        with staged_directory(self.folder) as staged:
            with RowWriter(staged / VECTORS) as vectors:
                for _, result in track(results, "embedded line", len(texts)):
                    vectors.append(unit(result.embedding)[None])
                    truncated += truncated_tokens(result) > 0
            (staged / KEY).write_text(json.dumps(self._key) + "\n", encoding="utf-8")
        if truncated:
            warn(
                f"{truncated:,} lines are longer than the model's {backend.encoder.seq_length} tokens: their "
                "ends are not searched"
            )
        return np.load(self.folder / VECTORS, mmap_mode="r")


def nearest(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors nearest to each query by cosine, the nearest first; of equal ones the first first.

    Memory is that of `BLOCK` vectors, however many there are: `vectors` may be mapped.

    Args:
        vectors: of length 1, `[n, hidden]`.
        queries: of any length, `[queries, hidden]`.
        count: how many are wanted; fewer if there are no more.

    Returns:
        Their indices, int64, and their cosines, float32, `[queries, count]` each.
    """
    queries = unit(np.asarray(queries, np.float32))
    indices: np.ndarray = np.zeros((len(queries), 0), np.int64)
    cosines: np.ndarray = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = queries @ vectors[start : start + BLOCK].T
        numbers = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        cosines = np.concatenate([cosines, block], axis=1)
        indices = np.concatenate([indices, numbers], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        cosines = np.take_along_axis(cosines, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
    return indices, np.clip(cosines, -1, 1)  # a float32 dot product of equal units may be 1 + 1e-7
