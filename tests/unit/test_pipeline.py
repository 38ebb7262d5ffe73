"""sqb_tf.training.pipeline: every example once an epoch, in a seeded order, with little padding."""

import itertools
import math

import numpy as np
import pytest
from fixtures.models import random_texts

from sqb_tf.data.example import Example
from sqb_tf.data.task import Split
from sqb_tf.heads.head_type import Passage
from sqb_tf.heads.registry import kind_of
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training import pipeline

TEXTS = random_texts(203)


@pytest.fixture(scope="module")
def preprocessor(vocabulary):
    return Preprocessor(WordPieceTokenizer(vocabulary), 32)


@pytest.fixture(scope="module")
def examples():
    """The texts, each with its place as its target."""
    split = Split([Example(text, text, str(i)) for i, text in enumerate(TEXTS)], "texts")
    return pipeline.example_stream(split, kind_of("regression"))


def epoch(examples, preprocessor, batch_size=10, seed=0, number=0, paired=False, skip=0) -> list:
    """The (inputs, places) batches of an epoch."""
    kind = kind_of("regression", ["score"], paired)
    batches = pipeline.TrainingBatches(examples, preprocessor, kind, batch_size, seed).epoch(
        number, skip
    )
    return [
        ({name: values.numpy() for name, values in inputs.items()}, targets.numpy().tolist())
        for inputs, targets in batches
    ]


def order(batches: list) -> list[list[float]]:
    return [places for _, places in batches]


@pytest.mark.parametrize(
    ("batch_size", "sorted_batches"),
    [(10, 100), (10, 2), (29, 7), (500, 100)],  # one chunk, many, one exactly full, one batch
)
def test_every_example_comes_once_in_full_batches(
    examples, preprocessor, monkeypatch, batch_size, sorted_batches
):
    monkeypatch.setattr(pipeline, "SORTED_BATCHES", sorted_batches)
    places = order(epoch(examples, preprocessor, batch_size))
    assert len(places) == math.ceil(203 / batch_size)
    assert sorted(itertools.chain(*places)) == list(range(203))
    # All are full but one, which comes anywhere.
    full, rest = divmod(203, batch_size)
    sizes = sorted(len(batch) for batch in places)
    assert sizes == [rest] * (rest > 0) + [batch_size] * full


def test_order_depends_on_seed_and_epoch_alone(examples, preprocessor):
    first = order(epoch(examples, preprocessor))
    assert order(epoch(examples, preprocessor)) == first
    others = [
        order(epoch(examples, preprocessor, number=1)),
        order(epoch(examples, preprocessor, seed=1)),
    ]
    for other in others:
        assert other != first
        # Other batches too, not only the same ones in another order.
        assert {tuple(sorted(batch)) for batch in other} != {tuple(sorted(b)) for b in first}
    assert others[0] != others[1]


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
    for inputs, places in epoch(examples, preprocessor, 100, paired=paired):
        texts = [TEXTS[int(place)] for place in places]
        expected = preprocessor(texts, texts if paired else None)
        for name in expected:
            np.testing.assert_array_equal(inputs[name], expected[name])


def test_texts_of_a_batch_are_about_equally_long(examples, preprocessor):
    masks = [inputs["input_mask"] for inputs, _ in epoch(examples, preprocessor)]
    # 21 batches for about 30 lengths: one or two of padding in some 17. Unsorted it is 40%.
    assert 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks) < 0.1
    lengths = [mask.shape[1] for mask in masks]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


def test_prediction_keeps_the_order(preprocessor):
    passages = [Passage(text, None) for text in TEXTS]
    batches = list(pipeline.prediction_batches(passages, preprocessor, False, 64))
    assert [len(inputs["input_mask"]) for inputs in batches] == [64, 64, 64, 11]
    for start, inputs in zip(range(0, 203, 64), batches, strict=True):
        expected = preprocessor(TEXTS[start : start + 64])
        np.testing.assert_array_equal(inputs["input_word_ids"], expected["input_word_ids"])


@pytest.mark.parametrize("block", [1, 7, 203, 512])
def test_stream_gives_every_example_whatever_its_blocks(monkeypatch, block):
    monkeypatch.setattr(pipeline, "BLOCK", block)
    split = Split([Example(t, label="xy"[i % 2]) for i, t in enumerate(TEXTS)], "texts")
    stream = pipeline.example_stream(split, kind_of("classification", ["y", "x"]))
    for _ in range(2):  # once an epoch
        rows = list(stream.as_numpy_iterator())
        assert [text.decode() for text, _, _ in rows] == TEXTS
        assert {pair for _, pair, _ in rows} == {b""}
        assert [target for _, _, target in rows] == [1 - i % 2 for i in range(203)]


def test_stream_does_not_read_ahead_of_its_shuffle_buffer():
    given = 0

    def endless():
        nonlocal given
        while True:
            given += 1
            yield Example("a", label="1")

    class Source:
        def __iter__(self):
            return endless()

    stream = pipeline.example_stream(Split(Source(), "endless"), kind_of("regression"))
    assert len(list(stream.take(3))) == 3
    assert given <= 4 * pipeline.BLOCK  # a block or a few ahead
