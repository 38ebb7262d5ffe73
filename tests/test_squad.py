"""Question answering: SQuAD's files, offsets, windows, decoding, metrics, and the whole path."""

import json
import random
import re
import unicodedata

import numpy as np
import pytest
from commands import call, rejects
from helpers import LETTERS, VOCABULARY, random_texts, randomize, tiny_config

import tflite
from sqb_tf import heads
from sqb_tf.checkpoint.bundle import TaskInfo, save
from sqb_tf.errors import InputError
from sqb_tf.preprocessing import Preprocessor
from sqb_tf.tasks.delimited import Example
from sqb_tf.tasks.kinds import kind_of
from sqb_tf.tasks.metrics import answer_f1, exact_match
from sqb_tf.tasks.spans import (
    Answer,
    Answers,
    SpanSettings,
    Window,
    answer_places,
    best_answers,
    check_stride,
    windows,
)
from sqb_tf.tasks.squad import SquadFile
from sqb_tf.tasks.task import Task
from sqb_tf.tokenizer import WordPieceTokenizer, read_vocabulary

NAMES, CITIES = ["ann", "bob", "eve", "kim"], ["rome", "oslo", "lima"]
# Accents, both ways of writing them, CJK, emoji of several code points, ligatures, Hangul, controls.
ODD = (
    "Café  naïve\tre\u0301sume\u0301 İstanbul 東京is首都! 😀👩\u200d👩\u200d👧 ﬁn ǅ ß 한국 a\u00adz "
    "e\u0301\u0301. "
)


def paragraph(rng: random.Random, with_impossible: bool) -> tuple[str, list[dict]]:
    """Who was where, with questions after one of the names."""
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
    """A function that gives the bundle fine-tuned on a version, made once."""
    made = {}

    def finetune(task: str):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("tuned") / task
            flags = ["--data", data / task, "--task", task, "--preset", "squeezebert-tiny"]
            flags += ["--epochs", 6, "--batch-size", 16, "--seq-length", 20, "--doc-stride", 6]
            flags += ["--vocab-size", 120, "--dropout", 0, "--output", made[task]]
            assert call("finetune", *flags) == 0
        return made[task]

    return finetune


@pytest.fixture(scope="module")
def real(shared_data):
    """The examples of SQuAD's dev split."""
    return list(Task("squad", shared_data / "squad").split("dev"))


@pytest.fixture(scope="module")
def real_tokenizer(shared_data):
    return WordPieceTokenizer(read_vocabulary(shared_data / "vocab/bert-base-uncased-vocab.txt"))


def answers_of(example: Example) -> list[tuple[int, str]]:
    return [tuple(answer) for answer in json.loads(example.label)]


# --- Offsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowercase", [True, False])
def test_offsets_are_of_the_text_as_it_was(lowercase):
    """The slices spell the tokens, after the normalization that BERT does."""
    tokenizer = WordPieceTokenizer(VOCABULARY, lowercase)
    text = "The film\t was  É e\u0301d, not\u00adgood!?"
    ((ids, offsets),) = tokenizer.with_offsets([text])
    assert ids.tolist() == tokenizer([text]).to_list()[0]
    for token, (start, end) in zip(ids, offsets, strict=True):
        spelled = tokenizer.vocabulary[token].removeprefix("##")
        there = text[start:end].replace("\u00ad", "")
        if lowercase:
            there = unicodedata.normalize("NFD", there.lower()).replace("\u0301", "")
        assert spelled in (there, "[UNK]")


def test_odd_characters_are_in_one_piece():
    tokenizer = WordPieceTokenizer([*VOCABULARY, "東", "ᄒ", "##ᅡ", "##ᆫ"])
    texts = [ODD, "東x京", "한", "é" * 3, "", " \u200d "]
    for text, (ids, offsets) in zip(texts, tokenizer.with_offsets(texts), strict=True):
        assert len(ids) == len(offsets)
        assert (offsets[:, 0] < offsets[:, 1]).all() and (np.diff(offsets, axis=0) >= 0).all()
        pieces = {text[start:end] for start, end in offsets}
        assert not any(unicodedata.combining(piece[0]) for piece in pieces)
    ((_, offsets),) = tokenizer.with_offsets(["x 한"])
    assert offsets.tolist() == [[0, 1], [2, 3], [2, 3], [2, 3]]
    ((_, offsets),) = tokenizer.with_offsets(["a re\u0301! 😀b"])
    assert offsets.tolist() == [[0, 1], [2, 3], [3, 5], [5, 6], [7, 9]]


def test_real_answers_are_recoverable_from_offsets(real, real_tokenizer):
    """All but those that begin or end within a word that is one token."""
    tokens = {e.pair: None for e in real}
    for context, (_, offsets) in zip(
        tokens, real_tokenizer.with_offsets(list(tokens)), strict=True
    ):
        tokens[context] = offsets
    answers = within = 0
    for example in real:
        offsets = tokens[example.pair]
        for start, text in answers_of(example):
            answers += 1
            end = start + len(text)
            if start in offsets[:, 0] and end in offsets[:, 1]:
                continue
            within += 1
            ends = [(offsets[:, 0] < place) & (place < offsets[:, 1]) for place in (start, end)]
            covering = offsets[np.any(ends, axis=0)]
            assert len(covering), text
            assert all(re.fullmatch(r"\S\S+", example.pair[i:j]) for i, j in covering)
    assert (answers, within) == (34_726, 77)


# --- Windows -------------------------------------------------------------------------------------


def check_windows(preprocessor: Preprocessor, rows: list, stride: int) -> list[list[Window]]:
    """Windows hold every token of their contexts, in inputs of the right form."""
    found = windows(preprocessor, rows, stride)
    flat = [window for some in found for window in some]
    inputs = preprocessor([w.text for w in flat], [w.pair for w in flat])
    lengths = inputs["input_mask"].numpy().sum(-1)
    assert lengths.max() <= preprocessor.seq_length
    by_window = iter(zip(inputs["input_word_ids"].numpy(), lengths, strict=True))
    whole = preprocessor.tokenizer.with_offsets([context for _, context in rows])
    for some, (ids, offsets) in zip(found, whole, strict=True):
        places = {tuple(span): i for i, span in reversed(list(enumerate(offsets.tolist())))}
        end = 0
        for window in some:
            row, length = next(by_window)
            assert window.first + len(window.offsets) == length - 1
            begin = places[tuple(window.offsets[0])] if len(window.offsets) else 0
            assert begin <= end  # no gap
            end = begin + len(window.offsets)
            np.testing.assert_array_equal(window.offsets, offsets[begin:end])
            np.testing.assert_array_equal(row[window.first : length - 1], ids[begin:end])
        assert end == len(ids)
    return found


@pytest.mark.parametrize(("seq_length", "stride"), [(5, 1), (12, 3), (20, 6), (32, 15), (64, 128)])
def test_windows_hold_all_of_the_context(seq_length, stride):
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), seq_length)
    contexts = [
        text if len(text) < 4 else text + "."
        for text in random_texts(40, seed=3)
        if seq_length > 8 or max(map(len, text.split())) < 2
    ] or ["a . a . a"]
    rows = [(question, context) for context in contexts for question in ("the end?", "is it?")]
    found = check_windows(preprocessor, rows, stride)
    assert (max(map(len, found)) > 1) == (seq_length < 64)


def test_windows_of_real_contexts(real, real_tokenizer):
    rows = [(e.text, e.pair) for e in real[::10]]
    check_windows(Preprocessor(real_tokenizer, 128), rows, 42)


def test_window_steps_are_at_most_the_stride():
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), 13)
    ((one, *others, last),) = windows(preprocessor, [("is it?", "a film was good " * 8)], 3)
    # [CLS] is i ##t ? [SEP], then 6 of 32 words, from every third on.
    assert one.first == 6 and len(one.offsets) == 6 and len(others) == 8
    assert [w.offsets[0, 0] for w in (one, *others)][:4] == [0, 11, 23, 32 + 2]
    assert last.offsets[-1, 1] == 8 * 16 - 1


def test_long_questions_and_words_are_cut():
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), 16)
    question, word = "is it a good film or a bad one?", "".join(LETTERS[:20])
    (some,) = windows(preprocessor, [(question, f"a {word} end")], None)
    inputs = preprocessor([w.text for w in some], [w.pair for w in some])["input_word_ids"]
    assert inputs.shape[1] == 16
    assert question.startswith(some[0].text) and len(some[0].text) < len(question)
    assert [w.pair for w in some] == ["a", word, "end"]
    assert len(some[1].offsets) == 16 - 1 - some[1].first


def test_strides_that_leave_text_out():
    assert (check_stride(384, None), check_stride(60, None), check_stride(384, 300)) == (
        128,
        20,
        300,
    )
    for stride in (0, -1, 318):
        with pytest.raises(InputError, match=f"doc_stride {stride}: expected 1 to 317, .* 384"):
            check_stride(384, stride)


def test_targets_are_the_tokens_of_the_answer(real, real_tokenizer):
    """Joined again they are the answer, but for what is left of its first and last word."""
    kind = kind_of("span", (), True, {"doc_stride": 42})
    preprocessor = Preprocessor(real_tokenizer, 128)
    examples = real[::25]
    contexts = {e.id: e for e in examples}
    held = set()
    for row in kind.rows(examples, preprocessor):
        first, last = kind.target(row)
        if (first, last) == (0, 0):
            continue
        held.add(row.id)
        _, answer = answers_of(contexts[row.id])[0]
        ids = preprocessor([row.text], [row.pair])["input_word_ids"].numpy()[0]
        assert 0 < first <= last < len(ids) - 1
        pieces = [real_tokenizer.vocabulary[i].removeprefix("##") for i in ids[first : last + 1]]
        wanted = real_tokenizer([answer]).to_list()[0]
        spelled = "".join(real_tokenizer.vocabulary[i].removeprefix("##") for i in wanted)
        assert spelled.replace("[UNK]", "") in "".join(pieces) or "[UNK]" in pieces
    missed = contexts.keys() - held
    assert len(missed) < 0.01 * len(contexts)  # longer than what two windows share


def test_a_window_that_cuts_the_answer_aims_at_cls():
    window = Window("q", "film was good", 4, np.array([[10, 14], [15, 18], [19, 23]]))
    assert answer_places(window, 15, "was") == (5, 5)
    assert answer_places(window, 10, "film was good") == (4, 6)
    assert answer_places(window, 14, " was ") == (5, 5)
    assert answer_places(window, 9, "a film") == (0, 0)
    assert answer_places(window, 19, "good end") == (0, 0)
    assert answer_places(window, 40, "end") == (0, 0)
    kind, preprocessor = kind_of("span"), Preprocessor(WordPieceTokenizer(VOCABULARY), 32)
    for answers, expected in (("[]", [0, 0]), ('[[2, "film"], [0, "a"]]', [6, 6])):
        # [CLS] is i ##t [SEP] a film [SEP]
        (row,) = kind.rows([Example("is it", "a film", answers, "1")], preprocessor)
        assert kind.target(row) == expected


# --- Decoding ------------------------------------------------------------------------------------

CONTEXT = "the film was good"
OFFSETS = np.array([[0, 3], [4, 8], [9, 12], [13, 17]])


def outputs_of(start: list[float], end: list[float]) -> dict[str, np.ndarray]:
    """Outputs for [CLS], two tokens, the context's and [SEP]; those of no use are the highest."""
    return {
        "start_logits": np.array([start[0], 99, 99, *start[1:], 99], np.float32),
        "end_logits": np.array([end[0], 99, 99, *end[1:], 99], np.float32),
    }


def best(start: list[float], end: list[float], **settings):
    window = Window("is it", CONTEXT, 3, OFFSETS)
    return best_answers(CONTEXT, [window], [outputs_of(start, end)], SpanSettings(**settings))


def test_best_spans_by_hand():
    answers = best([0, 0, 5, 1, 0], [0, 6.5, 0, 1, 4], n_best=3)
    assert [(a.text, a.start, a.end) for a in answers] == [
        ("film was good", 4, 17),  # 5 + 4; the end at "the", 6.5, is before it
        ("the", 0, 3),  # 0 + 6.5
        ("film was", 4, 12),  # 5 + 1
    ]
    weights = np.exp([9, 6.5, 6])
    np.testing.assert_allclose([a.score for a in answers], weights / weights.sum(), rtol=1e-5)
    (short, *_) = best([0, 0, 5, 1, 0], [0, 6.5, 0, 1, 4], max_answer_length=2)
    assert short.text == "the"
    only = best([0, 0, 5, 1, 0], [0, 6.5, 0, 1, 4], n_best=1)
    assert [(a.text, a.score) for a in only] == [("", 1.0)]  # the best end is before the best start


def test_the_empty_answer_wins_by_the_threshold():
    logits = [3, 0, 5, 0, 0], [3.5, 0, 4, 0, 0]  # 6.5 against 9
    assert best(*logits, null_threshold=0.0)[0].text == "film"
    assert best(*logits, null_threshold=-2.4)[0].text == "film"
    answers = best(*logits, null_threshold=-2.6)
    assert (answers[0].text, answers[0].start, answers[0].end) == ("", 0, 0)
    assert answers[1].text == "film" and answers[0].score < answers[1].score
    assert "" not in [a.text for a in best(*logits)]
    assert sum(a.score for a in answers) == pytest.approx(1)


def test_the_better_window_wins():
    """Of a span in both windows the better score counts; the empty answer's is the lower one."""
    parts = [
        Window("q", "the film was", 3, OFFSETS[:3]),
        Window("q", "film was good", 3, OFFSETS[1:]),
    ]
    outputs = [outputs_of([4, 0, 2, 0], [4, 0, 2, 0]), outputs_of([1, 3, 0, 1], [1, 1, 0, 3])]
    settings = SpanSettings(null_threshold=0.0)
    answers = best_answers(CONTEXT, parts, outputs, settings)
    assert answers[0].text == "film was good"
    scores = {a.text: np.log(a.score / answers[0].score) + 6 for a in answers}
    assert scores["film"] == pytest.approx(4) and scores[""] == pytest.approx(2)
    assert len({(a.start, a.end) for a in answers}) == len(answers)


def test_decoding_is_a_search_of_all_pairs():
    rng = np.random.default_rng(0)
    text = " ".join("abcdefghij")
    offsets = np.array([[2 * i, 2 * i + 1] for i in range(10)])
    window = Window("is it", text, 3, offsets)
    for _ in range(20):
        start, end = rng.normal(size=(2, 11))
        settings = SpanSettings(max_answer_length=4, n_best=10)
        found = best_answers(text, [window], [outputs_of(start, end)], settings)
        pairs = {
            text[2 * i : 2 * j + 1]: start[1 + i] + end[1 + j]
            for i in range(10)
            for j in range(i, min(i + 4, 10))
        }
        assert [a.text for a in found] == sorted(pairs, key=pairs.get, reverse=True)[:10]


@pytest.mark.parametrize("setting", ["doc_stride", "max_answer_length", "n_best"])
def test_settings_are_checked(setting):
    with pytest.raises(InputError, match=f"{setting} 0: expected at least 1"):
        SpanSettings(**{setting: 0})
    with pytest.raises(InputError, match="max_answer_length: for question answering only"):
        kind_of("classification").change({"max_answer_length": 3})


# --- Metrics -------------------------------------------------------------------------------------


def test_metrics_by_hand():
    right = [["the Film, 1984", "a film"], ["rome"], [], []]
    found = ["film 1984", "in rome", "", "rome"]
    assert exact_match(found, right) == 0.5
    assert answer_f1(found, right) == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)


def test_metrics_are_the_official_ones(real, shared_data):
    """On a file of predictions: right, cut, prolonged, other, in other case, empty."""
    from official.nlp.tools import squad_evaluate_v1_1, squad_evaluate_v2_0

    rng, predictions = random.Random(0), {}
    for example in real:
        start, text = rng.choice(answers_of(example))
        changes = [text, text[3:], example.pair[max(0, start - 9) : start + len(text) + 4]]
        changes += [f"The {text.upper()}!", rng.choice(real).text, ""]
        predictions[example.id] = rng.choice(changes)
    dataset = json.loads((shared_data / "squad" / "dev-v1.1.json").read_text())["data"]
    goals = kind_of("span").goals(real)
    found = [predictions[e.id] for e in real]
    ours = 100 * exact_match(found, goals), 100 * answer_f1(found, goals)
    official = squad_evaluate_v1_1.evaluate(dataset, predictions)
    assert 20 < ours[0] < ours[1] < 80
    assert ours == pytest.approx((100 * official["exact_match"], 100 * official["final_f1"]))
    # 2.0: every third paragraph's questions have no answer.
    impossible = {p["context"] for a in dataset for p in a["paragraphs"][::3]}
    for article in dataset:
        for part in article["paragraphs"][::3]:
            for question in part["qas"]:
                question["answers"] = []
    goals = [[] if e.pair in impossible else g for e, g in zip(real, goals, strict=True)]
    official = squad_evaluate_v2_0.evaluate(dataset, predictions)
    ours = 100 * exact_match(found, goals), 100 * answer_f1(found, goals)
    assert ours == pytest.approx((official["exact"], official["f1"]))


# --- Files ---------------------------------------------------------------------------------------


def test_real_file_has_its_published_sizes(real):
    assert len(real) == 10_570 and len({e.pair for e in real}) == 2067
    assert real[0].text == "Which NFL team represented the AFC at Super Bowl 50?"
    assert answers_of(real[0])[0] == (177, "Denver Broncos")


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
        (spoiled(lambda p: p["qas"][1].update(id="0-0-0")), "question 0-0-0 is there twice"),
        (spoiled(lambda p: p["qas"][0].pop("question")), "question 0-0-0: question is missing"),
        (spoiled(lambda p: p["qas"][0].update(answers=[])), "question 0-0-0 has no answer"),
        (spoiled(lambda p: p["qas"][0].update(question="\ud83d?")), "holds half a character"),
        (
            spoiled(lambda p: p["qas"][0].update(answers=[{"text": "x", "answer_start": "0"}])),
            "question 0-0-0: answer_start is '0': expected a whole number",
        ),
        (
            spoiled(lambda p: p["qas"][0].update(answers=[{"text": "Zed", "answer_start": 4}])),
            "question 0-0-0: answer 'Zed' is not at answer_start 4: '",
        ),
        (
            spoiled(lambda p: p["qas"][0].update(answers=[{"text": "Z", "answer_start": -1}])),
            "question 0-0-0: answer 'Z' is not at answer_start -1: '' stands there",
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


# --- The whole path ------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["squad", "squad2"])
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
    found = json.loads(package.with_suffix(".json").read_text())["verification"]
    assert set(found["tensors"]) == {"start_logits", "end_logits"} and found["examples"] == 60
    assert found["metric"]["name"] == "f1" and found["metric"]["drop"] <= 1 / 60

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
            for one in listed:
                context = paragraphs[name]["context"]
                assert context[one["start"] : one["end"]] == one["text"]
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
        for given in (flags, ["--input", tmp_path / "rows.jsonl"]):
            assert call("predict", *source, *given, "--jsonl") == 0
            rows.append(json.loads(capsys.readouterr().out))
        assert call("predict", *source, *flags) == 0
        assert capsys.readouterr().out.split("\t")[0] == "Oslo"
    for found in rows:
        assert (found["text"], found["pair"]) == ("where was it?", context)
        assert found["answers"][0]["text"] == "Oslo"
        start, end = (found["answers"][0][key] for key in ("start", "end"))
        assert context[start:end] == "Oslo"
    answers = tflite.Runner(package).answer("where was it?", context)
    assert answers[0].text == "Oslo" and answers[0].score > answers[1].score > 0
    with pytest.raises(InputError, match="a package for span: expected one for multiple_choice"):
        tflite.Runner(package).choose("a", ["b", "c"])

    rejects(r"argument:1: not JSON: .*--context FILE", "predict", "--model", bundle, "where?")
    rejects("argument:1: no context", "predict", "--model", bundle, '{"question": "where?"}')


def test_an_imported_model_is_verified_on_squad(data, tmp_path):
    """A question answering model of transformers, whose bundle knows of no task."""
    model = heads.build("span", tiny_config())
    randomize(model)
    info = TaskInfo("span", "span", True, 32, True, {}, "", "")
    save(tmp_path / "own", model, VOCABULARY, [], info, [], [], metrics={})
    assert call("export_hf", "--model", tmp_path / "own", "--output", tmp_path / "hf") == 0
    bundle, package = tmp_path / "bundle", tmp_path / "qa.tflite"
    assert call("import_hf", "--source", tmp_path / "hf", "--output", bundle) == 0
    assert json.loads((bundle / "task.json").read_text())["paired"] is True
    flags = ["--model", bundle, "--quantize", "float32", "--output", package, "--limit", 6]
    assert call("convert", *flags, "--data", data / "squad", "--task", "squad") == 0
    found = json.loads(package.with_suffix(".json").read_text())["verification"]
    assert found["metric"]["name"] == "f1" and found["examples"] == 6 and found["agreement"] == 1


def test_other_kinds_refuse_what_is_of_answers(bundle_dir, tmp_path, data):
    context = tmp_path / "context.txt"
    context.write_text("a film")
    rejects(
        "--context is for question answering: the model is a classification",
        *("predict", "--model", bundle_dir, "--context", context, "a film"),
    )
    rejects(
        "max_answer_length: for question answering only",
        *("predict", "--model", bundle_dir, "--max-answer-length", 3, "a film"),
    )
    evaluated = ["--model", bundle_dir, "--data", data, "--nbest", tmp_path / "n.json"]
    rejects("--nbest is for question answering, not for a classif", "evaluate", *evaluated)
    flags = ["--data", data / "squad", "--task", "squad", "--output", tmp_path / "out"]
    rejects(
        r"doc_stride 99: expected 1 to 15, .* a question of 14",
        *("finetune", *flags, "--seq-length", 32, "--doc-stride", 99),
    )
    rejects(
        "a teacher for classification into .*; the data is for span",
        *("distill", *flags, "--teacher", bundle_dir),
    )
    assert not (tmp_path / "out").exists()


def test_a_killed_run_goes_on_exactly(data, tmp_path, monkeypatch):
    """As of other kinds, with windows for examples."""
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

    one, other = (sqb_tf.load(tmp_path / name).get_weights() for name in ("whole", "cut"))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_answer_that_ties_with_the_best_is_as_good():
    """Within 0.1 logits of its best answer a model calls another one's the same."""
    first, near, far = Answer("a b", 0.5, 0, 3), Answer("b", 0.46, 2, 3), Answer("a", 0.04, 0, 1)
    keras = Answers((first, near, far))

    def same(*given: Answer) -> list[bool]:
        return kind_of("span").same(keras, Answers(given))

    assert same(first, near) == same(near, first) == [True, True]
    assert same(far, first) == [True, False]
    assert same(Answer("c", 1.0, 4, 5)) == [False, False]
