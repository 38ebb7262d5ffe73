"""An embedder is asked: vectors of texts from predict, the nearest lines from search, the FAQ example."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from fixtures.bundles import TEXTS
from fixtures.commands import ROOT, call, listing, rejects, unchanged

from sqb_tflite import Runner
from sqb_tflite.runtime.vector_index import VectorIndex


@pytest.fixture(scope="module")
def files(head_package, tmp_path_factory):
    """A folder with an embedder, a classifier and a corpus."""
    folder = tmp_path_factory.mktemp("asked")
    for head in ("embedding", "classification"):
        (folder / f"{head}.tflite").write_bytes(head_package(head, "float32"))
    (folder / "corpus.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def vectors(files) -> np.ndarray:
    return Runner(files / "embedding.tflite").embed(TEXTS)


def test_vectors_are_printed_exactly(files, vectors, capsys):
    flags = ["--package", files / "embedding.tflite", "--input", files / "corpus.txt"]
    assert call("predict", *flags, "--jsonl") == 0
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [line["text"] for line in lines] == TEXTS
    assert all(line.keys() == {"text", "embedding", "truncated"} for line in lines)
    printed = np.array([line["embedding"] for line in lines], np.float32)
    np.testing.assert_array_equal(printed, vectors)
    assert call("predict", *flags) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"32 values: {' '.join(f'{x:.4f}' for x in vectors[0, :3])} ...\t{TEXTS[0]}"


@pytest.mark.parametrize("kind", ["package", "model"])
def test_vectors_are_written_to_a_file(kind, files, vectors, head_model, tmp_path, capsys):
    path = {"package": files / "embedding.tflite", "model": head_model("embedding").info.directory}
    flags = [f"--{kind}", path[kind], "--input", files / "corpus.txt", "--batch-size", 7]
    assert (
        call("predict", *flags, "--output", tmp_path / "v.npy", "--json", tmp_path / "v.json") == 0
    )
    assert capsys.readouterr().out == f"{tmp_path}/v.npy: {len(TEXTS)} vectors of 32 values\n"
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), vectors, atol=1e-5)
    assert np.load(tmp_path / "v.npy").dtype == np.float32
    summary = json.loads((tmp_path / "v.json").read_text())
    assert summary == {"output": f"{tmp_path}/v.npy", "vectors": len(TEXTS), "size": 32}


def test_a_bad_line_leaves_no_file(files, tmp_path):
    (tmp_path / "texts.txt").write_text("good\n\nnext\n")
    flags = ["--package", files / "embedding.tflite", "--input", tmp_path / "texts.txt"]
    with unchanged(tmp_path):
        rejects("texts.txt:2: the text is empty", "predict", *flags, "--output", tmp_path / "v.npy")
        rejects("expected a name ending in .npy", "predict", *flags, "--output", tmp_path / "v.txt")
        rejects("--output or --jsonl, not both", "predict", *flags, "--jsonl", "--output", "v.npy")
        flags[1] = files / "classification.tflite"
        rejects("the model is a classification", "predict", *flags, "--output", tmp_path / "v.npy")


def lines_found(result: dict) -> list[list[int]]:
    """The numbers of the lines that each query has found."""
    return [[hit["line"] for hit in search["results"]] for search in result["searches"]]


def test_search_finds_the_nearest_lines(files, vectors, tmp_path, monkeypatch, capsys):
    flags = ["--package", files / "embedding.tflite", "--corpus", files / "corpus.txt"]
    flags += ["--index", tmp_path / "index", "--top-k", 4]
    target = tmp_path / "found.json"
    assert call("search", *flags, TEXTS[7], TEXTS[3], "--json", target) == 0
    found = json.loads(target.read_text())
    similarity = vectors[[7, 3]] @ vectors.T
    for search, query, row in zip(found["searches"], (TEXTS[7], TEXTS[3]), similarity):
        assert search["query"] == query
        scores = [hit["score"] for hit in search["results"]]
        np.testing.assert_allclose(scores, -np.sort(-row)[:4], atol=1e-6)
        for hit in search["results"]:
            assert hit["text"] == TEXTS[hit["line"] - 1]
            assert row[hit["line"] - 1] == pytest.approx(hit["score"], abs=1e-6)
    assert (found["vectors"], found["index"]) == (len(TEXTS), str(tmp_path / "index"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == TEXTS[7] and shown[5] == TEXTS[3] and len(shown) == 10
    assert shown[1].split()[0] == f"{found['searches'][0]['results'][0]['score']:.4f}"
    # The second time nothing but the query is embedded.
    monkeypatch.setattr(VectorIndex, "build", lambda *_: pytest.fail("embedded again"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{TEXTS[7]}\n".encode())))
    assert call("search", *flags, "--json", "-") == 0
    again = json.loads(capsys.readouterr().out)
    assert lines_found(again) == lines_found(found)[:1]
    (tmp_path / "queries.txt").write_text(f"{TEXTS[3]}\n")
    assert call("search", *flags, "--input", tmp_path / "queries.txt", "--json", target) == 0
    assert lines_found(json.loads(target.read_text())) == lines_found(found)[1:]


def test_search_embeds_anew_when_the_corpus_or_the_model_has_changed(files, head_model, tmp_path):
    corpus, bundle = tmp_path / "texts.txt", head_model("embedding").info.directory
    corpus.write_text("the film was good\na tree\n")
    flags = ["--package", files / "embedding.tflite", "--corpus", corpus, "a tree"]
    assert call("search", *flags) == 0
    assert listing(tmp_path) == ["texts.txt", "texts.txt.index"]
    before = (tmp_path / "texts.txt.index" / "index.json").read_text()
    corpus.write_text("a tree\n")
    assert call("search", *flags) == 0
    changed = (tmp_path / "texts.txt.index" / "index.json").read_text()
    assert changed != before
    assert call("search", "--model", bundle, *flags[2:]) == 0
    assert (tmp_path / "texts.txt.index" / "index.json").read_text() != changed


def test_search_names_mistakes(files, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    corpus = ["--corpus", files / "corpus.txt"]
    with unchanged(tmp_path):
        package = ["--package", files / "classification.tflite", "--index", tmp_path / "index"]
        rejects(r"for classification: expected an embedder", "search", *package, *corpus, "text")
        package[1] = files / "embedding.tflite"
        rejects(
            "empty.txt: no text in it", "search", *package, "--corpus", tmp_path / "empty.txt", "a"
        )
        rejects(
            "the folder holds something else",
            "search",
            *package[:2],
            *corpus,
            "--index",
            files,
            "a",
        )
        rejects("--top-k 0: expected at least 1", "search", *package, *corpus, "--top-k", 0, "a")
        rejects("not both", "search", *package, *corpus, "--input", "q.txt", "a")


def test_the_faq_example_answers(files):
    faq = (ROOT / "examples" / "faq.tsv").read_text(encoding="utf-8").splitlines()[1:]
    question, answer = faq[4].split("\t")
    command = [
        sys.executable,
        ROOT / "examples" / "faq_search.py",
        files / "embedding.tflite",
        question,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Whatever a model has learned, a question is nearest to itself.
    assert done.stdout.splitlines()[:2] == [f"1.00  {question}", f"      {answer}"]
    assert len(done.stdout.splitlines()) == 6
