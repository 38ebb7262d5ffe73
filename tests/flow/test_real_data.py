"""By the commands of docs/making-it-better.md from real data to a package, and back to a page of its errors.

Small parts of each data set: that a checkpoint learns something of them is the point, not how much.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import call

from sqb_tflite.runtime.runner import Runner

MICRO = ("--init", "squeezebert-micro", "--trim-vocabulary", "auto", "--epochs", 2)


def rows_of(path: Path) -> tuple[str, list[str]]:
    """The header and the rows of a table."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    return header, rows


def write_table(path: Path, header: str, rows: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def part(source: Path, target: Path, **counts: int) -> Path:
    """A folder with the first rows of some splits, in an order that mixes the classes."""
    for split, count in counts.items():
        header, rows = rows_of(source / f"{split}.tsv")
        random.Random(0).shuffle(rows)
        write_table(target / f"{split}.tsv", header, rows[:count])
    return target


def make_package(folder: Path, data: Path, *flags: object) -> dict:
    """Fine-tunes and converts as the docs say; the run's metrics."""
    result = folder / "metrics.json"
    command = ["--data", data, *flags, "--output", folder / "model", "--json", result]
    assert call("finetune", *command) == 0
    package = folder / "model.tflite"
    convert = ["--model", folder / "model", "--quantize", "int8", "--output", package]
    assert call("convert", *convert, "--allow-loss") == 0  # a hundred examples prove no bound
    return json.loads(result.read_text(encoding="utf-8"))


def report(folder: Path, data: Path, *flags: object) -> tuple[dict, list[dict[str, str]]]:
    """Evaluates the package: the figures of its page, and its wrong decisions."""
    pages = folder / "report"
    flags = ("--package", folder / "model.tflite", "--data", data, *flags, "--report", pages)
    assert call("evaluate", *flags, "--against", folder / "model") == 0
    assert (pages / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with (pages / "errors.csv").open(newline="", encoding="utf-8") as file:
        errors = list(csv.DictReader(file))
    return json.loads((pages / "evaluation.json").read_text(encoding="utf-8")), errors


def test_intents_that_may_be_none_of_these(shared_data, tmp_path):
    source, folder = shared_data / "intents" / "clinc150", tmp_path / "data"
    classes = sorted({row.split("\t")[1] for row in rows_of(source / "train.tsv")[1]} - {"oos"})[:8]
    for split, count in (("train", 40), ("dev", 20), ("test", 30)):
        header, rows = rows_of(source / f"{split}.tsv")
        chosen = [[row for row in rows if row.split("\t")[1] == name][:count] for name in classes]
        write_table(folder / f"{split}.tsv", header, list(itertools.chain(*chosen)))
    header, outside = rows_of(source / "oos-dev.tsv")
    nothing = write_table(tmp_path / "none.tsv", header, outside)
    page = tmp_path / "survey.html"
    assert call("survey", "--data", folder, "--page", page, "--json", tmp_path / "s.json") == 0
    surveyed = json.loads((tmp_path / "s.json").read_text())
    assert surveyed["splits"]["train"]["rows"] == 320 and "<!DOCTYPE html>" in page.read_text()
    choices = [
        "--epochs",
        5,
        "--metric",
        "macro_f1",
        "--class-weights",
        "balanced",
        "--patience",
        2,
    ]
    metrics = make_package(tmp_path, folder, *MICRO, *choices, "--abstain", nothing)
    assert metrics["metric"]["name"] == "macro_f1" and metrics["metric"]["value"] > 0.8
    evaluation, errors = report(tmp_path, folder, "--split", "test")
    assert set(evaluation["classes"]) == set(classes) and len(errors) < 60
    runner = Runner(tmp_path / "model.tflite")
    texts = [row.split("\t")[0] for row in rows_of(source / "oos-test.tsv")[1][:200]]
    refused = np.mean([result.label is None for result in runner.classify(texts)])
    assert refused > 0.5 > 1 - evaluation["abstention"]["answered"]


@pytest.mark.slow
def test_emotions_of_which_a_text_may_have_several(shared_data, tmp_path):
    source = shared_data / "multilabel" / "goemotions"
    data = part(source, tmp_path / "data", train=1200, dev=200)
    flags = ["--task", "multi_label", "--label-column", "labels"]
    metrics = make_package(tmp_path, data, *flags, *MICRO, "--seq-length", 32)
    assert metrics["metric"]["name"] == "micro_f1" and metrics["metric"]["value"] > 0.25
    evaluation, errors = report(tmp_path, data, *flags)
    assert {"micro_f1", "macro_f1", "subset_accuracy"} <= set(evaluation["metrics"]) and errors


@pytest.mark.slow
def test_whole_reviews_by_windows(shared_data, tmp_path):
    source = shared_data / "longdoc" / "polarity2"
    data = part(source, tmp_path / "data", train=80, dev=40)
    flags = ["--seq-length", 64, "--long-texts", "windows"]
    metrics = make_package(tmp_path, data, *MICRO, *flags)
    assert metrics["metric"]["value"] > 0.6
    evaluation, _ = report(tmp_path, data)
    assert evaluation["truncated"] == 0
    (text, _), *_ = [row.split("\t") for row in rows_of(data / "dev.tsv")[1]]
    runner = Runner(tmp_path / "model.tflite")
    assert len(runner.requests([(text, None)])) > 5 and runner.classify([text])[0].truncated == 0


@pytest.mark.slow
def test_entities_of_plain_text(shared_data, tmp_path, capsys):
    sentences = (
        (shared_data / "ner" / "wnut17train.conll").read_text(encoding="utf-8").split("\n\n")
    )
    data = tmp_path / "data.conll"
    data.write_text("\n\n".join(sentences[:900]) + "\n", encoding="utf-8")
    flags = ["--task", "conll", *MICRO, "--epochs", 4, "--seq-length", 64]
    metrics = make_package(tmp_path, data, *flags)
    assert metrics["metric"]["name"] == "entity_f1" and metrics["metric"]["value"] > 0.1
    evaluation, _ = report(tmp_path, data, "--task", "conll")
    assert "person" in evaluation["classes"]
    capsys.readouterr()
    text = "Why isn't  Bob Marley (London) in Jamaica?"
    assert call("predict", "--package", tmp_path / "model.tflite", "--jsonl", text) == 0
    entities = json.loads(capsys.readouterr().out)["entities"]
    assert entities and all(text[e["start"] : e["end"]] == e["text"] for e in entities)


@pytest.mark.slow
def test_sentences_that_say_the_same(shared_data, tmp_path, capsys):
    header, rows = rows_of(shared_data / "glue" / "MRPC" / "train.tsv")
    data = write_table(tmp_path / "data.tsv", header, rows[:400])
    columns = ["--task", "similarity", "--text-column", "#1 String", "--pair-column", "#2 String"]
    columns += ["--label-column", "Quality"]
    metrics = make_package(tmp_path, data, *columns, *MICRO, "--seq-length", 48)
    assert metrics["metric"]["name"] == "spearman"
    evaluation, _ = report(tmp_path, data, *columns)
    assert evaluation["metric"]["value"] > 0.2
    lines = [row.split("\t")[header.split("\t").index("#1 String")] for row in rows[:50]]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
    capsys.readouterr()
    search = [
        "--package",
        tmp_path / "model.tflite",
        "--corpus",
        corpus,
        "--json",
        tmp_path / "hits",
    ]
    assert call("search", *search, lines[7]) == 0
    vectors = tmp_path / "vectors.npy"
    command = ["--package", tmp_path / "model.tflite", "--input", corpus, "--output", vectors]
    assert call("predict", *command) == 0
    assert np.load(vectors).shape[0] == 50


@pytest.mark.slow
def test_german_with_a_vocabulary_of_its_own(shared_data, tmp_path):
    source = shared_data / "german" / "germeval2018"
    data = part(source, tmp_path / "data", train=1500, dev=300)
    flags = ["--preset", "squeezebert-tiny", "--vocab-size", 2000, "--epochs", 3]
    make_package(tmp_path, data, *flags)
    evaluation, errors = report(tmp_path, data)
    assert errors and set(evaluation["classes"]) == {"OFFENSE", "OTHER"}
    vocabulary = Runner(tmp_path / "model.tflite").package.vocabulary
    assert "und" in vocabulary and "nicht" in vocabulary


@pytest.mark.slow
@pytest.mark.parametrize("language", ["de", "es"])
def test_questions_in_another_language(shared_data, tmp_path, capsys, language):
    """XQuAD's paragraphs; answers are cut from the context, accents and capitals as they stand there."""
    content = json.loads((shared_data / "squad" / f"xquad.{language}.json").read_text("utf-8"))
    data = tmp_path / "data.json"
    content["data"] = content["data"][:16]
    data.write_text(json.dumps(content), encoding="utf-8")
    task = ["--task", "squad"]
    flags = ["--preset", "squeezebert-tiny", "--vocab-size", 4000, "--cased", "--epochs", 1]
    metrics = make_package(tmp_path, data, *task, *flags, "--seq-length", 128)
    assert metrics["metric"]["name"] == "f1"
    evaluation, errors = report(tmp_path, data, *task)
    assert errors and {"f1", "exact_match"} <= set(evaluation["metrics"])
    paragraph = content["data"][0]["paragraphs"][0]
    context = paragraph["context"].lstrip("\ufeff")  # a mark of files, which are read without it
    question = paragraph["qas"][0]["question"]
    file = tmp_path / "context.txt"
    file.write_text(context, encoding="utf-8")
    capsys.readouterr()
    ask = ["--package", tmp_path / "model.tflite", "--context", file, "--jsonl", question]
    assert call("predict", *ask) == 0
    answer = json.loads(capsys.readouterr().out)["answers"][0]
    assert answer["text"] and answer["text"] == context[answer["start"] : answer["end"]]
