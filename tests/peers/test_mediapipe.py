"""The real MediaPipe TextClassifier, in its own environment, opens the packages and gives the same labels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from fixtures.app_code import normalize_in_node
from fixtures.models import random_texts
from fixtures.paths import REPOSITORY

import sqb_tf
import sqb_tflite
from sqb_tf.data.task import DEMO, Task
from sqb_tf.training.demo import finetune_demo
from sqb_tf.training.finetune import finetune
from sqb_tf.training.options import FinetuneOptions
from sqb_tflite.conversion.recipes import Recipe
from sqb_tflite.verification.bundle_backend import BundleBackend

ROOT = REPOSITORY
PYTHON = Path(os.environ.get("SQB_MEDIAPIPE_PYTHON", ROOT / ".venv-mediapipe/bin/python"))
CLASSIFY = ROOT / "tests" / "peers" / "mediapipe" / "classify.py"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason=f"{PYTHON} is missing: `make test` makes MediaPipe's environment",
    ),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's model, fine-tuned as `tools/convert.py` does if there is none."""
    directory = tmp_path_factory.mktemp("demo") / "bundle"
    metrics = finetune_demo(directory)
    # The accuracy of a bag of words (benchmarks/bag_of_words.py): below it, word order is not learned.
    assert metrics["metric"]["value"] > 0.847
    return sqb_tf.load(directory)


def normalized(text: str) -> str:
    """Normalized as apps must: MediaPipe lowercases ASCII only and strips no accents."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in folded if unicodedata.category(c) != "Mn")


def mediapipe_results(package: bytes, texts: list[str], folder: Path) -> list[dict]:
    """MediaPipe's top label of each text, and the score of every label."""
    (folder / "model.tflite").write_bytes(package)
    (folder / "texts.txt").write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
    subprocess.run(
        [PYTHON, CLASSIFY, "--package", folder / "model.tflite"]
        + ["--input", folder / "texts.txt", "--json", folder / "out.json"],
        check=True,
        capture_output=True,
        timeout=600,
    )
    return json.loads((folder / "out.json").read_text(encoding="utf-8"))["results"]


def mediapipe_labels(package: bytes, texts: list[str], folder: Path) -> list[str]:
    """MediaPipe's top label of each text."""
    return [result["label"] for result in mediapipe_results(package, texts, folder)]


def assert_agreement(model, package: bytes, texts: list[str], folder: Path) -> None:
    """MediaPipe's labels are the runner's on every text, and Keras' wherever Keras has a clear winner.

    int8 changes a probability by up to 0.04 (the largest error that verification reports), so two labels
    that are closer than twice that may swap; the recipe's bound limits how often.
    """
    labels = mediapipe_labels(package, [normalized(text) for text in texts], folder)
    assert labels == [result.label for result in sqb_tflite.Runner(package).classify(texts)]
    backend = BundleBackend(model)
    requests = backend.requests([(text, None) for text in texts])
    outputs = [output["probabilities"] for output in backend.run(requests)]
    expected = [model.labels[int(scores.argmax())] for scores in outputs]
    same = [label == keras for label, keras in zip(labels, expected, strict=True)]
    assert np.mean(same) >= Recipe.INT8.bounds.agreement
    for text, scores, label in zip(texts, outputs, labels, strict=True):
        assert scores.max() - scores[model.labels.index(label)] < 0.08, text


@pytest.mark.parametrize("lengths", [(), (32,)], ids=["dynamic", "fixed"])
def test_agrees_on_the_clear_decisions_of_a_tiny_model(lengths, bundle_dir, converted, tmp_path):
    model = sqb_tf.load(bundle_dir)
    texts = [example.text for example in model.info.sample("verification")]
    assert_agreement(model, converted("int8", *lengths), texts, tmp_path)


@pytest.mark.parametrize("lengths", [(), (32,)], ids=["dynamic", "fixed"])
def test_its_labels_are_the_runners_on_the_demos_sentences(lengths, converted, tmp_path):
    """Real punctuation, capitals and words that are not in the vocabulary."""
    texts = [example.text for example in Task("classification", DEMO).split("dev")]
    content = converted("int8", *lengths)
    labels = mediapipe_labels(content, [normalized(text) for text in texts], tmp_path)
    assert labels == [result.label for result in sqb_tflite.Runner(content).classify(texts)]
    assert len(set(labels)) > 1


@pytest.mark.parametrize("language", ["german", "spanish"])
def test_texts_of_other_languages_as_the_app_normalizes_them(
    language, converted, shared_data, tmp_path
):
    """By the JavaScript of docs/apps.md, with umlauts, eszett, accents and inverted question marks."""
    if language == "german":
        path = shared_data / "german" / "germeval2018" / "dev.tsv"
        texts = [row.split("\t")[0] for row in path.read_text(encoding="utf-8").splitlines()[1:]]
    else:
        articles = json.loads((shared_data / "squad" / "xquad.es.json").read_text())["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        texts = [qa["question"] for paragraph in paragraphs for qa in paragraph["qas"]]
    texts = [text for text in texts[:300] if not text.isascii() and "\n" not in text]
    content = converted("int8")
    labels = mediapipe_labels(content, normalize_in_node(texts, tmp_path), tmp_path)
    expected = [result.label for result in sqb_tflite.Runner(content).classify(texts)]
    assert labels == expected and len(texts) > 100 and len(set(labels)) > 1


def test_it_gives_every_score_of_a_multi_label_model(head_package, tmp_path):
    """They are sigmoids, which do not add up to 1; the app compares them with the thresholds."""
    content, texts = head_package("multi_label", "int8"), ["a very good film", "the end is bad"]
    results = mediapipe_results(content, texts, tmp_path)
    for actual, expected in zip(results, sqb_tflite.Runner(content).classify(texts), strict=True):
        assert actual["scores"] == pytest.approx(expected.scores, abs=1e-6)
        assert abs(sum(actual["scores"].values()) - 1) > 0.01


@pytest.mark.parametrize(
    ("head", "setting"), [("classification", "abstain_below"), ("multi_label", "thresholds")]
)
def test_it_gives_no_label_below_the_threshold(head, setting, head_model, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(head_model(head).info.directory, folder)
    texts = random_texts(40, seed=3)
    scores = [
        list(result.scores.values())
        for _, result in BundleBackend(folder).stream((text, None) for text in texts)
    ]
    lowest = float(np.median(np.max(scores, axis=1)))
    task = json.loads((folder / "task.json").read_text())
    (folder / "task.json").write_text(json.dumps({**task, "settings": {setting: lowest}}))
    content = sqb_tflite.convert(folder, "float32")
    results = mediapipe_results(content, texts, tmp_path)
    for actual, expected in zip(results, sqb_tflite.Runner(content).classify(texts), strict=True):
        above = {label: score for label, score in expected.scores.items() if score >= lowest}
        assert actual["scores"] == pytest.approx(above, abs=1e-6)
    assert 10 < sum(result["label"] is None for result in results) < 30


@pytest.mark.slow
@pytest.mark.parametrize("seq_lengths", [None, [32]], ids=["dynamic", "fixed"])
def test_agrees_on_every_dev_sentence_of_the_demo(demo, seq_lengths, tmp_path):
    texts = [example.text for example in Task("classification", DEMO).split("dev")]
    assert_agreement(demo, sqb_tflite.convert(demo, "int8", seq_lengths), texts, tmp_path)


@pytest.mark.slow
def test_agrees_on_200_sentences_of_sst2(shared_data, tmp_path):
    data = shared_data / "glue" / "SST-2"
    options = FinetuneOptions(
        preset="squeezebert-tiny", epochs=2, learning_rate=1e-3, seq_length=64
    )
    finetune(Task("sst2", data, limit=10_000), tmp_path / "bundle", options)
    model = sqb_tf.load(tmp_path / "bundle")
    texts = [example.text for example in Task("sst2", data, limit=200).split("dev")]
    assert_agreement(model, sqb_tflite.convert(model, "int8"), texts, tmp_path)


def test_a_text_beyond_the_length_limit_is_truncated(converted, tmp_path):
    texts = ["wake me up at six " * 300, "wake me up at six"]
    assert len(mediapipe_labels(converted("int8"), texts, tmp_path)) == 2
