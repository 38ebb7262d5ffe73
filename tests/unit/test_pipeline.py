"""sqb_tf.training.pipeline: every example once per epoch, in a seeded order, with little padding."""

import itertools
import math

import numpy as np
import pytest
from fixtures.models import random_texts

from sqb_tf.data.example import Example
from sqb_tf.data.task import Split
from sqb_tf.heads import registry
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training import pipeline

TEXTS = random_texts(203)


@pytest.fixture(scope="module")
def preprocessor(vocabulary):
    return Preprocessor(WordPieceTokenizer(vocabulary), 32)


@pytest.fixture(scope="module")
def examples():
    """The texts, each with its index as its target."""
    split = Split([Example(text, text, str(i)) for i, text in enumerate(TEXTS)], "texts")
    return pipeline.example_stream(split, registry.get("regression")())


def epoch(examples, preprocessor, batch_size=10, seed=0, number=0, paired=False, skip=0) -> list:
    """The batches (inputs, indices) of an epoch."""
    head = registry.get("regression")(["score"], paired)
    batches = pipeline.TrainingBatches(examples, preprocessor, head, batch_size, seed).epoch(
        number, skip
    )
    return [
        ({name: values.numpy() for name, values in inputs.items()}, targets.numpy().tolist())
        for inputs, targets in batches
    ]


def order(batches: list) -> list[list[float]]:
    return [indices for _, indices in batches]


@pytest.mark.parametrize(
    ("batch_size", "sorted_batches"),
    [(10, 100), (10, 2), (29, 7), (500, 100)],  # one chunk, many, one exactly full, one batch
)
def test_every_example_comes_once_in_full_batches(
    examples, preprocessor, monkeypatch, batch_size, sorted_batches
):
    monkeypatch.setattr(pipeline, "SORTED_BATCHES", sorted_batches)
    indices = order(epoch(examples, preprocessor, batch_size))
    assert len(indices) == math.ceil(203 / batch_size)
    assert sorted(itertools.chain(*indices)) == list(range(203))
    # All batches are full but one, which may be anywhere.
    full, rest = divmod(203, batch_size)
    sizes = sorted(len(batch) for batch in indices)
    assert sizes == [rest] * (rest > 0) + [batch_size] * full


def test_order_depends_on_seed_and_epoch_only(examples, preprocessor):
    first = order(epoch(examples, preprocessor))
    assert order(epoch(examples, preprocessor)) == first
    next_epoch = order(epoch(examples, preprocessor, number=1))
    next_seed = order(epoch(examples, preprocessor, seed=1))
    for batches in (next_epoch, next_seed):
        assert batches != first
        # The batches differ too, not only their order.
        assert {tuple(sorted(b)) for b in batches} != {tuple(sorted(b)) for b in first}
    assert next_epoch != next_seed


def test_skip_gives_the_rest_of_the_same_epoch(examples, preprocessor, monkeypatch):
    monkeypatch.setattr(pipeline, "SORTED_BATCHES", 4)
    whole = epoch(examples, preprocessor, number=2)
    for skip in (7, 21):
        rest = epoch(examples, preprocessor, number=2, skip=skip)
        assert order(rest) == order(whole)[skip:]
        for (inputs, _), (expected, _) in zip(rest, whole[skip:], strict=True):
            for name in expected:
                np.testing.assert_array_equal(inputs[name], expected[name])


@pytest.mark.parametrize("paired", [False, True])
def test_inputs_belong_to_their_targets(examples, preprocessor, paired):
    for inputs, indices in epoch(examples, preprocessor, 100, paired=paired):
        texts = [TEXTS[int(index)] for index in indices]
        expected = preprocessor(texts, texts if paired else None)
        for name in expected:
            np.testing.assert_array_equal(inputs[name], expected[name])


def test_texts_of_a_batch_have_nearly_equal_lengths(examples, preprocessor):
    masks = [inputs["input_mask"] for inputs, _ in epoch(examples, preprocessor)]
    # 21 batches for about 30 lengths: one or two tokens of padding in some 17. Unsorted it is 40%.
    assert 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks) < 0.1
    lengths = [mask.shape[1] for mask in masks]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


def test_the_weight_of_an_example_is_that_of_its_class(preprocessor):
    split = Split([Example(text, label="yn"[i % 2]) for i, text in enumerate(TEXTS)], "texts")
    head = registry.get("classification")(["n", "y"])
    batches = pipeline.TrainingBatches(
        pipeline.example_stream(split, head), preprocessor, head, 10, 0, class_weights=[0.5, 2.0]
    )
    for _, targets, weights in batches.epoch(0):
        assert weights.numpy().tolist() == [[0.5, 2.0][target] for target in targets]


def test_prediction_keeps_the_order(preprocessor):
    passages = [Example(text) for text in TEXTS]
    batches = list(pipeline.prediction_batches(passages, preprocessor, False, 64))
    assert [len(inputs["input_mask"]) for inputs in batches] == [64, 64, 64, 11]
    for start, inputs in zip(range(0, 203, 64), batches, strict=True):
        expected = preprocessor(TEXTS[start : start + 64])
        np.testing.assert_array_equal(inputs["input_word_ids"], expected["input_word_ids"])


@pytest.mark.parametrize("block", [1, 7, 203, 512])
def test_stream_gives_every_example_whatever_its_blocks(monkeypatch, block):
    monkeypatch.setattr(pipeline, "BLOCK", block)
    split = Split([Example(t, label="xy"[i % 2]) for i, t in enumerate(TEXTS)], "texts")
    stream = pipeline.example_stream(split, registry.get("classification")(["y", "x"]))
    for _ in range(2):  # once per epoch
        rows = list(stream.as_numpy_iterator())
        assert [text.decode() for text, _, _ in rows] == TEXTS
        assert {pair for _, pair, _ in rows} == {b""}
        assert [target for _, _, target in rows] == [1 - i % 2 for i in range(203)]


def test_stream_does_not_read_ahead_of_its_shuffle_buffer():
    num_read = 0

    def endless():
        nonlocal num_read
        while True:
            num_read += 1
            yield Example("a", label="1")

    class Source:
        def __iter__(self):
            return endless()

    stream = pipeline.example_stream(Split(Source(), "endless"), registry.get("regression")())
    assert len(list(stream.take(3))) == 3
    assert num_read <= 4 * pipeline.BLOCK  # a block or a few ahead
