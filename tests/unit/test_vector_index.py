"""Search by meaning: the nearest vectors, the index on disk, files of rows."""

import json
import shutil

import numpy as np
import pytest
from fixtures.commands import unchanged

from sqb_tf.errors import InputError
from sqb_tf.heads.embedding import Embedding
from sqb_tf.npy_file import RowWriter
from sqb_tflite.runtime import vector_index
from sqb_tflite.runtime.vector_index import Corpus, VectorIndex, nearest


class Counting:
    """An embedder whose vector of a text has its length and its first letter in it; counts texts."""

    def __init__(self) -> None:
        self.embedded = 0

    def results(self, rows, batch_size):
        for row in rows:
            self.embedded += 1
            yield row, Embedding(np.array([len(row[0]), ord(row[0][0]), 3], np.float32))


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\ufeffone line\n\n  \nanother, longer line\r\nthe third\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("block", [7, 100, 4096])
def test_nearest_is_that_of_a_full_sort(block, monkeypatch):
    monkeypatch.setattr(vector_index, "BLOCK", block)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[100] = vectors[3]  # the first of equals comes first
    queries = np.concatenate([rng.normal(size=(5, 8)), 4 * vectors[[3]]])
    indices, cosines = nearest(vectors, queries, 9)
    table = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ vectors.T
    assert indices.shape == cosines.shape == (6, 9)
    np.testing.assert_allclose(cosines, -np.sort(-table, axis=1)[:, :9], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(table, indices, 1), cosines, atol=1e-6)
    assert indices[5, :2].tolist() == [3, 100]
    assert nearest(vectors[:4], queries, 9)[0].shape == (6, 4)


@pytest.mark.parametrize("block", [7, 4096])
def test_of_equal_vectors_the_first_are_the_nearest(block, monkeypatch):
    """As with lines that occur again and again, more often than are asked for."""
    monkeypatch.setattr(vector_index, "BLOCK", block)
    vectors = np.eye(2, dtype=np.float32)[np.random.default_rng(0).integers(0, 2, 400)]
    indices, _ = nearest(vectors, np.array([[1.0, 0.0]]), 5)
    assert indices[0].tolist() == np.flatnonzero(vectors[:, 0])[:5].tolist()


def test_corpus_is_the_lines_that_are_not_blank(corpus):
    read = Corpus.read(corpus)
    assert read.lines == [1, 4, 5]
    assert read.texts == ["one line", "another, longer line", "the third"]
    corpus.write_text("\n \n")
    with pytest.raises(InputError, match=r"corpus.txt: no text in it: expected one text per line"):
        Corpus.read(corpus)


def test_an_index_is_made_once_and_anew_when_something_changes(corpus, tmp_path):
    embedder, folder = Counting(), tmp_path / "corpus.index"
    index = VectorIndex(folder, Corpus.read(corpus), "abc")
    assert index.open() is None
    vectors = index.build(embedder)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embedded == 3
    np.testing.assert_array_equal(VectorIndex(folder, Corpus.read(corpus), "abc").open(), vectors)
    assert VectorIndex(folder, index.corpus, "another").open() is None
    corpus.write_text("one line\n")
    changed = VectorIndex(folder, Corpus.read(corpus), "abc")
    assert changed.open() is None
    assert changed.build(embedder).shape == (1, 3) and changed.open().shape == (1, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["index.json", "vectors.npy"]


@pytest.mark.parametrize("file", ["index.json", "vectors.npy"])
def test_a_damaged_index_is_made_again(file, corpus, tmp_path):
    index = VectorIndex(tmp_path / "index", Corpus.read(corpus), "abc")
    index.build(Counting())
    content = (tmp_path / "index" / file).read_bytes()
    for damaged in (b"", content[:9], b"[1]"):
        (tmp_path / "index" / file).write_bytes(damaged)
        assert index.open() is None
    assert index.build(Counting()).shape == index.open().shape == (3, 3)


def test_an_index_replaces_nothing_else(corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    shutil.copytree(tmp_path / "mine", tmp_path / "site")
    (tmp_path / "site" / vector_index.KEY).write_text("{}")
    read = Corpus.read(corpus)
    with unchanged(tmp_path):
        with pytest.raises(InputError, match=r"site: the folder holds something else"):
            VectorIndex(tmp_path / "site", read, "abc").check()
        with pytest.raises(
            InputError, match=r"mine: the folder holds something else than an index"
        ):
            VectorIndex(tmp_path / "mine", read, "abc").check()
        with pytest.raises(
            InputError, match=r"corpus.txt: a file: expected a folder for the index"
        ):
            VectorIndex(corpus, read, "abc").check()
        VectorIndex(tmp_path / "new", read, "abc").check()


def test_an_interrupted_index_leaves_nothing(corpus, tmp_path):
    class Interrupted(Counting):
        def results(self, rows, batch_size):
            yield from list(super().results(rows, batch_size))[:2]
            raise KeyboardInterrupt

    with unchanged(tmp_path), pytest.raises(KeyboardInterrupt):
        VectorIndex(tmp_path / "index", Corpus.read(corpus), "abc").build(Interrupted())


@pytest.mark.parametrize("blocks", [[], [1], [3, 1, 4], [1] * 12_345])
def test_rows_are_those_of_numpys_own_file(blocks, tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 2, 3)).astype(np.float16) for n in blocks]
    with RowWriter(tmp_path / "rows.npy") as rows:
        for array in arrays:
            rows.append(array)
    expected = np.concatenate(arrays) if arrays else np.zeros((0, 0), np.float32)
    actual = np.load(tmp_path / "rows.npy", mmap_mode="r" if arrays else None)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(actual, expected)
    assert rows.shape == expected.shape


def test_key_names_what_the_vectors_depend_on(corpus, tmp_path):
    index = VectorIndex(tmp_path / "index", Corpus.read(corpus), "abc")
    index.build(Counting())
    key = json.loads((tmp_path / "index" / "index.json").read_text())
    assert key == {"model_sha256": "abc", "corpus_sha256": index.corpus.sha256, "vectors": 3}
