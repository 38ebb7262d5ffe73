"""What a step of pretraining sees of its instances."""

import dataclasses

import numpy as np
import pytest

from sqb_tf.training.pretraining.masking import Masking
from sqb_tf.training.pretraining.shards import Instances

PAD, CLS, SEP, MASK, FIRST = 0, 2, 3, 4, 5
VOCAB = 105
# Every third token goes on with the word before it.
STARTS = np.arange(VOCAB) % 3 != 0


def masking(**changes) -> Masking:
    made = Masking(
        seq_length=128,
        cls_id=CLS,
        sep_id=SEP,
        mask_id=MASK,
        pad_id=PAD,
        begins_word=STARTS,
        replacements=np.arange(FIRST, VOCAB),
    )
    return dataclasses.replace(made, **changes)


def instances(count: int, room: int = 125, full: bool = False) -> Instances:
    rng = np.random.default_rng(0)
    one = rng.integers(1, room // 2, count)
    two = np.full(count, room) - one if full else rng.integers(1, room // 2, count)
    tokens = rng.integers(FIRST, VOCAB, (count, room)).astype(np.int32)
    tokens[np.arange(room)[None] >= (one + two)[:, None]] = 0
    return Instances(tokens, np.stack([one, two], 1).astype(np.int32))


def restored(inputs, targets, weights) -> np.ndarray:
    """The ids before they were masked."""
    ids = inputs["input_word_ids"].copy()
    used = weights["masked_lm_logits"] > 0
    rows = np.repeat(np.arange(len(ids)), used.sum(1))
    ids[rows, inputs["masked_positions"][used]] = targets["masked_lm_logits"][used]
    return ids


@pytest.mark.parametrize("whole_words", [False, True])
def test_segments_stand_in_order_or_swapped(whole_words):
    made = instances(200)
    inputs, targets, weights = masking(whole_words=whole_words)(made, (0,))
    ids = restored(inputs, targets, weights)
    swapped = targets["sentence_order_logits"]
    assert 70 < swapped.sum() < 130
    for row in range(200):
        one, two = made.lengths[row]
        parts = made.tokens[row, :one], made.tokens[row, one : one + two]
        first, second = reversed(parts) if swapped[row] else parts
        expected = np.array([CLS, *first, SEP, *second, SEP])
        size = len(expected)
        np.testing.assert_array_equal(ids[row, :size], expected)
        assert not ids[row, size:].any()
        np.testing.assert_array_equal(inputs["input_mask"][row], np.arange(128) < size)
        types = np.zeros(128)
        types[len(first) + 2 : size] = 1
        np.testing.assert_array_equal(inputs["input_type_ids"][row], types)


def test_without_sentence_order_nothing_is_swapped():
    _, targets, _ = masking(swaps=False)(instances(200), (0,))
    assert not targets["sentence_order_logits"].any()


def test_shares_are_berts():
    made = instances(2000, full=True)
    inputs, targets, weights = masking()(made, (1,))
    used = weights["masked_lm_logits"] > 0
    assert used.sum() == 2000 * round(0.15 * 125)
    ids, positions = inputs["input_word_ids"], inputs["masked_positions"]
    shown = np.take_along_axis(ids, positions, 1)[used]
    hidden = targets["masked_lm_logits"][used]
    count = len(hidden)
    kept, masked = (shown == hidden).mean(), (shown == MASK).mean()
    # Four standard deviations; one in a hundred of the replaced is its own.
    for share, expected in ((masked, 0.8), (kept, 0.1 + 0.1 / 100)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    assert set(np.unique(shown)) == {MASK, *range(FIRST, VOCAB)}
    # No place is likelier than another, and none is taken twice.
    places = np.bincount(positions[used], minlength=128)
    assert places[0] == 0 and (np.diff(positions[:, : used.sum(1).min()], axis=1) > 0).all()
    inner = places[1:126]
    assert inner.min() > 0.5 * inner.mean()


def test_special_tokens_and_padding_are_never_predicted():
    inputs, targets, weights = masking()(instances(500), (2,))
    used = weights["masked_lm_logits"] > 0
    assert targets["masked_lm_logits"][used].min() >= FIRST
    assert (inputs["masked_positions"][~used] == 0).all()
    ends = inputs["input_mask"].sum(1)
    assert (inputs["masked_positions"].max(1) < ends - 1).all()


def test_whole_words_are_masked_together():
    inputs, targets, weights = masking(whole_words=True)(instances(500), (3,))
    ids = restored(inputs, targets, weights)
    used, cut, several = weights["masked_lm_logits"] > 0, 0, 0
    for row in range(500):
        chosen = set(inputs["masked_positions"][row][used[row]].tolist())
        special = np.isin(ids[row], (PAD, CLS, SEP))
        word = np.cumsum(STARTS[ids[row]] | special)
        words = {word[place] for place in chosen}
        whole = {i for i in range(128) if word[i] in words and not special[i]}
        cut += chosen != whole
        several += len(whole) > len(words)
    # Only a first word that is longer than what may be masked is cut.
    assert several > 300 and cut <= 5


def test_weights_have_a_mean_of_one():
    _, _, weights = masking()(instances(64), (4,))
    assert weights["masked_lm_logits"].mean() == pytest.approx(1, abs=1e-6)
    assert len(np.unique(weights["masked_lm_logits"])) == 2


def test_masks_are_a_function_of_the_seed():
    first, again, other = (masking()(instances(8), seed) for seed in ((5, 1), (5, 1), (5, 2)))
    for name, values in first[0].items():
        np.testing.assert_array_equal(values, again[0][name])
    assert (first[0]["masked_positions"] != other[0]["masked_positions"]).any()


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_shortest_instance(whole_words):
    """Two tokens: one is predicted."""
    tokens = np.zeros((1, 13), np.int32)
    tokens[0, :2] = 7, 8
    made = Instances(tokens, np.array([[1, 1]], np.int32))
    small = masking(seq_length=16, whole_words=whole_words)
    inputs, targets, weights = small(made, (0,))
    assert (weights["masked_lm_logits"] > 0).sum() == 1
    assert sorted(restored(inputs, targets, weights)[0][:5].tolist()) == [CLS, SEP, SEP, 7, 8]
