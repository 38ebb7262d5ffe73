"""Tagged words: CoNLL's files, alignment of words and tokens, entity F1, and training to package."""

import json
import random
import re

import numpy as np
import pytest
import tensorflow as tf
from fixtures.commands import call
from fixtures.models import VOCABULARY

import sqb_tf
import sqb_tflite
from sqb_tf.data.conll import ConllFile, ConllFormat
from sqb_tf.data.example import Example
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import metrics
from sqb_tf.heads.token_classification import word_tags
from sqb_tf.survey.survey import survey
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer

NAMES, PLACES, OTHERS = (
    ["ann", "bob", "eve"],
    ["rome", "oslo"],
    ["the", "film", "was", "in", "good"],
)


def conll(seed: int, count: int) -> str:
    """Sentences of names (two in a row are one entity), places and other words."""
    rng, lines = random.Random(seed), []
    for _ in range(count):
        for _ in range(rng.randint(2, 5)):
            draw = rng.random()
            if draw < 0.3:
                lines += [f"{rng.choice(NAMES)}\tB-PER", f"{rng.choice(NAMES)}\tI-PER"]
            elif draw < 0.5:
                lines.append(f"{rng.choice(PLACES)}\tB-LOC")
            lines.append(f"{rng.choice(OTHERS)}\tO")
        lines.append("")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conll")
    (folder / "train.conll").write_text(conll(0, 400))
    (folder / "dev.conll").write_text(conll(1, 60))
    return folder


@pytest.fixture(scope="module")
def tagger(data, tmp_path_factory):
    """A bundle fine-tuned on `data`."""
    output = tmp_path_factory.mktemp("tagger") / "bundle"
    flags = ["--data", data, "--task", "conll", "--preset", "squeezebert-tiny", "--output", output]
    flags += ["--epochs", 8, "--batch-size", 8, "--seq-length", 32, "--vocab-size", 100]
    flags += ["--dropout", 0]
    assert call("finetune", *flags) == 0
    return output


def test_files_of_two_or_more_columns(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(
        "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n \t \nHi UH O O"
    )
    assert list(ConllFile(path)) == [
        Example("EU rejects", None, "B-ORG O"),
        Example("Hi", None, "O"),
    ]
    path.write_text("a b\tO\n")
    with pytest.raises(InputError, match=r"a\.conll:1: word 'a b' .*without spaces"):
        list(ConllFile(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tO\nb\n", "a.conll:2: 1 columns, expected 2: a word first, its tag last"),
        ("a\tX\tO\nb\tO\n", "a.conll:2: 2 columns, expected 3"),
        ("a\n", "a.conll:1: 1 columns, expected 2"),
        ("a\t\n", "a.conll:1: word 'a' with tag ''"),
    ],
)
def test_ragged_columns_are_named(content, message, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        list(ConllFile(path))


def test_splits_are_found_by_name(tmp_path):
    for name in ("wnut17train.conll", "emerging.dev.conll", "eng.testb"):
        (tmp_path / name).touch()
    find = ConllFormat().find
    names = [find(tmp_path, split, split).name for split in ("train", "dev", "test")]
    assert names == ["wnut17train.conll", "emerging.dev.conll", "eng.testb"]
    (tmp_path / "dev.txt").touch()
    assert find(tmp_path, "dev", "dev").name == "dev.txt"
    (tmp_path / "train2.conll").touch()
    with pytest.raises(InputError, match=r"expected train\.conll, .* found: train2\.conll, wnut17"):
        find(tmp_path, "train", "train")
    with pytest.raises(InputError, match="gone: no such folder"):
        find(tmp_path / "gone", "train", "train")


@pytest.mark.parametrize("seq_length", [8, 32])
def test_positions_are_those_of_first_tokens(seq_length):
    """A word's first token follows all tokens of the words before it."""
    encoder = TextEncoder(VOCABULARY, True, seq_length)
    texts = ["the filmed plot", "a", "xyz good ,bad!\u200d \u200d end", " the  end", "é É ééé The"]
    for text in texts:
        words = text.split(" ")
        sizes = [len(encoder.ids(word)) for word in words]
        starts = np.cumsum([1, *sizes[:-1]])
        assert encoder.words(text)[1].tolist() == [
            int(start) if size and start < seq_length - 1 else -1
            for start, size in zip(starts, sizes, strict=True)
        ]


@pytest.mark.slow
def test_real_words_align_with_the_tokens_of_the_whole_text(shared_data):
    encoder = TextEncoder(shared_data / "vocab" / "bert-base-uncased-vocab.txt", True, 512)
    texts = [example.text for example in Task("conll", shared_data / "ner").split("dev")]
    checked = 0
    for text in texts:
        (row,) = encoder.inputs(text)["input_word_ids"]
        pieces = map(encoder.ids, text.split(" "))
        for position, expected in zip(encoder.words(text)[1], pieces, strict=True):
            assert (position < 0) == (not expected)
            assert row[position : position + len(expected)].tolist() == expected or position < 0
            checked += 1
    assert checked == 15_733  # the published number of words


def test_tag_targets_by_hand():
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), 32)
    texts, tags = tf.constant(["the filmed", "bad plot end"]), tf.constant(["1 2", "0 3 1"])
    ids, weights = preprocessor.tag_targets(texts, tags, 6)
    # [CLS] the film ##ed [SEP], and [CLS] bad plot end [SEP].
    assert ids.numpy().tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 3, 1, 0, 0]]
    assert weights.numpy().tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0]]


def test_tags_of_words():
    scores = np.eye(3)[[2, 1, 0, 2]]
    assert word_tags(["O", "B", "I"], scores, np.array([1, 3, -1])) == ("B", "I", "O")


def test_entity_f1_by_hand():
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC"]]
    # 2 of 3 entities are found, 2 of 3 predictions are right.
    assert metrics.entity_f1(predicted, references) == pytest.approx(2 / 3)
    assert metrics.tag_accuracy(predicted, references) == pytest.approx(5 / 6)
    cut = [["B-PER", "O", "O", "B-LOC"], ["O", "B-LOC"]]  # half an entity is none
    assert metrics.entity_f1(cut, references) == pytest.approx(2 / 3)
    assert metrics.entity_f1([["O"]], [["O"]]) == 0


def test_entities_are_learned_converted_and_verified(tagger, data, tmp_path, capsys):
    metric = json.loads((tagger / "metrics.json").read_text())["metric"]
    assert metric["name"] == "entity_f1" and metric["value"] > 0.95
    model = sqb_tf.load(tagger)
    assert model.labels == ["O", "B-LOC", "B-PER", "I-PER"]
    package, result = tmp_path / "ner.tflite", tmp_path / "result.json"
    assert call("convert", "--model", tagger, "--quantize", "int8", "--output", package) == 0
    verification = json.loads(package.with_suffix(".json").read_text())["verification"]
    assert verification["metric"]["name"] == "entity_f1" and verification["metric"]["drop"] <= 0.02
    assert sqb_tflite.Runner(package).package.labels == model.labels

    flags = ["--data", data, "--task", "conll", "--json", result]
    for source in (["--model", tagger], ["--package", package]):
        out = tmp_path / "out.conll"
        assert call("evaluate", *source, *flags, "--predictions", out) == 0
        evaluation = json.loads(result.read_text())
        assert list(evaluation["metrics"]) == ["entity_f1", "tag_accuracy"]
        assert evaluation["metric"]["value"] == pytest.approx(metric["value"], abs=0.02)
        examples, again = list(Task("conll", data).split("dev")), list(ConllFile(out))
        assert [e.text for e in again] == [e.text for e in examples]
        pairs = [[e.label.split(" ") for e in some] for some in (again, examples)]
        assert metrics.entity_f1(*pairs) == pytest.approx(evaluation["metric"]["value"])
    capsys.readouterr()
    for source in (["--model", tagger], ["--package", package]):
        assert call("predict", *source, "the film was in rome", "--jsonl") == 0
        row = json.loads(capsys.readouterr().out)
        assert row["words"] == ["the", "film", "was", "in", "rome"]
        assert row["tags"] == ["O", "O", "O", "O", "B-LOC"]
        assert call("predict", *source, "ann eve was good") == 0
        assert capsys.readouterr().out == "ann/B-PER eve/I-PER was/O good/O\n"


def test_a_tag_of_dev_that_train_lacks(data, tmp_path):
    (tmp_path / "train.conll").write_text("a\tO\nb\tB-X\n")
    (tmp_path / "dev.conll").write_text("a\tO\nb\tB-Y\n")
    with pytest.raises(InputError, match=r"dev\.conll: labels that .*train\.conll lacks: B-Y"):
        _ = survey(Task("conll", tmp_path)).labels
