"""sqb_tf.text.preprocessing: special tokens, type ids, masks, truncation, padding."""

import random

import numpy as np
import pytest
import tensorflow as tf
from fixtures.models import random_texts

from sqb_tf.errors import InputError
from sqb_tf.text.encoder import check_seq_length
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return WordPieceTokenizer(vocabulary)


def tokens(preprocessor: Preprocessor, inputs: dict[str, tf.Tensor]) -> list[str]:
    """Each row's tokens, joined."""
    words = preprocessor.tokenizer.vocabulary
    return [" ".join(words[i] for i in row) for row in inputs["input_word_ids"].numpy()]


def test_single_texts_by_hand(tokenizer):
    preprocessor = Preprocessor(tokenizer, 8)
    inputs = preprocessor(["bad film", "the film was not very good!", ""])
    assert tokens(preprocessor, inputs) == [
        "[CLS] bad film [SEP] [PAD] [PAD] [PAD] [PAD]",
        "[CLS] the film was not very good [SEP]",
        "[CLS] [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
    ]
    np.testing.assert_array_equal(
        inputs["input_mask"],
        [[1, 1, 1, 1, 0, 0, 0, 0], [1] * 8, [1, 1, 0, 0, 0, 0, 0, 0]],
    )
    np.testing.assert_array_equal(inputs["input_type_ids"], np.zeros((3, 8)))
    assert {values.dtype for values in inputs.values()} == {tf.int32}


def test_pairs_by_hand(tokenizer):
    preprocessor = Preprocessor(tokenizer, 8)
    inputs = preprocessor(["bad", "the film was bad"], ["film", "a good end!"])
    assert tokens(preprocessor, inputs) == [
        "[CLS] bad [SEP] film [SEP] [PAD] [PAD] [PAD]",
        "[CLS] the film was [SEP] a good [SEP]",
    ]
    np.testing.assert_array_equal(
        inputs["input_type_ids"], [[0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
    )
    np.testing.assert_array_equal(inputs["input_mask"], [[1, 1, 1, 1, 1, 0, 0, 0], [1] * 8])


def test_batch_is_padded_to_its_longest_or_to_a_length(tokenizer):
    preprocessor = Preprocessor(tokenizer, 16)
    texts = ["bad", "the film was bad"]
    assert preprocessor(texts)["input_word_ids"].shape == (2, 6)
    longer = preprocessor(texts, length=12)
    assert {values.shape for values in longer.values()} == {tf.TensorShape((2, 12))}
    for name, values in preprocessor(texts).items():
        np.testing.assert_array_equal(longer[name][:, :6], values)
        assert not longer[name][:, 6:].numpy().any()  # [PAD] is 0 in this vocabulary


def test_padding_is_the_vocabularys(vocabulary):
    moved = [*vocabulary[1:], "[PAD]"]
    inputs = Preprocessor(WordPieceTokenizer(moved), 8)(["bad"], length=5)
    assert inputs["input_word_ids"].numpy()[0, 3:].tolist() == [len(moved) - 1] * 2
    assert inputs["input_mask"].numpy()[0].tolist() == [1, 1, 1, 0, 0]


def cut_token_by_token(first: list, second: list, budget: int) -> tuple[list, list]:
    """`transformers`' longest_first: one token of the longer text, of the second if both are equal."""
    first, second = list(first), list(second)
    while len(first) + len(second) > budget:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize("seq_length", [5, 6, 11, 20])
def test_pairs_are_truncated_longest_first(tokenizer, seq_length):
    texts, pairs = random_texts(150, seed=1), random_texts(150, seed=2)
    random.Random(0).shuffle(texts)
    word_ids, type_ids = Preprocessor(tokenizer, seq_length).ragged(texts, pairs)
    firsts, seconds = tokenizer(texts).to_list(), tokenizer(pairs).to_list()
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    shortened = 0
    for words, types, first, second in zip(
        word_ids.to_list(), type_ids.to_list(), firsts, seconds, strict=True
    ):
        one, two = cut_token_by_token(first, second, seq_length - 3)
        assert words == [cls, *one, sep, *two, sep]
        assert types == [0] * (len(one) + 2) + [1] * (len(two) + 1)
        shortened += len(one) < len(first) and len(two) < len(second)
    assert shortened > 10  # both texts of a pair, in enough of them


def test_single_texts_keep_their_first_tokens(tokenizer):
    texts = random_texts(50, seed=3)
    word_ids, _ = Preprocessor(tokenizer, 9).ragged(texts)
    for words, full in zip(word_ids.to_list(), tokenizer(texts).to_list(), strict=True):
        assert words == [tokenizer.cls_id, *full[:7], tokenizer.sep_id]


def test_empty_text_of_a_pair_leaves_the_room_to_the_other(tokenizer):
    preprocessor = Preprocessor(tokenizer, 8)
    inputs = preprocessor(["", "the film was bad !", ""], ["the film was bad ! !", "", ""])
    assert tokens(preprocessor, inputs) == [
        "[CLS] [SEP] the film was bad ! [SEP]",
        "[CLS] the film was bad ! [SEP] [SEP]",
        "[CLS] [SEP] [SEP] [PAD] [PAD] [PAD] [PAD] [PAD]",
    ]


@pytest.mark.parametrize("paired", [False, True])
def test_preprocessing_in_tf_data_equals_eager(tokenizer, paired):
    preprocessor = Preprocessor(tokenizer, 12)
    texts, pairs = random_texts(8, seed=4), random_texts(8, seed=5)
    if paired:
        data = tf.data.Dataset.from_tensor_slices((texts, pairs)).batch(8)
        expected = preprocessor(texts, pairs)
    else:
        data = tf.data.Dataset.from_tensor_slices(texts).batch(8)
        expected = preprocessor(texts)
    (found,) = data.map(preprocessor)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("seq_length", [4, 0, 65])
def test_length_out_of_range_error_names_it(seq_length):
    with pytest.raises(InputError, match=f"seq_length {seq_length}: expected 5 to 64"):
        check_seq_length(seq_length, 64)


def test_lengths_in_range_pass():
    check_seq_length(5, 64)
    check_seq_length(64, 64)
