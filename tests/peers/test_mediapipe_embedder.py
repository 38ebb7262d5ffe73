"""The real MediaPipe TextEmbedder opens packages of embedders and gives the runner's vectors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.models import VOCABULARY, documents, randomize, tiny_config
from fixtures.paths import GOLDEN, REPOSITORY
from fixtures.tiers import tiered

import sqb_tf
import sqb_tflite
from sqb_tf.model import heads
from sqb_tf.text.tokenizer import WordPieceTokenizer

PYTHON = Path(os.environ.get("SQB_MEDIAPIPE_PYTHON", REPOSITORY / ".venv-mediapipe/bin/python"))
EMBED = REPOSITORY / "tests" / "peers" / "mediapipe" / "embed.py"
TEXTS = ["the film was good", "not a bad end!", "plot, end. " * 60, "x"]

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason=f"{PYTHON} is missing: `make test` makes MediaPipe's environment",
    ),
]


def mediapipe_vectors(package: bytes, texts: list[str], folder: Path) -> np.ndarray:
    """MediaPipe's vector of each text."""
    (folder / "model.tflite").write_bytes(package)
    (folder / "texts.txt").write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
    command = [PYTHON, EMBED, folder / "model.tflite", folder / "texts.txt", folder / "vectors.npy"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return np.load(folder / "vectors.npy")


def tiny_embedder(pooling: str, normalize: bool, folder: Path):
    model = heads.SqueezeBertEmbedder(tiny_config(), pooling, normalize)
    randomize(model)
    tokenizer = WordPieceTokenizer(VOCABULARY)
    samples = documents(20).split("\n\n")[:16]
    sqb_tf.save(
        model,
        folder,
        tokenizer=tokenizer,
        seq_length=32,
        calibration=[s.split("\n")[0] for s in samples],
    )
    return sqb_tf.load(folder)


@pytest.mark.parametrize("recipe", tiered(["float32", "int8", "int4"], ["int8"]))
@pytest.mark.parametrize("lengths", tiered([None, [32]], [None]), ids=str)
@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("first", False)])
def test_its_vectors_are_the_runners(pooling, normalize, lengths, recipe, tmp_path):
    model = tiny_embedder(pooling, normalize, tmp_path / "bundle")
    package = sqb_tflite.convert(model, recipe, lengths)
    expected = np.stack(sqb_tflite.Runner(package).embed(TEXTS))
    actual = mediapipe_vectors(package, TEXTS, tmp_path)
    # Both run the same operations: what differs is at most how many threads add them up.
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())
    lengths_of_vectors = np.linalg.norm(actual, axis=1)
    assert np.allclose(lengths_of_vectors, 1, atol=1e-5) == normalize


def test_its_vectors_are_sentence_transformers(tmp_path):
    """From a folder of sentence-transformers to MediaPipe, with the vectors that it computed."""
    source = GOLDEN / "sentence_transformers" / "1"
    package = sqb_tflite.convert(sqb_tf.load(source), "float32")
    texts = ["w1", "w2 w3 w1, w9", "w5 " * 40]  # MediaPipe does not strip the fourth one's accents
    expected = np.load(source / "vectors.npy")[:3]
    actual = mediapipe_vectors(package, texts, tmp_path)
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


def test_its_vectors_are_those_of_an_embedder_that_was_trained_on_pairs(tmp_path):
    """From pairs of texts to MediaPipe: the package takes single texts."""
    rows = [
        f"{text}\tthe {text} was seen" for text in ("plot", "good film", "bad end", "not a film")
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(["text\tpair", *rows * 8]) + "\n")
    flags = ["--task", "retrieval", "--pair-column", "pair", "--data", tmp_path, "--epochs", 1]
    flags += ["--preset", "squeezebert-tiny", "--vocab-size", 300, "--seq-length", 32]
    assert call("finetune", *flags, "--output", tmp_path / "bundle") == 0
    package = sqb_tflite.convert(tmp_path / "bundle", "int8")
    expected = sqb_tflite.Runner(package).embed(TEXTS)
    actual = mediapipe_vectors(package, TEXTS, tmp_path)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
