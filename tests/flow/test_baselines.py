"""Baselines: Model Garden's encoders as packages."""

import json

import numpy as np
import pytest
from fixtures.commands import call, rejects
from fixtures.models import tiny_bert

from sqb_tflite.bench import baselines
from sqb_tflite.bench.baselines import Baseline
from sqb_tflite.runtime.runner import Runner


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(baselines, "BASELINES", {"bert-base": tiny_bert})
    monkeypatch.setattr(baselines, "_VOCAB_SIZE", 50)


@pytest.mark.slow
def test_packages_run_and_are_converted_once(tiny, tmp_path, vocabulary):
    requested = [Baseline("bert-base", "float32", 16), Baseline("bert-base", "dynamic", None)]
    paths = baselines.convert_baselines(requested, tmp_path, vocabulary, True)
    assert [path.name for path in paths] == [
        "bert-base-float32-16.tflite",
        "bert-base-dynamic-any.tflite",
    ]
    fixed, dynamic = (Runner(path) for path in paths)
    for runner, length in ((fixed, 16), (dynamic, 7)):
        for inputs in runner.inputs([("a film", None)]):
            probabilities = runner(inputs)["probabilities"]
            assert np.isclose(probabilities.sum(), 1, atol=1e-5)
        assert runner.signature_for(length).seq_length in (16, None)
    before = [path.stat().st_mtime_ns for path in paths]
    assert baselines.convert_baselines(requested, tmp_path, vocabulary, True) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before
    # Another tokenizer gives another package.
    assert (
        baselines.convert_baselines(requested[:1], tmp_path, [*vocabulary, "more"], True)
        != paths[:1]
    )


def test_flag_measures_them_too(tiny, converted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.tflite").write_bytes(converted("float32"))
    flags = ["--package", "ours.tflite", "--baselines", "bert-base", "--lengths", "8,16"]
    assert call("benchmark", *flags, "--runs", 2, "--json", "out.json") == 0
    records = json.loads((tmp_path / "out.json").read_text())["records"]
    measured = {(r["package"].rpartition("/")[2], r["seq_length"], r["recipe"]) for r in records}
    for recipe in ("float32", "dynamic"):
        for length in (8, 16):
            assert (f"bert-base-{recipe}-16.tflite", length, recipe) in measured


def test_unknown_name_is_an_error(tmp_path):
    rejects(
        "--baselines bert-large: expected some of bert-base, mobilebert",
        *["benchmark", "--package", "x.tflite", "--baselines", "bert-large"],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "megabytes"), [("bert-base", (105, 115)), ("mobilebert", (24, 28))]
)
def test_published_sizes(name, megabytes, tmp_path, vocabulary):
    """With int8 weights, for 110 and 25 million parameters."""
    (path,) = baselines.convert_baselines(
        [Baseline(name, "dynamic", 128)], tmp_path, vocabulary, True
    )
    assert megabytes[0] < path.stat().st_size / 1e6 < megabytes[1]
    operations = Runner(path).operations()
    assert ("FULLY_CONNECTED", True) in operations and ("FULLY_CONNECTED", False) not in operations
