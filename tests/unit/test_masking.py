"""sqb_tf.training.pretraining.masking: the inputs and targets of a pretraining step."""

import dataclasses

import numpy as np
import pytest

from sqb_tf.training.pretraining.masking import Masking
from sqb_tf.training.pretraining.shards import Instances

PAD, CLS, SEP, MASK, FIRST = 0, 2, 3, 4, 5
VOCAB = 105
# Every third token continues the word before it.
STARTS = np.arange(VOCAB) % 3 != 0


def masking(**changes) -> Masking:
    default = Masking(
        seq_length=128,
        cls_id=CLS,
        sep_id=SEP,
        mask_id=MASK,
        pad_id=PAD,
        begins_word=STARTS,
        replacements=np.arange(FIRST, VOCAB),
    )
    return dataclasses.replace(default, **changes)


def random_instances(count: int, max_tokens: int = 125, full: bool = False) -> Instances:
    rng = np.random.default_rng(0)
    first = rng.integers(1, max_tokens // 2, count)
    second = rng.integers(1, max_tokens // 2, count)
    if full:
        second = max_tokens - first
    tokens = rng.integers(FIRST, VOCAB, (count, max_tokens)).astype(np.int32)
    tokens[np.arange(max_tokens)[None] >= (first + second)[:, None]] = 0
    return Instances(tokens, np.stack([first, second], 1).astype(np.int32))


def unmask(inputs, targets, weights) -> np.ndarray:
    """The ids before they were masked."""
    ids = inputs["input_word_ids"].copy()
    used = weights["masked_lm_logits"] > 0
    rows = np.repeat(np.arange(len(ids)), used.sum(1))
    ids[rows, inputs["masked_positions"][used]] = targets["masked_lm_logits"][used]
    return ids


@pytest.mark.parametrize("whole_words", [False, True])
def test_segments_are_in_order_or_swapped(whole_words):
    instances = random_instances(200)
    inputs, targets, weights = masking(whole_words=whole_words)(instances, (0,))
    ids = unmask(inputs, targets, weights)
    swapped = targets["sentence_order_logits"]
    assert 70 < swapped.sum() < 130
    for row in range(200):
        length, second_length = instances.lengths[row]
        tokens = instances.tokens[row, : length + second_length]
        segments = tokens[:length], tokens[length:]
        first, second = reversed(segments) if swapped[row] else segments
        expected = np.array([CLS, *first, SEP, *second, SEP])
        size = len(expected)
        np.testing.assert_array_equal(ids[row, :size], expected)
        assert not ids[row, size:].any()
        np.testing.assert_array_equal(inputs["input_mask"][row], np.arange(128) < size)
        types = np.zeros(128)
        types[len(first) + 2 : size] = 1
        np.testing.assert_array_equal(inputs["input_type_ids"][row], types)


def test_without_sentence_order_nothing_is_swapped():
    _, targets, _ = masking(swaps=False)(random_instances(200), (0,))
    assert not targets["sentence_order_logits"].any()


def test_tokens_are_masked_kept_and_replaced_in_berts_shares():
    inputs, targets, weights = masking()(random_instances(2000, full=True), (1,))
    used = weights["masked_lm_logits"] > 0
    assert used.sum() == 2000 * round(0.15 * 125)
    ids, positions = inputs["input_word_ids"], inputs["masked_positions"]
    read = np.take_along_axis(ids, positions, 1)[used]
    original = targets["masked_lm_logits"][used]
    count = len(original)
    kept, masked = (read == original).mean(), (read == MASK).mean()
    # Within four standard deviations. One random replacement in a hundred is the token itself.
    for share, expected in ((masked, 0.8), (kept, 0.1 + 0.1 / 100)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    assert set(np.unique(read)) == {MASK, *range(FIRST, VOCAB)}
    # All positions are equally likely, and none is predicted twice.
    counts = np.bincount(positions[used], minlength=128)
    assert counts[0] == 0 and (np.diff(positions[:, : used.sum(1).min()], axis=1) > 0).all()
    inner = counts[1:126]
    assert inner.min() > 0.5 * inner.mean()


def test_special_tokens_and_padding_are_never_predicted():
    inputs, targets, weights = masking()(random_instances(500), (2,))
    used = weights["masked_lm_logits"] > 0
    assert targets["masked_lm_logits"][used].min() >= FIRST
    assert (inputs["masked_positions"][~used] == 0).all()
    ends = inputs["input_mask"].sum(1)
    assert (inputs["masked_positions"].max(1) < ends - 1).all()


def test_whole_words_are_masked_together():
    inputs, targets, weights = masking(whole_words=True)(random_instances(500), (3,))
    ids = unmask(inputs, targets, weights)
    used, cut, multi_token = weights["masked_lm_logits"] > 0, 0, 0
    for row in range(500):
        positions = set(inputs["masked_positions"][row][used[row]].tolist())
        special = np.isin(ids[row], (PAD, CLS, SEP))
        word = np.cumsum(STARTS[ids[row]] | special)
        words = {word[position] for position in positions}
        whole = {i for i in range(128) if word[i] in words and not special[i]}
        cut += positions != whole
        multi_token += len(whole) > len(words)
    # A word is cut only if it is the first and has more tokens than may be masked.
    assert multi_token > 300 and cut <= 5


def test_weights_have_a_mean_of_one():
    _, _, weights = masking()(random_instances(64), (4,))
    assert weights["masked_lm_logits"].mean() == pytest.approx(1, abs=1e-6)
    assert len(np.unique(weights["masked_lm_logits"])) == 2


def test_masks_are_a_function_of_the_seed():
    first, again, another = (
        masking()(random_instances(8), seed) for seed in ((5, 1), (5, 1), (5, 2))
    )
    for name, values in first[0].items():
        np.testing.assert_array_equal(values, again[0][name])
    assert (first[0]["masked_positions"] != another[0]["masked_positions"]).any()


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_shortest_instance(whole_words):
    """Two tokens: one is predicted."""
    tokens = np.zeros((1, 13), np.int32)
    tokens[0, :2] = 7, 8
    instances = Instances(tokens, np.array([[1, 1]], np.int32))
    small = masking(seq_length=16, whole_words=whole_words)
    inputs, targets, weights = small(instances, (0,))
    assert (weights["masked_lm_logits"] > 0).sum() == 1
    assert sorted(unmask(inputs, targets, weights)[0][:5].tolist()) == [CLS, SEP, SEP, 7, 8]
