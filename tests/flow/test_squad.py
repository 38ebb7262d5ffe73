"""Question answering: SQuAD's files, metrics, and training to package."""

import json
import random
import re

import numpy as np
import pytest
from fixtures.commands import call, rejects
from fixtures.models import (
    GOOD,
    VOCABULARY,
    randomize,
    right_answers,
    tiny_config,
)
from fixtures.tiers import tiered

import sqb_tflite
from sqb_tf.checkpoint.bundle import BundleContents, TaskInfo
from sqb_tf.checkpoint.bundle import write as write_bundle
from sqb_tf.data.squad import SquadFile
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.metrics import answer_f1, exact_match
from sqb_tf.model import heads

NAMES, CITIES = ["ann", "bob", "eve", "kim"], ["rome", "oslo", "lima"]


def paragraph(rng: random.Random, with_impossible: bool) -> tuple[str, list[dict]]:
    """Who was where, with questions about one of the names."""
    name, city = rng.choice(NAMES), rng.choice(CITIES)
    words = rng.choices(["the", "film", "was", "good", "bad"], k=rng.randint(0, 12))
    context = " ".join([*words[:6], f"{name.title()} was  in {city.title()}.", *words[6:]])
    asked = {"who was there?": name.title(), "where was it?": city.title()}
    questions = [
        {"question": q, "answers": [{"text": a, "answer_start": context.index(a)}] * 2}
        for q, a in asked.items()
    ]
    if with_impossible:
        questions[1:] = [{"question": "when?", "answers": [], "is_impossible": True}]
    return context, questions


def squad(seed: int, count: int, with_impossible: bool = False) -> dict:
    """A file of SQuAD with `count` paragraphs of two questions."""
    rng, paragraphs = random.Random(seed), []
    for number in range(count):
        context, questions = paragraph(rng, with_impossible)
        qas = [{**q, "id": f"{seed}-{number}-{i}"} for i, q in enumerate(questions)]
        paragraphs.append({"context": context, "qas": qas})
    return {"version": "1.1", "data": [{"title": "", "paragraphs": paragraphs}]}


def write(path, content: dict):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of both versions."""
    folder = tmp_path_factory.mktemp("squad")
    for name, version in (("squad", "v1.1"), ("squad2", "v2.0")):
        (folder / name).mkdir()
        for seed, (split, count) in enumerate({"train": 250, "dev": 30}.items()):
            content = squad(seed, count, with_impossible=name == "squad2")
            write(folder / name / f"{split}-{version}.json", content)
    return folder


@pytest.fixture(scope="module")
def tuned(data, tmp_path_factory):
    """`tuned(task)`: the bundle fine-tuned on a version of SQuAD, trained once."""
    bundles = {}

    def finetune(task: str):
        if task not in bundles:
            bundles[task] = tmp_path_factory.mktemp("tuned") / task
            flags = ["--data", data / task, "--task", task, "--preset", "squeezebert-tiny"]
            flags += ["--epochs", 6, "--batch-size", 16, "--seq-length", 20, "--doc-stride", 6]
            flags += ["--vocab-size", 120, "--dropout", 0, "--output", bundles[task]]
            assert call("finetune", *flags) == 0
        return bundles[task]

    return finetune


# --- Metrics -------------------------------------------------------------------------------------


def test_metrics_by_hand():
    references = [["the Film, 1984", "a film"], ["rome"], [], []]
    predicted = ["film 1984", "in rome", "", "rome"]
    assert exact_match(predicted, references) == 0.5
    assert answer_f1(predicted, references) == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)


@pytest.mark.slow
def test_metrics_are_the_official_ones(squad_dev, shared_data):
    """On predictions that are right, truncated, extended, unrelated, in another case, empty."""
    from official.nlp.tools import squad_evaluate_v1_1, squad_evaluate_v2_0

    rng, predictions = random.Random(0), {}
    for example in squad_dev:
        start, text = rng.choice(right_answers(example))
        changes = [text, text[3:], example.pair[max(0, start - 9) : start + len(text) + 4]]
        changes += [f"The {text.upper()}!", rng.choice(squad_dev).text, ""]
        predictions[example.id] = rng.choice(changes)
    dataset = json.loads((shared_data / "squad" / "dev-v1.1.json").read_text())["data"]
    references = registry.get("span")().references(squad_dev)
    predicted = [predictions[e.id] for e in squad_dev]
    ours = 100 * exact_match(predicted, references), 100 * answer_f1(predicted, references)
    official = squad_evaluate_v1_1.evaluate(dataset, predictions)
    assert 20 < ours[0] < ours[1] < 80
    assert ours == pytest.approx((100 * official["exact_match"], 100 * official["final_f1"]))
    # 2.0: every third paragraph's questions have no answer.
    impossible = {p["context"] for a in dataset for p in a["paragraphs"][::3]}
    for article in dataset:
        for part in article["paragraphs"][::3]:
            for question in part["qas"]:
                question["answers"] = []
    references = [
        [] if e.pair in impossible else g for e, g in zip(squad_dev, references, strict=True)
    ]
    official = squad_evaluate_v2_0.evaluate(dataset, predictions)
    ours = 100 * exact_match(predicted, references), 100 * answer_f1(predicted, references)
    assert ours == pytest.approx((official["exact"], official["f1"]))


# --- Files ---------------------------------------------------------------------------------------


def test_real_file_has_its_published_sizes(squad_dev):
    assert len(squad_dev) == 10_570 and len({e.pair for e in squad_dev}) == 2067
    assert squad_dev[0].text == "Which NFL team represented the AFC at Super Bowl 50?"
    assert right_answers(squad_dev[0])[0] == (177, "Denver Broncos")


def test_single_file_holds_out_whole_paragraphs(shared_data):
    task = Task("squad", shared_data / "squad" / "dev-v1.1.json")
    train, dev = (list(task.split(which)) for which in ("train", "dev"))
    assert len(train) + len(dev) == 10_570 and 0.07 < len(dev) / 10_570 < 0.13
    assert not {e.pair for e in train} & {e.pair for e in dev}


def test_splits_are_found_by_name(data, tmp_path):
    assert Task("squad", data / "squad").split("dev").name.endswith("dev-v1.1.json")
    write(tmp_path / "my-train.json", squad(0, 2))
    assert len(list(Task("squad", tmp_path).split("train"))) == 4
    with pytest.raises(InputError, match=r"expected dev-v1\.1\.json, or one file with dev in its"):
        Task("squad", tmp_path).split("dev")


def test_impossible_questions_have_no_answers(data):
    examples = list(Task("squad2", data / "squad2").split("dev"))
    assert {e.label for e in examples if e.text == "when?"} == {"[]"}
    with pytest.raises(InputError, match=r"question 1-0-1 has no answer: .* --task squad2"):
        list(SquadFile(data / "squad2" / "dev-v2.0.json"))


def spoiled(change) -> str:
    content = squad(0, 1)
    change(content["data"][0]["paragraphs"][0])
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a.json: not JSON: "),
        ("[]", "a.json: the file: data is missing: expected a list"),
        ('{"data": [{}]}', "a.json: article 1: paragraphs is missing"),
        (spoiled(lambda p: p.pop("context")), "article 1, paragraph 1: context is missing"),
        (spoiled(lambda p: p.update(context=" ")), "paragraph 1: context is empty"),
        (spoiled(lambda p: p.update(qas={})), "paragraph 1: qas is {}: expected a list"),
        (spoiled(lambda p: p["qas"][0].pop("id")), "paragraph 1, question 1: id is missing"),
        (spoiled(lambda p: p["qas"][1].update(id="0-0-0")), "question 0-0-0 appears twice"),
        (spoiled(lambda p: p["qas"][0].pop("question")), "question 0-0-0: question is missing"),
        (spoiled(lambda p: p["qas"][0].update(answers=[])), "question 0-0-0 has no answer"),
        (spoiled(lambda p: p["qas"][0].update(question="\ud83d?")), "holds half a character"),
        (
            spoiled(lambda p: p["qas"][0].update(answers=[{"text": "x", "answer_start": "0"}])),
            "question 0-0-0: answer_start is '0': expected a whole number",
        ),
        (
            spoiled(lambda p: p["qas"][0].update(answers=[{"text": "Zed", "answer_start": 4}])),
            "question 0-0-0: answer 'Zed' is not at answer_start 4: the context has '",
        ),
        (
            spoiled(lambda p: p["qas"][0].update(answers=[{"text": "Z", "answer_start": -1}])),
            "question 0-0-0: answer 'Z' is not at answer_start -1: the context has '' there",
        ),
    ],
)
def test_bad_files_are_named(content, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        list(SquadFile(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    path.write_bytes(b'{"data": "\xff"}')
    with pytest.raises(InputError, match=r"a\.json: not UTF-8 \(byte 11\)"):
        list(SquadFile(path))


# --- Training to package -------------------------------------------------------------------------


@pytest.mark.parametrize("task", tiered(["squad", "squad2"], ["squad"]))
def test_answers_are_learned_converted_and_verified(task, tuned, data, tmp_path, capsys):
    bundle = tuned(task)
    record = json.loads((bundle / "task.json").read_text())
    assert record["kind"] == "span" and record["paired"] is True
    assert record["settings"]["doc_stride"] == 6
    assert ("null_threshold" in record["settings"]) == (task == "squad2")
    reached = record["metric"]
    assert reached["name"] == "f1" and reached["value"] > 0.9

    package, result = tmp_path / "qa.tflite", tmp_path / "result.json"
    assert call("convert", "--model", bundle, "--quantize", "int8", "--output", package) == 0
    verification = json.loads(package.with_suffix(".json").read_text())["verification"]
    assert (
        set(verification["tensors"]) == {"start_logits", "end_logits"}
        and verification["examples"] == 60
    )
    assert verification["metric"]["name"] == "f1" and verification["metric"]["drop"] <= 1 / 60

    file = next((data / task).glob("dev-*.json"))
    for source in (["--model", bundle], ["--package", package]):
        out, nbest = tmp_path / "predictions.json", tmp_path / "nbest.json"
        flags = ["--data", data / task, "--task", task, "--json", result]
        flags += ["--predictions", out, "--nbest", nbest, "--n-best-size", 5]
        assert call("evaluate", *source, *flags) == 0
        metrics = json.loads(result.read_text())["metrics"]
        assert list(metrics) == ["f1", "exact_match"]
        assert metrics["f1"] == pytest.approx(reached["value"], abs=1 / 60)
        answers, lists = json.loads(out.read_text()), json.loads(nbest.read_text())
        content = json.loads(file.read_text())["data"]
        if task == "squad":
            from official.nlp.tools import squad_evaluate_v1_1 as official

            assert official.evaluate(content, answers)["final_f1"] == pytest.approx(metrics["f1"])
        else:
            from official.nlp.tools import squad_evaluate_v2_0 as official

            assert official.evaluate(content, answers)["f1"] / 100 == pytest.approx(metrics["f1"])
            assert "" in answers.values()
        paragraphs = {q["id"]: p for p in content[0]["paragraphs"] for q in p["qas"]}
        assert answers.keys() == lists.keys() == paragraphs.keys()
        for name, listed in lists.items():
            assert listed[0]["text"] == answers[name] and 1 <= len(listed) <= 6
            for answer in listed:
                context = paragraphs[name]["context"]
                assert context[answer["start"] : answer["end"]] == answer["text"]
    capsys.readouterr()


def test_predict_answers_questions(tuned, tmp_path, capsys):
    bundle, package = tuned("squad"), tmp_path / "qa.tflite"
    assert call("convert", "--model", bundle, "--output", package, "--seq-lengths", "16,20") == 0
    context = "The film was  bad.\nÉve, KIM was  in Oslo. Good!"
    (tmp_path / "context.txt").write_text(context)
    row = json.dumps({"question": "where was it?", "context": context})
    (tmp_path / "rows.jsonl").write_text(row + "\n")
    capsys.readouterr()
    rows = []
    for source in (["--model", bundle], ["--package", package]):
        flags = ["--context", tmp_path / "context.txt", "where was it?"]
        for source_flags in (flags, ["--input", tmp_path / "rows.jsonl"]):
            assert call("predict", *source, *source_flags, "--jsonl") == 0
            rows.append(json.loads(capsys.readouterr().out))
        assert call("predict", *source, *flags) == 0
        assert capsys.readouterr().out.split("\t")[0] == "Oslo"
    for row in rows:
        assert (row["text"], row["pair"]) == ("where was it?", context)
        assert row["answers"][0]["text"] == "Oslo"
        start, end = (row["answers"][0][key] for key in ("start", "end"))
        assert context[start:end] == "Oslo"
    answers = sqb_tflite.Runner(package).answer("where was it?", context)
    assert answers[0].text == "Oslo" and answers[0].score > answers[1].score > 0
    with pytest.raises(InputError, match="a package for span: expected one for multiple_choice"):
        sqb_tflite.Runner(package).choose("a", ["b", "c"])

    rejects(
        r"argument:1: not JSON: .*--context FILE",
        "predict",
        "--model",
        bundle,
        "--strict",
        "where?",
    )
    question = json.dumps({"question": "where?"})
    rejects("argument:1: no context", "predict", "--model", bundle, "--strict", question)


@pytest.mark.slow
def test_an_imported_model_is_verified_on_squad(data, tmp_path):
    """A question answering model of transformers, whose bundle records no task."""
    model = heads.build("span", tiny_config())
    randomize(model)
    info = TaskInfo("span", "span", True, 32, True, {}, "", "")
    write_bundle(tmp_path / "own", BundleContents(model, VOCABULARY, [], info))
    assert call("export_hf", "--model", tmp_path / "own", "--output", tmp_path / "hf") == 0
    bundle, package = tmp_path / "bundle", tmp_path / "qa.tflite"
    assert call("import_hf", "--source", tmp_path / "hf", "--output", bundle) == 0
    assert json.loads((bundle / "task.json").read_text())["paired"] is True
    flags = ["--model", bundle, "--quantize", "float32", "--output", package, "--limit", 6]
    assert call("convert", *flags, "--data", data / "squad", "--task", "squad") == 0
    verification = json.loads(package.with_suffix(".json").read_text())["verification"]
    assert (
        verification["metric"]["name"] == "f1"
        and verification["examples"] == 6
        and verification["agreement"] == 1
    )


def test_other_heads_refuse_options_of_question_answering(bundle_dir, tmp_path, data):
    context = tmp_path / "context.txt"
    context.write_text("a film")
    rejects(
        "--context is for question answering: the model is a classification",
        *("predict", "--model", bundle_dir, "--context", context, "a film"),
    )
    rejects(
        "max_answer_length: a classification has no such setting",
        *("predict", "--model", bundle_dir, "--max-answer-length", 3, "a film"),
    )
    (tmp_path / "dev.tsv").write_text(GOOD)
    evaluated = ["--model", bundle_dir, "--data", tmp_path, "--nbest", tmp_path / "n.json"]
    rejects("--nbest is for question answering, not for a classif", "evaluate", *evaluated)
    flags = ["--data", data / "squad", "--task", "squad", "--output", tmp_path / "out"]
    rejects(
        r"doc_stride 99: expected 1 to 15, .* a question of 14",
        *("finetune", *flags, "--seq-length", 32, "--doc-stride", 99),
    )
    rejects(
        "teacher: task squad cannot be learned from one: expected one for classification",
        *("distill", *flags, "--teacher", bundle_dir),
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_run_resumes_exactly(data, tmp_path, monkeypatch):
    """As for other heads, with windows as training units."""
    from sqb_tf.training.state import RunState

    flags = ["--data", data / "squad", "--task", "squad", "--preset", "squeezebert-tiny"]
    flags += ["--limit", 20, "--epochs", 2, "--batch-size", 8, "--seq-length", 16]
    flags += ["--vocab-size", 100, "--save-every", 1]
    assert call("finetune", *flags, "--output", tmp_path / "whole") == 0
    save, saves = RunState.save, []

    def interrupted(self):
        save(self)
        saves.append(1)
        if len(saves) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunState, "save", interrupted)
        call("finetune", *flags, "--output", tmp_path / "cut")
    assert call("finetune", *flags, "--output", tmp_path / "cut", "--resume") == 0
    whole, cut = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "cut")
    )
    assert (whole["metric"], whole["best_step"]) == (cut["metric"], cut["best_step"])
    import sqb_tf

    expected, actual = (sqb_tf.load(tmp_path / name).get_weights() for name in ("whole", "cut"))
    assert all(np.array_equal(a, b) for a, b in zip(expected, actual, strict=True))
