"""Text -> instances -> shards, and their reader."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fixtures.commands import fingerprint, unchanged
from fixtures.models import VOCABULARY, documents

from sqb_tf.errors import InputError
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.pretraining import shard_writer
from sqb_tf.training.pretraining.corpus import Corpus, Segmenter
from sqb_tf.training.pretraining.crc32c import Crc32c
from sqb_tf.training.pretraining.options import ShardOptions
from sqb_tf.training.pretraining.shard_writer import make_shards
from sqb_tf.training.pretraining.shards import Shards


@pytest.fixture(scope="module")
def vocab(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def options(text, vocab) -> ShardOptions:
    return ShardOptions(text=(str(text),), vocabulary=str(vocab), seq_length=32, held_out=20.0)


def segment(text: str, tmp_path, seq_length: int = 16) -> list[tuple[str, str]]:
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    corpus = Corpus.find([tmp_path / "t.txt"], 0.01)
    segmenter = Segmenter(WordPieceTokenizer(VOCABULARY), seq_length)
    return [
        tuple(" ".join(VOCABULARY[i] for i in ids) for ids in (instance.first, instance.second))
        for instance, _ in segmenter.instances(corpus.lines())
    ]


def test_sentences_are_packed_until_the_next_does_not_fit(tmp_path):
    # Sentences of 5 tokens where 13 fit, and another document.
    pairs = segment(
        "The film is good. The end was bad.\nA very bad plot.\n\nA good story.\n", tmp_path
    )
    assert pairs == [
        ("the film is good .", "the end was bad ."),
        ("a very", "bad plot ."),
        ("a good", "story ."),
    ]


def test_a_long_sentence_is_split_but_not_within_a_word(tmp_path):
    pairs = segment("not " * 10 + "xy zw " * 5, tmp_path)
    tokens = " ".join(" ".join(pair) for pair in pairs).split()
    assert tokens == ["not"] * 10 + ["x", "##y", "z", "##w"] * 5
    assert all(len(f"{first} {second}".split()) <= 13 for first, second in pairs)
    assert not any(second.startswith("##") for _, second in pairs)


def test_a_text_of_one_token_gives_no_instance(tmp_path):
    assert segment("a\n\ngood\n\nthe film\n", tmp_path) == [("the", "film")]


def test_whole_documents_are_held_out_by_their_first_line(tmp_path):
    (tmp_path / "t.txt").write_text(documents(300, 2))
    lines = list(Corpus.find([tmp_path], 20.0).lines())
    held = [held for _, starts, held in lines if starts]
    assert len(held) == 300 and 30 < sum(held) < 90
    by_line = {}
    current = None
    for line, starts, is_held in lines:
        current = is_held if starts else current
        assert is_held == current
        if starts:
            assert by_line.setdefault(line, is_held) == is_held


def test_records_are_read_as_written_and_as_tensorflow_reads_them(options, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "RECORDS", 50)
    make_shards(tmp_path / "shards", options)
    shards = Shards(tmp_path / "shards")
    counts = shards.index.records["train"]
    assert len(counts) > 2 and set(counts[:-1]) == {50} and shards.count("dev") > 5
    names = sorted(str(p) for p in (tmp_path / "shards").glob("train-*.tfrecord"))
    expected = [np.frombuffer(record.numpy(), "<u2") for record in tf.data.TFRecordDataset(names)]
    assert len(expected) == shards.count("train") == sum(counts)
    order = np.random.default_rng(0).permutation(len(expected))
    instances = shards.read("train", order)
    for row, index in enumerate(order):
        np.testing.assert_array_equal(instances.lengths[row], expected[index][:2])
        np.testing.assert_array_equal(instances.tokens[row], expected[index][2:])
    # The count of each token in train.
    everything = shards.read("train", np.arange(len(expected)))
    mask = np.arange(29)[None] < everything.lengths.sum(1)[:, None]
    occurrences = np.bincount(everything.tokens[mask], minlength=len(VOCABULARY))
    assert shards.index.unigrams == occurrences.tolist()


def test_shards_are_made_once(options, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    make_shards(tmp_path / "one", options)
    make_shards(tmp_path / "two", options)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    with unchanged(tmp_path / "one"):
        make_shards(tmp_path / "one", options)
        assert "using the shards in" in caplog.text
        for change, match in (
            ({"seq_length": 48}, "another seq length: 32, not 48"),
            ({"lowercase": False}, "another lowercase"),
            ({"held_out": 10.0}, "another held out"),
        ):
            with pytest.raises(InputError, match=match):
                make_shards(tmp_path / "one", dataclasses.replace(options, **change))


def test_a_vocabulary_is_learned_from_what_is_not_held_out(text, tmp_path):
    options = ShardOptions(text=(str(text),), vocab_size=150, seq_length=32, held_out=20.0)
    make_shards(tmp_path / "shards", options)
    shards = Shards(tmp_path / "shards")
    assert 60 < len(shards.vocabulary) <= 150 and "film" in shards.vocabulary
    assert shards.vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"text": ("nowhere.txt",)}, "nowhere.txt: no such file or folder of text"),
        ({"seq_length": 15}, "seq_length 15: expected at least 16"),
        ({"held_out": 0.0}, "held_out 0.0: expected per cent"),
        ({"held_out": 100.0}, "held_out 100.0: expected per cent"),
        ({"held_out": 0.001}, "no dev instances: expected documents"),
        ({"vocabulary": "nowhere"}, "nowhere: cannot be read as a vocabulary"),
    ],
)
def test_bad_options(change, match, options, tmp_path):
    with pytest.raises(InputError, match=match):
        make_shards(tmp_path / "shards", dataclasses.replace(options, **change))
    assert not list(tmp_path.iterdir())


def test_bad_text(options, vocab, tmp_path):
    def make(*paths: Path, vocabulary: Path = vocab):
        changed = dataclasses.replace(
            options, text=tuple(map(str, paths)), vocabulary=str(vocabulary)
        )
        make_shards(tmp_path / "shards", changed)

    (tmp_path / "latin.txt").write_bytes(b"a good film\n\xe9\n")
    with pytest.raises(InputError, match=r"latin.txt:2: not UTF-8 \(byte 1 of the line\)"):
        make(tmp_path / "latin.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no \.txt files"):
        make(tmp_path / "empty")
    (tmp_path / "none.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"none.txt: no train instances"):
        make(tmp_path / "none.txt")
    no_mask = tmp_path / "no_mask"
    no_mask.write_text("\n".join(t for t in VOCABULARY if t != "[MASK]") + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no_mask: no \[MASK\]"):
        make(tmp_path / "none.txt", vocabulary=no_mask)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "thesis.doc").write_text("")
    with pytest.raises(InputError, match=r"shards: the folder is not empty and has no shards"):
        make(tmp_path / "none.txt")
    assert (tmp_path / "shards" / "thesis.doc").exists()


def test_damaged_shards(options, tmp_path):
    make_shards(tmp_path / "good", options)

    def fresh_copy(name: str) -> Path:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        return tmp_path / "bad" / name

    with pytest.raises(InputError, match=r"nowhere: not a folder of shards"):
        Shards(tmp_path / "nowhere")
    os.truncate(fresh_copy("train-00000.tfrecord"), 1000)
    with pytest.raises(InputError, match=r"train-00000.tfrecord: 1000 bytes, expected \d+"):
        Shards(tmp_path / "bad")
    fresh_copy("dev-00000.tfrecord").unlink()
    with pytest.raises(InputError, match=r"dev-00000.tfrecord: cannot be read"):
        Shards(tmp_path / "bad")
    fresh_copy("index.json").write_text("{")
    with pytest.raises(InputError, match=r"index.json: not JSON"):
        Shards(tmp_path / "bad")
    path = fresh_copy("index.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(InputError, match=r"format 99, expected 1"):
        Shards(tmp_path / "bad")
    fresh_copy("vocab.txt").write_text("[PAD]\n")
    with pytest.raises(InputError, match=r"vocab.txt: 1 tokens"):
        Shards(tmp_path / "bad")


def test_every_flipped_bit_of_a_record_is_told(options, tmp_path):
    make_shards(tmp_path / "shards", options)
    size = Shards(tmp_path / "shards").index.record_size
    path = tmp_path / "shards" / "train-00000.tfrecord"
    content = path.read_bytes()
    assert size == 12 + 2 * (2 + 29) + 4
    for position in range(3 * size, 4 * size):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        shards = Shards(tmp_path / "shards")
        with pytest.raises(
            InputError, match=r"train-00000.tfrecord: record 3 is damaged: .*checksum"
        ):
            shards.read("train", np.array([5, 3, 4]))
        shards.read("train", np.array([2, 4]))


INDEX_CHANGES = [
    ({"seq_length": "x"}, "seq_length: expected int, got str"),
    ({"seq_length": 3}, "seq_length 3: expected at least 16"),
    ({"seq_length": 10**30}, "seq_length: expected int <= 2147483647"),
    ({"records": [1]}, "records: expected object, got array"),
    ({"records": {"train": [10]}}, "records: expected files of train and dev"),
    ({"records": {"train": [10], "dev": []}}, "records: expected files of train and dev"),
    ({"records": {"train": [10], "dev": [0]}}, "expected int >= 1"),
    (
        {"records": {"train": [2**31 - 1], "dev": [1]}},
        r"train-00000.tfrecord: \d+ bytes, expected \d+",
    ),
    ({"unigrams": None}, "unigrams: expected array, got null"),
    ({"unigrams": ["a"]}, r"unigrams\[0\]: expected int, got str"),
    ({"unigrams": [1]}, "vocab.txt: 77 tokens, index.json has 1"),
    ({"lowercase": 1}, "lowercase: expected bool, got int"),
    ({"source": None}, "source: expected object, got null"),
]


@pytest.mark.parametrize(("change", "match"), INDEX_CHANGES, ids=str)
def test_an_index_of_other_types(change, match, options, tmp_path):
    make_shards(tmp_path / "shards", options)
    path = tmp_path / "shards" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=match):
        Shards(tmp_path / "shards")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[]", "Expected object, got array"),
        ('{"train": []}', "expected lists of texts named train and dev"),
        ('{"train": [1], "dev": []}', "expected str, got int"),
        ("[" * 100_000, "nested deeper than 64"),
    ],
)
def test_samples_are_checked_before_they_are_needed(content, match, options, tmp_path):
    make_shards(tmp_path / "shards", options)
    (tmp_path / "shards" / "samples.json").write_text(content)
    with pytest.raises(InputError, match=f"samples.json: .*{match}"):
        Shards(tmp_path / "shards")


def test_checksums_are_those_of_the_standard():
    """Of RFC 3720, appendix B.4, masked as in TFRecord files."""
    for content, crc in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        rows = np.stack([np.frombuffer(content, np.uint8)] * 600)
        assert Crc32c(32)(rows).tolist() == [masked] * 600
