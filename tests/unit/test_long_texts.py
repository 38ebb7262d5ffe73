"""What a model sees of a text longer than its input: which tokens, and how several outputs become one."""

import random

import numpy as np
import pytest
from fixtures.models import VOCABULARY, random_texts

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.head import Output, Request, sigmoid, softmax
from sqb_tf.heads.long_texts import POLICIES, TrainingPieces, cut, pieces
from sqb_tf.text.encoder import TextEncoder

ROOM = 10
every_policy = pytest.mark.parametrize("policy", POLICIES)


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(VOCABULARY, lowercase=True, seq_length=ROOM + 2)


@pytest.fixture(scope="module")
def texts():
    """Short and long ones, with words of many tokens, punctuation, several spaces and lines."""
    rng = random.Random(0)
    texts = random_texts(200, seed=2, longest=60)
    marks = [" ", "  ", ", ", ".\n", "\t", "! ", " \N{NO-BREAK SPACE}"]
    return ["".join(word + rng.choice(marks) for word in text.split(" ")) for text in texts]


@every_policy
def test_a_text_that_fits_is_not_cut(policy, encoder):
    for count in range(ROOM + 1):
        assert pieces(np.ones(count, bool), ROOM, policy) == [[(0, count)]]
    assert cut(encoder, "the film was good", policy) == ([encoder.ids("the film was good")], 0)


def test_what_is_seen_of_a_text_of_one_token_words():
    begins = np.ones(25, bool)
    assert pieces(begins, ROOM, "truncate") == [[(0, 10)]]
    assert pieces(begins, ROOM, "head-tail") == [[(0, 2), (17, 25)]]
    assert pieces(begins, ROOM, "windows") == [[(0, 10)], [(7, 17)], [(14, 24)], [(21, 25)]]


@every_policy
def test_inputs_are_full_words_and_hold_what_is_not_counted_as_cut(policy, encoder, texts):
    cut_texts = 0
    for text in texts:
        ids = encoder.ids(text)
        begins = encoder.begins_word[ids]
        parts, truncated = cut(encoder, text, policy)
        spans = pieces(begins, ROOM, policy)
        assert [len(part) for part in parts] == [sum(e - b for b, e in piece) for piece in spans]
        assert all(0 < len(part) <= ROOM for part in parts)
        seen = {i for piece in spans for begin, end in piece for i in range(begin, end)}
        assert truncated == len(ids) - len(seen)
        cut_texts += len(ids) > ROOM
        if policy != "truncate":
            starts = [begin for piece in spans for begin, _ in piece]
            longest_word = np.diff(np.append(np.flatnonzero(begins), len(ids))).max()
            assert longest_word > 2 or begins[starts].all()
        if policy == "windows":
            assert truncated == 0
        if policy == "head-tail" and len(ids) > ROOM:
            assert 0 in seen and len(ids) - 1 in seen and len(seen) >= ROOM - 6
    assert cut_texts > 50


@pytest.mark.parametrize("policy", ["head-tail", "windows"])
def test_training_reads_the_tokens_that_the_runtime_does(policy, encoder, texts):
    for text in texts:
        units = list(TrainingPieces([Example(text, label="a")], encoder, policy))
        parts, _ = cut(encoder, text, policy)
        assert [encoder.ids(unit.text) for unit in units] == [list(map(int, p)) for p in parts]
        assert {unit.label for unit in units} == {"a"}


def test_a_word_longer_than_an_input_is_cut_and_counted(encoder):
    assert cut(encoder, "x" * 15, "truncate")[1] == 5
    parts, truncated = cut(encoder, f"{'x' * 15} good", "windows")
    assert truncated == 5 and parts[-1] == encoder.ids("good")


@pytest.mark.parametrize(("activation", "function"), [("softmax", softmax), ("sigmoid", sigmoid)])
def test_probabilities_are_averaged_as_logits(activation, function):
    logits = np.random.default_rng(0).normal(size=(4, 3))
    output = Output("probabilities", activation=activation)
    actual = output.mean([function(row) for row in logits])
    np.testing.assert_allclose(actual, function(logits.mean(0)), atol=1e-12)
    assert output.mean([logits[0]]) is not None and (output.mean([logits[0]]) == logits[0]).all()
    # A window that is sure beyond the resolution of 8 bits is one voice among others.
    sure, others = np.array([0.0, 1.0, 0.0]), [np.array([0.8, 0.1, 0.1])] * 9
    assert output.mean([sure, *others]).argmax() == 0
    assert Output("logits").mean([np.array([1.0]), np.array([3.0])]) == [2.0]


def test_results_are_of_all_windows(encoder):
    text = "good " * 30
    head = registry.get_task_head("classification")(["a", "b"], settings={"long_texts": "windows"})
    (requests,) = head.encode([(text, None)], encoder)
    assert len(requests) == 4 and head.cuts_windows
    outputs = [
        {"probabilities": np.array(p)} for p in ([0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8])
    ]
    result = head.decode((text, None), requests, outputs)
    assert result.label == "b" and result.truncated == 0
    truncated = registry.get_task_head("classification")(["a", "b"])
    (requests,) = truncated.encode([(text, None)], encoder)
    assert [request.truncated for request in requests] == [20]
    windows = [Request({}), Request({})]
    embedder = registry.get("embedding")(settings={"long_texts": "windows"})
    vectors = [{"embedding": np.array(v)} for v in ([1.0, 0.0], [0.0, 1.0])]
    vector = embedder.decode((text, None), windows, vectors).embedding
    np.testing.assert_allclose(vector, [0.5**0.5, 0.5**0.5])
    plain = registry.get("embedding")(settings={"long_texts": "windows", "normalize": False})
    np.testing.assert_allclose(plain.decode((text, None), windows, vectors).embedding, [0.5, 0.5])


def test_tokens_of_pairs_and_choices_that_are_cut_are_counted(encoder):
    pair = registry.get_task_head("classification")(["a", "b"], paired=True)
    ((request,),) = pair.encode([("good " * 8, "bad " * 6)], encoder)
    assert request.truncated == 8 + 6 + 3 - (ROOM + 2) and len(request) == ROOM + 2
    choice = registry.get_task_head("multiple_choice")(paired=True)
    (requests,) = choice.encode([("good " * 8, "bad bad\tbad")], encoder)
    assert [request.truncated for request in requests] == [1, 0]


@pytest.mark.parametrize(
    ("paired", "policy", "message"),
    [
        (False, "all", "long_texts 'all': expected one of truncate, head-tail, windows"),
        (True, "windows", "long_texts windows: goes with single texts"),
    ],
)
def test_a_policy_that_a_head_does_not_have(paired, policy, message):
    with pytest.raises(InputError, match=message):
        registry.get_task_head("classification")(["a"], paired, {"long_texts": policy})
    with pytest.raises(InputError, match="a span has no such setting"):
        registry.get_task_head("span")(paired=True, settings={"long_texts": "windows"})
