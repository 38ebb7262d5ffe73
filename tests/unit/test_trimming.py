"""Fewer tokens: which are kept, and that texts of kept tokens mean what they meant."""

import json
from collections import Counter

import numpy as np
import pytest
from fixtures.commands import call, rejects
from fixtures.models import VOCABULARY, randomize, tiny_config
from fixtures.runs import assert_same_weights, stop_after

import sqb_tf
from sqb_tf.data.example import Columns
from sqb_tf.data.task import Task
from sqb_tf.model import heads
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.text.trimming import changed_share, ranked_ids, sufficient_size
from sqb_tf.training.vocabulary_trim import trim

# "[unused0]" is never kept for its place in the list.
TOKENS = [
    "[PAD]",
    "[unused0]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "b",
    "##a",
    "##b",
    "##ba",
    "ab",
    "ba",
    "bab",
]
# The special tokens and characters of `VOCABULARY`, and the 6 words of the training texts.
WITH_WORDS = sum(t[:1] == "[" or len(t.removeprefix("##")) == 1 for t in VOCABULARY) + 6
BASIC = [0, 2, 3, 4, 5, 6, 7, 8]


def ranked(counts: dict[int, int]) -> list[int]:
    ids, always = ranked_ids(TOKENS, Counter(counts))
    assert ids[:always] == BASIC
    return ids[always:]


def test_tokens_rank_by_frequency_then_by_place():
    assert ranked({}) == [9, 10, 11, 12]
    assert ranked({11: 2, 12: 5}) == [12, 11, 9, 10]
    assert ranked({12: 1, 5: 9}) == [12, 9, 10, 11]


@pytest.mark.parametrize(
    ("held_out", "least", "size"),
    [
        ({}, 9, 9),
        ({}, 100, 12),
        ({5: 10}, 8, 8),  # a character
        ({5: 7, 11: 2, 12: 1}, 8, 11),  # "ba" is more than a tenth of them, "bab" is not
        ({5: 6, 11: 2, 12: 2}, 8, 12),  # both are
        ({5: 1, 12: 1}, 8, 12),  # fewer than 10
    ],
)
def test_a_size_that_suffices(held_out, least, size):
    ids, _ = ranked_ids(TOKENS, Counter())
    assert sufficient_size(ids, least, Counter(held_out), most_missing=0.1) == size


def test_the_share_of_changed_tokens():
    full = TextEncoder(TOKENS, True, 16)
    ids = np.array([*BASIC, 10])  # "ab" of the words
    trimmed = TextEncoder([TOKENS[i] for i in ids], True, 16)
    assert [TOKENS[i] for i in ids[trimmed.ids("bab ab")]] == ["b", "##a", "##b", "ab"]
    assert changed_share(full, trimmed, ids, ["ab ab a", "b"]) == 0
    assert changed_share(full, trimmed, ids, ["bab ab", "ab ba"]) == 2 / 4
    assert changed_share(full, trimmed, ids, []) == 0


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.tsv").write_text(
        "text\tlabel\n" + "the film was good\tgood\na bad end\tbad\n" * 4
    )
    (folder / "dev.tsv").write_text("text\tlabel\nthe film\tgood\nvery bad plot\tbad\n")
    return folder


@pytest.fixture
def teacher(tmp_path):
    """A classifier of the data's labels."""
    model = heads.SqueezeBertClassifier(tiny_config())
    randomize(model)
    tokenizer = WordPieceTokenizer(VOCABULARY)
    sqb_tf.save(model, tmp_path / "full", tokenizer=tokenizer, labels=["bad", "good"])
    return tmp_path / "full"


def test_texts_of_kept_tokens_have_the_same_outputs(teacher, data):
    model = sqb_tf.load(teacher)
    task = Task("classification", data, Columns("text", None, "label"))
    trimmed, tokenizer, result = trim(model, model.tokenizer, task, 2, WITH_WORDS)
    assert result.tokens_before == len(VOCABULARY)
    assert result.tokens == len(tokenizer.vocabulary) == trimmed.config.vocab_size < len(VOCABULARY)
    # "very" and "plot" are spelled anew, of 5 tokens.
    assert result.dev_tokens_changed == 2 / 5
    sqb_tf.save(trimmed, teacher.with_name("less"), tokenizer=tokenizer, labels=model.labels)
    less = sqb_tf.load(teacher.with_name("less"))
    texts = ["the film was good", "a bad end"]
    np.testing.assert_array_equal(less(less.preprocessor(texts)), model(model.preprocessor(texts)))


def test_finetune_trims_and_says_what_changed(teacher, data, tmp_path, capsys):
    flags = ["--data", data, "--init", teacher, "--epochs", 1, "--seq-length", 16]
    assert (
        call("finetune", *flags, "--trim-vocabulary", WITH_WORDS, "--output", tmp_path / "out") == 0
    )
    assert "40.00% of dev's are spelled by others" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    info = sqb_tf.load(tmp_path / "out").info
    assert metrics["trimmed_vocabulary"]["tokens"] == len(info.vocabulary) == info.config.vocab_size
    assert {"film", "bad", "was"} <= set(info.vocabulary) and "very" not in info.vocabulary
    package = tmp_path / "a.tflite"
    assert call("convert", "--model", tmp_path / "out", "--output", package, "--allow-loss") == 0
    assert call("predict", "--package", package, "a bad film") == 0


# "plot" and "very" are in dev alone, 2 of its 5 tokens; the others come before them in the vocabulary.
@pytest.mark.parametrize(
    ("most_missing", "more"),
    [
        (0.4, set()),
        (0.39, {"The", "plot"}),
        (0.01, {"The", "plot", "story", "is", "not", "very"}),
    ],
)
def test_auto_keeps_tokens_of_training_and_dev_texts(
    most_missing, more, teacher, data, tmp_path, monkeypatch
):
    flags = ["--data", data, "--init", teacher, "--epochs", 1, "--seq-length", 16]
    flags += ["--trim-vocabulary", "auto"]
    monkeypatch.setattr("sqb_tf.training.vocabulary_trim.VOCAB_SIZE", 0)
    monkeypatch.setattr("sqb_tf.training.vocabulary_trim.MOST_MISSING", most_missing)
    assert call("finetune", *flags, "--output", tmp_path / "out") == 0
    words = {"the", "film", "was", "good", "bad", "end"}
    basic = {t for t in VOCABULARY if t[:1] == "[" or len(t.removeprefix("##")) == 1}
    assert set(sqb_tf.load(tmp_path / "out").info.vocabulary) == basic | words | more


@pytest.mark.slow
def test_a_trimmed_run_resumes_exactly(teacher, data, tmp_path, monkeypatch):
    flags = ["--data", data, "--init", teacher, "--epochs", 2, "--batch-size", 4, "--save-every", 1]
    flags += ["--seq-length", 16, "--trim-vocabulary", WITH_WORDS]
    assert call("finetune", *flags, "--output", tmp_path / "whole") == 0
    stop_after(monkeypatch, 2, "finetune", *flags, "--output", tmp_path / "parts")
    assert call("finetune", *flags, "--output", tmp_path / "parts", "--resume") == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (
            ["--preset", "squeezebert-tiny", "--trim-vocabulary", "auto"],
            "trim_vocabulary: a new model has --vocab-size: leave one of them out",
        ),
        (
            ["--init", "full", "--trim-vocabulary", "some"],
            "trim_vocabulary 'some': expected auto, or",
        ),
        (["--init", "full", "--trim-vocabulary", "0"], "trim_vocabulary '0': expected auto, or"),
        (
            ["--init", "full", "--trim-vocabulary", "9" * 5000],
            "expected auto, or a number of tokens",
        ),
    ],
)
def test_bad_flags(flags, match, teacher, data, monkeypatch):
    monkeypatch.chdir(teacher.parent)
    rejects(match, "finetune", "--data", data, *flags, "--output", "out")
