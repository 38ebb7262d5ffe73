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
from sqb_tf.heads import metrics, registry
from sqb_tf.heads.tags import tag_spans
from sqb_tf.survey.survey import survey
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tflite.verification.bundle_backend import BundleBackend

NAMES, PLACES, OTHERS = (
    ["ann", "bob", "eve"],
    ["rome", "oslo"],
    ["the", "film", "was", "in", "good", ",", "(", ")"],
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
    """A bundle fine-tuned on `data`, in inputs so short that most sentences are cut into windows."""
    output = tmp_path_factory.mktemp("tagger") / "bundle"
    flags = ["--data", data, "--task", "conll", "--preset", "squeezebert-tiny", "--output", output]
    flags += ["--epochs", 6, "--batch-size", 8, "--seq-length", 10, "--vocab-size", 100]
    flags += ["--dropout", 0]
    assert call("finetune", *flags) == 0
    return output


@pytest.fixture(scope="module")
def package(tagger):
    """The verified int8 package of `tagger`."""
    path = tagger.with_name("ner.tflite")
    assert call("convert", "--model", tagger, "--quantize", "int8", "--output", path) == 0
    return path


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


def test_first_tokens_by_hand():
    """A word's first token follows all tokens of the words before it."""
    encoder = TextEncoder(VOCABULARY, True, 8)
    for text, expected in (
        ("the filmed plot", [0, 1, 3]),
        ("a", [0]),
        ("xyz good ,bad!\u200d \u200d end", [0, 3, 4, -1, 7]),
        (" the  end", [-1, 0, -1, 1]),
    ):
        ids, first = encoder.words(text)
        assert ids.tolist() == encoder.ids(text) and first.tolist() == expected


@pytest.mark.slow
def test_real_words_align_with_the_tokens_of_the_whole_text(shared_data):
    encoder = TextEncoder(shared_data / "vocab" / "bert-base-uncased-vocab.txt", True, 512)
    texts = [example.text for example in Task("conll", shared_data / "ner").split("dev")]
    checked = 0
    for text in texts:
        ids, first = encoder.words(text)
        assert ids.tolist() == encoder.ids(text)
        for token, expected in zip(first, map(encoder.ids, text.split(" ")), strict=True):
            assert (token < 0) == (not expected)
            assert ids[token : token + len(expected)].tolist() == expected or token < 0
            checked += 1
    assert checked == 15_733  # the published number of words


def test_tag_targets_by_hand():
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), 32)
    texts, tags = tf.constant(["the filmed", "bad plot end"]), tf.constant(["1 2", "0 3 -1"])
    ids, weights = preprocessor.tag_targets(texts, tags, 6)
    # [CLS] the film ##ed [SEP], and [CLS] bad plot end [SEP], whose last word is not learned.
    assert ids.numpy().tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 3, 0, 0, 0]]
    assert weights.numpy().tolist() == [[0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0]]


def test_tags_of_words():
    head, encoder = (
        registry.get("token_classification")(["O", "B", "I"]),
        TextEncoder(VOCABULARY, True, 32),
    )
    text = "bad \u200d filmed"
    ((request,),) = head.encode([(text, None)], encoder)
    scores = np.eye(3)[[2, 1, 2, 0, 0]]  # of [CLS] bad film ##ed [SEP]
    tagging = head.decode((text, None), [request], [{"probabilities": scores}])
    assert tagging.words == ("bad", "\u200d", "filmed") and tagging.tags == ("B", "O", "I")


def test_entity_f1_by_hand():
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC"]]
    # 2 of 3 entities are found, 2 of 3 predictions are right.
    assert metrics.entity_f1(predicted, references) == pytest.approx(2 / 3)
    assert metrics.tag_accuracy(predicted, references) == pytest.approx(5 / 6)
    cut = [["B-PER", "O", "O", "B-LOC"], ["O", "B-LOC"]]  # half an entity is none
    assert metrics.entity_f1(cut, references) == pytest.approx(2 / 3)
    assert metrics.entity_f1([["O"]], [["O"]]) == 0


def test_entities_are_learned_converted_and_verified(tagger, package, data, tmp_path):
    metric = json.loads((tagger / "metrics.json").read_text())["metric"]
    assert metric["name"] == "entity_f1" and metric["value"] > 0.95
    model = sqb_tf.load(tagger)
    assert model.labels == ["O", "B-LOC", "B-PER", "I-PER"]
    result = tmp_path / "result.json"
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


def test_predict_gives_entities_of_plain_text_or_tags_of_words(tagger, package, capsys):
    text = "(Ann  EVE)\twas in Rome, good\u00a0OSLO was,"
    spans = [("PER", "Ann  EVE"), ("LOC", "Rome"), ("LOC", "OSLO")]
    for source in (["--model", tagger], ["--package", package]):
        assert call("predict", *source, text, "--jsonl") == 0
        row = json.loads(capsys.readouterr().out)
        assert list(row) == ["text", "entities"] and row["text"] == text
        assert [(e["entity"], e["text"]) for e in row["entities"]] == spans
        for entity in row["entities"]:
            assert list(entity) == ["entity", "text", "start", "end", "score"]
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert 0.5 < entity["score"] <= 1
        assert call("predict", *source, text) == 0
        line = re.sub(r"[01]\.\d\d", "1", capsys.readouterr().out)
        marked = [f"[{name}: {kind} 1]" for kind, name in spans]
        assert line == "({})\twas in {}, good\u00a0{} was,\n".format(*marked)

        assert call("predict", *source, "--words", "the film was in rome", "--jsonl") == 0
        row = json.loads(capsys.readouterr().out)
        assert list(row) == ["text", "words", "tags", "scores"]
        assert len(row["scores"]) == 5 and 0.2 < min(row["scores"]) <= max(row["scores"]) <= 1
        assert row["words"] == ["the", "film", "was", "in", "rome"]
        assert row["tags"] == ["O", "O", "O", "O", "B-LOC"]
        assert call("predict", *source, "--words", "ann eve was good") == 0
        assert capsys.readouterr().out == "ann/B-PER eve/I-PER was/O good/O\n"


def test_a_text_of_5000_words(tagger, package, tmp_path):
    """Every word has its tag, in a package of fixed lengths and in Keras; every entity its characters."""
    rows = [line.split("\t") for line in conll(2, 1000).split("\n") if line][:5000]
    words, tags = zip(*rows, strict=True)
    text = " ".join(words)
    fixed = tmp_path / "fixed.tflite"
    fixed.write_bytes(sqb_tflite.convert(tagger, "float32", (8, 10)))
    (tagging,) = sqb_tflite.Runner(fixed).tag([text])
    assert tagging.words == words and metrics.tag_accuracy([tagging.tags], [tags]) > 0.95
    ((_, keras),) = BundleBackend(tagger).stream([(text, None)])
    assert (tagging.words, tagging.tags) == (keras.words, keras.tags)
    np.testing.assert_allclose(tagging.scores, keras.scores, atol=1e-4)

    (entities,) = sqb_tflite.Runner(package).entities([text])
    assert all(text[e.start : e.end] == e.text for e in entities)
    predicted = {(e.entity, e.start, e.end) for e in entities}
    gold = {(kind, *span) for span, kind in spans_in_text(words, tags).items()}
    assert 2 * len(predicted & gold) / (len(predicted) + len(gold)) > 0.95


def spans_in_text(words, tags) -> dict[tuple[int, int], str]:
    """First and end character -> type of each entity of words joined by spaces."""
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    return {
        (int(ends[first]) - len(words[first]), int(ends[last])): kind
        for kind, first, last in tag_spans(tags)
    }


def test_a_tag_of_dev_that_train_lacks(data, tmp_path):
    (tmp_path / "train.conll").write_text("a\tO\nb\tB-X\n")
    (tmp_path / "dev.conll").write_text("a\tO\nb\tB-Y\n")
    with pytest.raises(InputError, match=r"dev\.conll: labels that .*train\.conll lacks: B-Y"):
        _ = survey(Task("conll", tmp_path)).labels
