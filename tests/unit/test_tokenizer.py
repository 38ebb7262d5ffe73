"""sqb_tf.text.tokenizer: ids by hand, casing, bad vocabularies, BERT's own tokenizer on real text."""

import itertools

import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from sqb_tf.errors import InputError
from sqb_tf.text.tokenizer import WordPieceTokenizer, learn_vocabulary
from sqb_tf.text.vocabulary import read_vocabulary


def pieces(vocabulary: list[str], text: str, lowercase: bool = True) -> list[str]:
    """The tokens of one text."""
    ids = WordPieceTokenizer(vocabulary, lowercase)([text])
    return [vocabulary[i] for i in ids[0].numpy()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the film was good!", "the film was good !"),
        ("filmed plots", "film ##ed plot ##s"),  # the longest piece first
        ("The FILM", "the film"),
        ("Éa", "e ##a"),  # accents go with the capitals
        ("good,bad", "good , bad"),
        ("7 a", "[UNK] a"),
        ("film7", "[UNK]"),  # a word with an unknown piece is unknown as a whole
        ("a中a", "a [UNK] a"),  # a CJK character is a word
        (" \t a \n", "a"),
        ("", ""),
        (" ", ""),
        ("[SEP]", "[UNK] s ##e ##p [UNK]"),  # text cannot make a special token
    ],
)
def test_uncased_tokens_by_hand(vocabulary, text, expected):
    assert pieces(vocabulary, text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The film", "The film"), ("É é", "É é"), ("FILM", "[UNK]"), ("Éa", "É ##a")],
)
def test_cased_tokens_keep_capitals_and_accents(vocabulary, text, expected):
    assert pieces(vocabulary, text, lowercase=False) == expected.split()


def test_ids_are_indices_of_the_vocabulary_as_ragged_int32(vocabulary):
    ids = WordPieceTokenizer(vocabulary)(["the film", "", "bad"])
    assert isinstance(ids, tf.RaggedTensor)
    assert ids.dtype == tf.int32
    index = vocabulary.index
    assert ids.to_list() == [[index("the"), index("film")], [], [index("bad")]]


def test_tokenizer_reads_a_file(vocabulary, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    assert WordPieceTokenizer(path).vocabulary == read_vocabulary(path) == vocabulary


def test_vocabulary_file_keeps_tokens_that_are_line_separators(vocabulary, tmp_path):
    path = tmp_path / "vocab.txt"
    tokens = [*vocabulary, "\u2028", "\x85", "last"]
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    assert read_vocabulary(path) == tokens


def test_tokenizer_works_inside_tf_data(vocabulary):
    tokenizer = WordPieceTokenizer(vocabulary)
    texts = ["the film", "", "a bad plot!"]
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(2).map(tokenizer)
    found = [row for batch in batches for row in batch.to_list()]
    assert found == tokenizer(texts).to_list()


@pytest.mark.parametrize("missing", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
def test_missing_special_token_error_names_it(vocabulary, missing, tmp_path):
    tokens = [token for token in vocabulary if token != missing]
    with pytest.raises(InputError, match=rf"\{missing}"):
        WordPieceTokenizer(tokens)
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tokens), encoding="utf-8")
    with pytest.raises(InputError, match=rf"vocab\.txt.*\{missing}"):
        read_vocabulary(path)


def test_repeated_token_raises_error(vocabulary):
    with pytest.raises(InputError, match="twice"):
        WordPieceTokenizer([*vocabulary, "film"])


def test_unreadable_vocabulary_error_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.txt"):
        read_vocabulary(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"[PAD]\n\xe9\n")
    with pytest.raises(InputError, match=r"latin\.txt"):
        read_vocabulary(tmp_path / "latin.txt")


@pytest.mark.parametrize("lowercase", [True, False])
def test_learned_vocabulary_covers_its_texts(lowercase):
    texts = ["the Cat sat on the mat"] * 20 + ["Dogs run to the café"] * 20
    learned = learn_vocabulary(iter(texts), 60, lowercase)
    assert learned[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(learned)) == len(learned)
    assert "the" in learned
    assert ("Cat" in learned) == (not lowercase)
    assert ("cat" in learned) == lowercase
    for text in set(texts):
        assert "[UNK]" not in pieces(learned, text, lowercase)


def test_learned_pieces_are_the_most_frequent_merges():
    learned = learn_vocabulary(["low low low lower lowest newer newest"], 60)
    # "lo", then "low", is in 5 words; nothing else is in more than 4.
    merges = [token for token in learned[5:] if len(token.removeprefix("##")) > 1]
    assert merges[:3] == ["##lo", "##low", "low"]
    assert pieces(learned, "lows") == ["low", "##s"]


def test_learned_vocabulary_leaves_out_rare_characters():
    learned = learn_vocabulary(["abcde " * 50 + "fghij klm \u2581x"], 32)
    assert len(learned) == 32
    assert {"a", "##e"} <= set(learned) and "\u2581" not in learned
    assert pieces(learned, "ab \u2581")[-1] == "[UNK]"


@pytest.mark.parametrize("texts", [[], [""], [" \t "]])
def test_vocabulary_of_nothing_is_the_special_tokens(texts):
    assert learn_vocabulary(texts, 100) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_learned_vocabulary_is_the_same_each_time():
    texts = [f"some {i} words {i % 7} again{i % 11}" for i in range(200)]
    assert learn_vocabulary(texts, 200) == learn_vocabulary(iter(texts), 200)


def test_vocabulary_that_is_too_small():
    with pytest.raises(InputError, match="vocab_size 31: expected at least 32"):
        learn_vocabulary(["a"], 31)


@pytest.mark.parametrize("lowercase", [True, False])
def test_fast_tokenizer_agrees_with_berts_on_sst2(shared_data, lowercase):
    tokenizer = WordPieceTokenizer(shared_data / "vocab/bert-base-uncased-vocab.txt", lowercase)
    with open(shared_data / "glue/SST-2/train.tsv", encoding="utf-8") as file:
        texts = [line.split("\t")[0] for line in itertools.islice(file, 1, 1001)]
    texts += [text.title() for text in texts[:100]]
    size = len(tokenizer.vocabulary)
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(tokenizer.vocabulary, tf.range(size, dtype=tf.int64)),
        num_oov_buckets=1,
    )
    bert = tf_text.BertTokenizer(table, lower_case=lowercase, token_out_type=tf.int64)
    expected = bert.tokenize(texts).merge_dims(1, 2).to_list()
    assert len(expected) == 1100
    unknown = tokenizer.unk_id
    expected = [[unknown if i == size else i for i in row] for row in expected]
    assert tokenizer(texts).to_list() == expected
