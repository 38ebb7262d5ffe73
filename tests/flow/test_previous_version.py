"""Bundles and packages of the version before open, answer, verify and describe as they did then."""

import json
import tarfile

import numpy as np
import pytest
from fixtures.paths import GOLDEN

import sqb_tf
import sqb_tflite
from sqb_tflite.runtime.describe import describe
from sqb_tflite.verification.bundle_backend import BundleBackend
from sqb_tflite.verification.verify import verify

PREVIOUS = GOLDEN / "previous"
EXPECTED = json.loads((PREVIOUS / "expected.json").read_text())
# Float32 on another CPU; int8, where a value at the edge of two steps may take the other.
FLOAT, INT8 = 1e-4, 0.02
each_head = pytest.mark.parametrize("head", EXPECTED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("previous")
    with tarfile.open(PREVIOUS / "previous.tar.xz") as archive:
        archive.extractall(path, filter="data")
    return path


@each_head
def test_bundle_answers_as_it_did(head, folder):
    model, expected = sqb_tf.load(folder / head), EXPECTED[head]
    texts, pairs = zip(*expected["rows"], strict=True)
    inputs = model.preprocessor(texts, None if pairs[0] is None else pairs)
    outputs = BundleBackend(model).batch_outputs(inputs)
    assert set(outputs) == set(expected["outputs"])
    for name, values in outputs.items():
        np.testing.assert_allclose(values, expected["outputs"][name], atol=FLOAT)


@each_head
def test_package_answers_as_it_did(head, folder):
    runner, expected = sqb_tflite.Runner(folder / f"{head}.tflite"), EXPECTED[head]
    if head == "span":
        runner.head = runner.head.update_settings({"exact_tokens": True})  # as it was before
        for (question, context), answers in zip(expected["rows"], expected["results"], strict=True):
            scores = {(a.text, a.start, a.end): a.score for a in runner.answer(question, context)}
            for text, score, start, end in answers[:2]:
                assert scores[text, start, end] == pytest.approx(score, abs=INT8)
        return
    results = runner.classify([text for text, _ in expected["rows"]])
    for result, (_, scores) in zip(results, expected["results"], strict=True):
        assert result.label == max(result.scores, key=result.scores.get)
        assert result.scores == pytest.approx(scores, abs=INT8)


@each_head
def test_package_is_verified_as_it_was(head, folder):
    model, expected = sqb_tf.load(folder / head), EXPECTED[head]["verify"]
    report = verify(model, folder / f"{head}.tflite", model.info.sample("verification")).to_dict()
    assert set(expected) <= set(report)
    for name in ("examples", "size_bytes", "recipe"):
        assert report[name] == expected[name]
    assert report["metric"] == pytest.approx(expected["metric"], abs=INT8)
    assert report["agreement"] == pytest.approx(expected["agreement"], abs=INT8)
    assert report["sqnr_db"] == pytest.approx(expected["sqnr_db"], abs=2)
    assert bool(report["misses"]) == bool(expected["misses"])


@each_head
def test_package_is_described_as_it_was(head, folder):
    described = json.loads(json.dumps(describe(folder / f"{head}.tflite")))
    expected = EXPECTED[head]["describe"]
    for name in set(expected) - {"package", "operations", "model_explorer"}:
        assert described[name] == expected[name], name
    assert set(described) >= set(expected)
    # Which operations XNNPACK takes depends on the CPU; which there are does not.
    counts = [
        {name: sum(count.values()) for name, count in description["operations"].items()}
        for description in (described, expected)
    ]
    assert counts[0] == counts[1]
