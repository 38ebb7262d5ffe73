"""sqb_tf.text.encoder: exactly the ids, offsets and word positions of tensorflow-text; bad text."""

import itertools
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import VOCABULARY, random_texts

from sqb_tf.errors import InputError
from sqb_tf.heads.head import Request
from sqb_tf.model.keras_backend import stack_inputs
from sqb_tf.text import characters
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer, learn_vocabulary
from sqb_tf.text.vocabulary import SPECIAL_TOKENS

SURROGATES = range(0xD800, 0xE000)
# Whitespace of every kind, controls, characters that vanish, that grow, that only some Unicode versions know.
TRICKY = (
    " \t\n\r\0\x1c\x1f\x7f\x85\xa0\xad\u1680\u180e\u2003\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
    "\u0301\u0345\u0130\xdf\u1e9e\u03c2\ufb01\ufdfa\xbd\u2167\ua7dc\U00016d40\U0001e4ff\U0001c800\ufdd0\uffff"
    "\U0010ffff\ue000#[]-_中가각\U0002f800\U00020000\U0001f600"
)
# Tokens that are odd in each way that tensorflow-text takes: whitespace inside (the piece then spans words),
# marks inside (never matched), nothing, ## alone, longer than any word.
ODD = [
    *SPECIAL_TOKENS,
    "",
    "##",
    "## ",
    " ",
    "#",
    "-",
    "a-b",
    "##-",
    "a",
    "b",
    "ab",
    "a b",
    "a c",
    "b c d",
]
ODD += [
    "##a",
    "##b c",
    "##c",
    "\xa0",
    "##\xa0",
    "\xa0a",
    "c\u2003c",
    "##\u2003d",
    "  a",
    "##é",
    "é" * 51,
]
ODD_TEXT = "aaaabbbccd   -#\xa0\xa0\u2003\u0301é"


def generated(count: int, seed: int) -> Iterator[str]:
    """Texts of all of Unicode: scripts, controls, marks, unassigned; 10 characters on average."""
    rng = random.Random(seed)
    highest = (0x7F, 0x7F, 0x250, 0x3000, 0x10000, 0x20000, 0x110000)
    for _ in range(count):
        length = rng.choice((1, 2, 4, 8, 16, 32))
        if rng.random() < 0.7:
            codes = [int(rng.random() * rng.choice(highest)) for _ in range(length)]
        else:  # of one script
            first = int(rng.random() * (rng.choice(highest) - 64))
            codes = [first + int(rng.random() * 64) for _ in range(length)]
        text = [chr(code) for code in codes if code not in SURROGATES]
        for _ in range(len(text) // 6):
            text[int(rng.random() * len(text))] = rng.choice(TRICKY)
        yield "".join(text)


def odd_texts(count: int, seed: int) -> list[str]:
    """Short texts of the characters in `ODD`."""
    rng = random.Random(seed)
    return ["".join(rng.choices(ODD_TEXT, k=rng.randint(1, 14))) for _ in range(count)]


def expected_offsets(
    tokenizer: WordPieceTokenizer, texts: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids and offsets by tensorflow-text, which counts bytes of UTF-8."""
    encoded = tokenizer._tokenizer.tokenize_with_offsets(tf.constant(texts))
    ends = encoded[0].row_splits.numpy()[1:-1]  # in NumPy: a row of a ragged tensor costs 2 ms
    rows = zip(*(np.split(part.flat_values.numpy(), ends) for part in encoded), strict=True)
    for text, (ids, first, end) in zip(texts, rows, strict=True):
        starts = np.cumsum([0, *(len(character.encode()) for character in text)])
        offsets = np.stack([np.searchsorted(starts, part) for part in (first, end)], axis=1)
        # Tokens of one character all but the last end where they begin: they share the last one's end.
        for i in range(len(offsets) - 2, -1, -1):
            if offsets[i, 0] >= offsets[i, 1]:
                offsets[i, 1] = offsets[i + 1, 1]
        yield ids, offsets


def assert_same_ids(
    vocabulary: Sequence[str] | Path, lowercase: bool, texts: Iterable[str], batch: int = 20_000
) -> int:
    """Compares ids text by text; returns how many texts there were."""
    tokenizer, encoder = (
        WordPieceTokenizer(vocabulary, lowercase),
        TextEncoder(vocabulary, lowercase, 128),
    )
    count, texts = 0, iter(texts)
    while some := list(itertools.islice(texts, batch)):
        for text, expected in zip(some, tokenizer(some).to_list(), strict=True):
            assert encoder.ids(text) == expected, repr(text)
        count += len(some)
    return count


def assert_same_offsets(
    vocabulary: Sequence[str] | Path, lowercase: bool, texts: Sequence[str]
) -> None:
    encoder = TextEncoder(vocabulary, lowercase, 128)
    expected = expected_offsets(WordPieceTokenizer(vocabulary, lowercase), texts)
    for text, (ids, offsets) in zip(texts, expected, strict=True):
        actual = encoder.with_offsets(text)
        assert actual[0].dtype == np.int32 and actual[1].shape == (len(ids), 2)
        np.testing.assert_array_equal(actual[0], ids, repr(text))
        np.testing.assert_array_equal(actual[1], offsets, repr(text))


def texts_in(folder: Path, lines: int | None) -> Iterator[str]:
    """Every text in the files of a folder of data, or those of the first lines of each file."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".tsv", ".conll", ".txt"):
            with open(path, encoding="utf-8", newline="\n") as file:
                for line in itertools.islice(file, lines):
                    yield from line.removesuffix("\n").split("\t")
        elif path.suffix == ".json":
            articles = json.loads(path.read_text(encoding="utf-8"))["data"]
            for paragraph in itertools.islice(
                (p for article in articles for p in article["paragraphs"]), lines
            ):
                yield paragraph["context"]
                for question in paragraph["qas"]:
                    yield question["question"]
                    yield from (answer["text"] for answer in question["answers"])


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def lowercase(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def learned(lowercase) -> list[str]:
    """A vocabulary learned from texts of all scripts: it has tokens with whitespace inside."""
    vocabulary = learn_vocabulary(generated(8_000, seed=5), 3000, lowercase)
    assert len(vocabulary) == 3000
    assert any(any(map(characters.is_space, token)) for token in vocabulary)
    return vocabulary


# --- Exactly as tensorflow-text ------------------------------------------------------------------


@pytest.mark.parametrize("step", [16, pytest.param(1, marks=pytest.mark.slow)])
def test_every_character(lowercase, step):
    """Alone, and between letters: what it becomes, and whether it separates words."""
    codes = [code for code in range(0x110000) if code not in SURROGATES]
    chosen = [code for code in codes if code < 0x3400 or code % step == 0]
    vocabulary = [*VOCABULARY, *sorted({chr(0x1100 + i) for i in range(0x100)} - set(VOCABULARY))]
    texts = (f"{before}{chr(code)}{before}" for code in chosen for before in ("", "x"))
    assert assert_same_ids(vocabulary, lowercase, texts) == 2 * len(chosen)


@pytest.mark.parametrize("step", [16, pytest.param(1, marks=pytest.mark.slow)])
def test_every_character_is_normalized_as_by_tensorflow_text(lowercase, step):
    import tensorflow_text as tf_text

    codes = [code for code in range(0x110000) if code not in SURROGATES]
    chosen = [code for code in codes if code < 0x3400 or code % step == 0]
    normalizer = tf_text.FastBertNormalizer(lowercase)
    expected = normalizer.normalize(tf.constant([chr(code) for code in chosen])).numpy()
    normalize = characters.Characters(lowercase).normalize
    for code, text in zip(chosen, expected, strict=True):
        assert normalize[code] == text.decode(), hex(code)


@pytest.mark.parametrize("count", [10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_generated_text_and_a_learned_vocabulary(learned, lowercase, count):
    assert assert_same_ids(learned, lowercase, generated(count, seed=6)) == count


@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_generated_text_and_berts_vocabulary(shared_data, lowercase, count):
    path = shared_data / "vocab/bert-base-uncased-vocab.txt"
    assert assert_same_ids(path, lowercase, generated(count, seed=7)) == count


def test_odd_vocabularies(lowercase):
    """With tokens of whitespace, marks, nothing; without pieces that continue a word; of letters only."""
    texts = odd_texts(8_000, seed=8)
    assert_same_ids(ODD, lowercase, texts)
    assert_same_ids([token for token in ODD if token[:2] != "##"], lowercase, texts)
    assert_same_ids(VOCABULARY, lowercase, [*texts, *generated(2_000, seed=9)])
    assert_same_offsets(ODD, lowercase, texts[:3_000])


@pytest.mark.parametrize("letter", ["a", "é", "\u4e00", "\U0001f600", "\U0001d504", "\ud55c"])
def test_longest_words(letter, lowercase):
    """A word has at most 100 bytes of UTF-8, counted after normalization."""
    vocabulary = list(dict.fromkeys([*SPECIAL_TOKENS, "a", "##a", letter, f"##{letter}", "a" * 99]))
    words = [letter * n for n in range(20, 110)] + [letter * n + "a" for n in range(20, 110, 3)]
    texts = [*words, *(f"a{word} {word}!" for word in words)]
    assert_same_ids(vocabulary, lowercase, texts)
    assert_same_offsets(vocabulary, lowercase, texts)


@pytest.mark.parametrize("lines", [60, pytest.param(None, marks=pytest.mark.slow)])
def test_real_text(shared_data, lowercase, lines):
    """Every text of the shared data, by BERT's vocabulary."""
    path = shared_data / "vocab/bert-base-uncased-vocab.txt"
    count = assert_same_ids(path, lowercase, texts_in(shared_data, lines))
    assert count > (5_000 if lines else 1_000_000)


def test_offsets_of_generated_text(learned, lowercase):
    assert_same_offsets(learned, lowercase, list(generated(2_000, seed=10)))


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_offsets_of_squads_contexts(shared_data, squad_dev, lowercase, step):
    contexts = sorted({example.pair for example in squad_dev})[::step]
    path = shared_data / "vocab/bert-base-uncased-vocab.txt"
    assert_same_offsets(path, lowercase, contexts)


def batch(encoder: TextEncoder, texts: list[str], pairs: list[str] | None = None) -> dict:
    """The inputs of all texts as one batch."""
    rows = zip(texts, pairs or [None] * len(texts), strict=True)
    return stack_inputs([Request(encoder.inputs(*row)) for row in rows], encoder.pad_id)


@pytest.mark.parametrize("seq_length", [5, 6, 11, 20])
@pytest.mark.parametrize("paired", [False, True])
def test_inputs_are_the_preprocessors(paired, seq_length):
    """Truncation and types of each text, and padding in a batch."""
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), seq_length)
    encoder = TextEncoder(VOCABULARY, True, seq_length)
    texts = ["", "", "a film", *random_texts(60, seed=1), *random_texts(40, seed=2, longest=3)]
    pairs = ["", "a", "", *random_texts(40, seed=3, longest=3), *random_texts(60, seed=4)]
    pairs = pairs if paired else None
    expected, actual = preprocessor(texts, pairs), batch(encoder, texts, pairs)
    assert list(actual) == list(expected)
    for name, values in actual.items():
        assert values.dtype == np.int32
        np.testing.assert_array_equal(values, expected[name], name)
    for i, row in enumerate(zip(texts, pairs or [None] * len(texts), strict=True)):
        length = actual["input_mask"][i].sum()
        for name, values in encoder.inputs(*row).items():
            assert values.dtype == np.int32
            np.testing.assert_array_equal(values, actual[name][i : i + 1, :length])


@pytest.mark.parametrize("seq_length", [8, 64])
def test_word_positions_are_the_preprocessors(seq_length, lowercase):
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY, lowercase), seq_length)
    encoder = preprocessor.encoder
    texts = ["", " ", "the  filmed plot ", "a \u200d \xad b\xa0c É!", *random_texts(50, seed=5)]
    texts += list(generated(500, seed=11))
    expected = preprocessor.word_positions(texts).to_list()
    for text, positions in zip(texts, expected, strict=True):
        ids, first = encoder.words(text)
        assert ids.dtype == np.int32 and ids.tolist() == encoder.ids(text)
        kept = (first >= 0) & (first < seq_length - 2)
        assert np.where(kept, 1 + first, -1).tolist() == positions


# --- By hand -------------------------------------------------------------------------------------


def test_pairs_by_hand(vocabulary):
    encoder = TextEncoder(vocabulary, True, 8)
    inputs = batch(encoder, ["bad", "the film was bad"], ["film", "a good end!"])
    rows = [[vocabulary[i] for i in row] for row in inputs["input_word_ids"]]
    assert rows == [
        ["[CLS]", "bad", "[SEP]", "film", "[SEP]", "[PAD]", "[PAD]", "[PAD]"],
        ["[CLS]", "the", "film", "was", "[SEP]", "a", "good", "[SEP]"],
    ]
    assert inputs["input_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
    assert inputs["input_mask"].tolist() == [[1, 1, 1, 1, 1, 0, 0, 0], [1] * 8]


def test_padding_is_the_vocabularys(vocabulary):
    moved = [*vocabulary[1:], "[PAD]"]
    inputs = batch(TextEncoder(moved, True, 8), ["bad", "the film was"])
    assert inputs["input_word_ids"][0, 3:].tolist() == [len(moved) - 1] * 2


def test_an_encoder_of_another_length(vocabulary):
    encoder = TextEncoder(vocabulary, True, 16)
    text = "the film was not very good"
    assert encoder.with_seq_length(5).inputs(text)["input_word_ids"].shape == (1, 5)
    assert encoder.inputs(text)["input_word_ids"].shape == (1, 8)


# --- Errors and memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\ud800", "a good \udfff film", "\ud83d\ude00"])
@pytest.mark.parametrize("method", ["ids", "inputs", "with_offsets", "words"])
def test_lone_surrogates_are_refused(vocabulary, lowercase, method, text):
    encoder = TextEncoder(vocabulary, lowercase, 8)
    with pytest.raises(InputError, match=r"lone surrogate U\+D[8F]..: expected Unicode text"):
        getattr(encoder, method)(text)


def test_bad_vocabularies_and_lengths(vocabulary):
    with pytest.raises(InputError, match=r"lacks \[SEP\]"):
        TextEncoder([token for token in vocabulary if token != "[SEP]"], True, 8)
    with pytest.raises(InputError, match="twice"):
        TextEncoder([*vocabulary, "film"], True, 8)
    with pytest.raises(InputError, match="seq_length 4: expected at least 5"):
        TextEncoder(vocabulary, True, 4)
    with pytest.raises(InputError, match="seq_length 4: expected at least 5"):
        TextEncoder(vocabulary, True, 8).with_seq_length(4)


def test_memory_does_not_grow_with_the_characters_seen(vocabulary, monkeypatch):
    monkeypatch.setattr(characters, "KEPT", 100)
    encoder = TextEncoder([*vocabulary, "\u0100"], False, 8)
    text = "".join(map(chr, range(0x100, 0x1000)))
    assert encoder.ids(text) == encoder.ids(text)
    rules = encoder._normalize, encoder._wordpiece._separate
    assert [len(rule) for rule in rules] == [100, 100]


def test_python_splits_at_no_other_whitespace():
    """`str.split` without a separator is used on normalized text: its whitespace must be ours."""
    for lowercase in (True, False):
        normalize = characters.Characters(lowercase).normalize
        for code in range(0x110000):
            if chr(code).isspace():
                for character in normalize[code]:
                    assert characters.is_space(character), hex(code)
