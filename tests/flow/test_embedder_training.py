"""Embedders learn from pairs of texts, and go the way of every bundle: resumed, evaluated, converted."""

import json
import random
import re

import numpy as np
import pytest
from fixtures.commands import call, listing, rejects
from fixtures.runs import assert_same_weights, metrics, stop_after

import sqb_tflite
from sqb_tf.checkpoint import bundle
from sqb_tf.heads.metrics import spearman
from sqb_tf.model import heads
from sqb_tflite.verification.bundle_backend import BundleBackend

# 24 things with two names each, in groups of four; a pair's score is 5 for one thing, 2 for one group.
THINGS = 24
FRAMES = ("the {} is here", "i saw a {} today", "where is my {}", "a {} for you")
TINY = ["--preset", "squeezebert-tiny", "--vocab-size", 300, "--seq-length", 16, "--dropout", 0]
PAIRS = ["--text-column", "a", "--pair-column", "b"]


def sentence(rng: random.Random, thing: int, name: int) -> str:
    word = "".join("bcdfghjklmnp"[(thing * 7 + name * 5 + i * (thing + 3)) % 12] for i in range(3))
    return rng.choice(FRAMES).format(f"{word}{'aeiou'[thing % 5]}{'xy'[name]}")


def scored(rng: random.Random) -> str:
    first = rng.randrange(THINGS)
    second = rng.choice([first, first ^ rng.randrange(4), rng.randrange(THINGS)])
    score = 5 if first == second else 2 if first // 4 == second // 4 else 0
    return f"{sentence(rng, first, 0)}\t{sentence(rng, second, 1)}\t{score}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of scored pairs, and of pairs that belong together."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(0)
    for name in ("scored", "pairs"):
        (folder / name).mkdir()
    for split, count in (("train", 600), ("dev", 96)):
        rows = ["a\tb\tscore", *(scored(rng) for _ in range(count))]
        (folder / "scored" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
        things = [i % THINGS for i in range(count if split == "train" else THINGS)]
        rows = ["a\tb", *(f"{sentence(rng, t, 0)}\t{sentence(rng, t, 1)}" for t in things)]
        (folder / "pairs" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def similarity(data, tmp_path_factory):
    """The flags of scored pairs, and the bundle of a run on them."""
    folder = tmp_path_factory.mktemp("similarity")
    flags = ["--task", "similarity", "--data", data / "scored", *PAIRS, "--label-column", "score"]
    training = [*flags, *TINY, "--epochs", 6, "--test", "10%"]
    assert call("finetune", *training, "--output", folder / "out") == 0
    return flags, folder / "out"


@pytest.fixture(scope="module")
def retrieval(data, tmp_path_factory):
    """The flags of pairs without labels, and the bundle of a run on them."""
    folder = tmp_path_factory.mktemp("retrieval")
    flags = ["--task", "retrieval", "--data", data / "pairs", *PAIRS]
    training = [*flags, *TINY, "--epochs", 8, "--batch-size", 32]
    assert call("finetune", *training, "--output", folder / "out") == 0
    return flags, folder / "out"


def test_cosines_follow_the_scores(similarity):
    _, folder = similarity
    record = metrics(folder)
    assert record["metric"]["name"] == "spearman" and record["metric"]["value"] > 0.7
    assert record["test"]["metrics"]["spearman"] > 0.5
    info = bundle.read_info(folder)
    assert (info.task.task, info.task.kind, info.task.paired, info.labels) == (
        *("similarity", "embedding", False),
        [],
    )
    assert info.task.settings == {"score_range": [0, 5], "pooling": "mean", "normalize": True}
    for name in ("calibration", "verification"):
        texts = [example.text for example in info.sample(name)]
        assert len(set(texts)) == len(texts) > 50
        assert {*json.loads((folder / f"{name}.jsonl").read_text().split("\n")[0])} == {"text"}


def test_each_text_finds_its_own_pair(retrieval, data, capsys):
    flags, folder = retrieval
    value = metrics(folder)["metric"]["value"]
    assert metrics(folder)["metric"]["name"] == "mean_reciprocal_rank" and value > 0.6
    assert call("evaluate", "--model", folder, *flags) == 0
    shown = dict(re.findall(r"(\w+) (\d\.\d{4}) ", capsys.readouterr().out))
    assert list(shown) == ["mean_reciprocal_rank", "accuracy_at_1"]
    assert float(shown["mean_reciprocal_rank"]) == pytest.approx(value, abs=1e-4)
    report = ["--model", folder, "--report", folder.parent / "report"]
    rejects("--report is for decisions on single examples", "evaluate", *flags, *report)
    assert listing(folder.parent) == ["out"]


def test_a_killed_run_resumes_to_the_same_weights(data, tmp_path, monkeypatch):
    flags = ["--task", "retrieval", "--data", data / "pairs", *PAIRS, *TINY, "--limit", 48]
    flags += ["--epochs", 2, "--save-every", 2, "--output"]
    assert call("finetune", *flags, tmp_path / "whole") == 0
    stop_after(monkeypatch, 3, "finetune", *flags, tmp_path / "resumed")
    assert call("finetune", *flags, tmp_path / "resumed", "--resume") == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "resumed")
    assert metrics(tmp_path / "whole")["metric"] == metrics(tmp_path / "resumed")["metric"]


def test_a_package_scores_as_the_bundle(similarity, tmp_path, capsys):
    flags, folder = similarity
    package = tmp_path / "embedder.tflite"
    assert call("convert", "--model", folder, "--quantize", "int8", "--output", package) == 0
    manifest = json.loads((tmp_path / "embedder.json").read_text())
    assert manifest["kind"] == "embedding" and manifest["verification"]["agreement"] > 0.9
    results = {}
    for kind, path in (("model", folder), ("package", package)):
        target = tmp_path / f"{kind}.json"
        report = ["--report", tmp_path / kind, "--json", target]
        assert call("evaluate", f"--{kind}", path, *flags, *report) == 0
        results[kind] = json.loads(target.read_text())["metrics"]
    assert results["package"]["spearman"] == pytest.approx(results["model"]["spearman"], abs=0.02)
    assert results["model"]["spearman"] == pytest.approx(metrics(folder)["metric"]["value"])
    assert "errors.csv" in listing(tmp_path / "package")
    both = ["--report", tmp_path / "both", "--json", tmp_path / "both.json"]
    assert call("evaluate", "--model", folder, *flags, *both, "--against", package) == 0
    assert json.loads((tmp_path / "both.json").read_text())["comparison"]["examples"] == len(
        (flags[3] / "dev.tsv").read_text().splitlines()[1:]
    )
    # The same, by hand, of single texts.
    rows = [line.split("\t") for line in (flags[3] / "dev.tsv").read_text().splitlines()[1:]]
    runner = sqb_tflite.Runner(package)
    first, second = (runner.embed([row[side] for row in rows]) for side in (0, 1))
    scores = np.array([float(row[2]) for row in rows])
    value = spearman((first * second).sum(axis=1), scores)
    assert results["package"]["spearman"] == pytest.approx(value, abs=1e-6)
    assert BundleBackend(folder).head.paired is False


def test_training_goes_on_from_an_embedder_with_its_own_pooling(data, similarity, tmp_path):
    _, folder = similarity
    info = bundle.read_info(folder)
    model = heads.build("embedding", info.config, 0, {"pooling": "first", "normalize": False})
    task = bundle.TaskInfo(
        "embedding", "embedding", settings={"pooling": "first", "normalize": False}
    )
    contents = bundle.BundleContents(model, info.vocabulary, [], task)
    bundle.write(tmp_path / "init", contents)
    flags = ["--task", "retrieval", "--data", data / "pairs", *PAIRS, "--init", tmp_path / "init"]
    flags += ["--seq-length", 16, "--epochs", 1, "--limit", 64, "--precision", "mixed_bfloat16"]
    flags += ["--trim-vocabulary", "250", "--output", tmp_path / "out"]
    assert call("finetune", *flags) == 0
    trained = bundle.load(tmp_path / "out")
    assert trained.info.task.settings == {"pooling": "first", "normalize": False}
    assert (trained.pooling, trained.normalize, len(trained.info.vocabulary)) == (
        "first",
        False,
        250,
    )
    vectors = [r.embedding for _, r in BundleBackend(trained).results([("the thing", None)])]
    assert not np.isclose(np.linalg.norm(vectors[0]), 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task", "retrieval", "--metric", "spearman"], "unknown metric 'spearman'"),
        (
            ["--task", "similarity", "--class-weights", "balanced"],
            "goes with examples of one class each",
        ),
        (["--task", "similarity"], "train.tsv: target 'many' is not a number"),
    ],
)
def test_mistakes_are_named(flags, message, tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("a\tb\tlabel\nx\ty\tmany\n")
    rejects(message, "finetune", "--data", tmp_path, *PAIRS, *flags, "--output", tmp_path / "out")


def test_a_teacher_is_refused(data, tmp_path):
    flags = ["--task", "retrieval", "--data", data / "pairs", *PAIRS, "--teacher", tmp_path]
    message = "teacher: task retrieval cannot be learned from one: expected one for classification"
    rejects(message, "distill", *flags, "--output", tmp_path / "out")


def test_a_model_that_learned_nothing_says_so(data, tmp_path, caplog):
    flags = ["--task", "similarity", "--data", data / "scored", *PAIRS, "--label-column", "score"]
    flags += [*TINY, "--epochs", 1, "--limit", 16, "--learning-rate", 1e-12, "--seed", 3]
    assert call("finetune", *flags, "--output", tmp_path / "out", "--patience", 1) == 0
    value = metrics(tmp_path / "out")["metric"]["value"]
    warned = "is no better than giving all pairs the same score (0.0000)" in caplog.text
    assert warned == (value <= 0)


def test_survey_counts_pairs_and_numbers(data, tmp_path, capsys):
    flags = ["--data", data / "scored", *PAIRS, "--label-column", "score", "--task", "similarity"]
    assert call("survey", *flags, "--json", tmp_path / "survey.json") == 0
    survey = json.loads((tmp_path / "survey.json").read_text())
    assert survey["splits"]["train"]["numbers"] == [0, 5]
    assert survey["tokens"]["percentiles"]["100"] < 20  # of one text, not of both
    assert "--pair-column b --label-column score" in survey["command"]
    flags = ["--data", data / "pairs", *PAIRS, "--task", "retrieval"]
    assert call("survey", *flags, "--json", tmp_path / "survey.json") == 0
    assert "--label-column" not in json.loads((tmp_path / "survey.json").read_text())["command"]
