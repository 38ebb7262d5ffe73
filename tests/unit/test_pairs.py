"""Learning from pairs of texts: losses, metrics, batches and scores by their formulas."""

import numpy as np
import pytest
from fixtures.models import random_texts
from fixtures.tiers import tiered

from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.metrics import accuracy_at_1, mean_reciprocal_rank, pair_ranks
from sqb_tf.heads.pairs import ComparedPair
from sqb_tf.model.pair_losses import CosineDistance, InBatchNegatives
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pipeline import TrainingBatches, example_stream

similarity, retrieval = map(registry.get_task_head, ("similarity", "retrieval"))


def vectors(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Vectors of pairs, `[count, 2, size]`, of any length."""
    return np.random.default_rng(seed).normal(size=(count, 2, size)).astype(np.float32)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    units = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (first, second))
    return np.matmul(next(units), next(units).T)


def test_cosine_distance_is_the_formula():
    pairs, targets = vectors(9), np.linspace(0, 1, 9, dtype=np.float32)
    expected = np.square(np.diag(cosines(pairs[:, 0], pairs[:, 1])) - targets)
    for shape in ((9,), (9, 1)):
        actual = CosineDistance(reduction=None)(targets.reshape(shape), pairs)
        np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert float(CosineDistance()(targets, pairs)) == pytest.approx(expected.mean(), abs=1e-6)


def test_in_batch_negatives_are_the_formula():
    pairs = vectors(8)
    logits = 20 * cosines(pairs[:, 0], pairs[:, 1])
    expected = np.log(np.exp(logits).sum(1)) - np.diag(logits)
    ids = np.arange(16).reshape(8, 2)
    actual = InBatchNegatives(reduction=None)(ids, pairs)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    # An equal first text, an equal second one, and a second text that is another's first.
    ids[1, 0], ids[3, 1], ids[5, 1] = ids[0, 0], ids[2, 1], ids[4, 0]
    kept = np.ones((8, 8), bool)
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2), (4, 5)):
        kept[i, j] = False
    expected = np.log((np.exp(logits) * kept).sum(1)) - np.diag(logits)
    actual = InBatchNegatives(reduction=None)(ids, pairs)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    alone = InBatchNegatives(reduction=None)(ids[:1], pairs[:1])
    np.testing.assert_allclose(alone, [0], atol=1e-6)


def test_ranks_by_hand():
    angles = np.radians([[0, 10], [40, 90], [80, 75], [200, 230]])
    pairs = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    ids = np.arange(8).reshape(4, 2)
    # From 40 degrees 10 (30 away) and 75 (35) are nearer than its own 90; 80 has its own 5 away.
    assert pair_ranks(pairs, ids).tolist() == [1, 3, 1, 1]
    assert mean_reciprocal_rank(pairs, ids) == pytest.approx((3 + 1 / 3) / 4)
    assert accuracy_at_1(pairs, ids) == 0.75
    ids[2, 1] = ids[1, 1]  # the second text of pair 2 is that of pair 1: no competitor
    assert pair_ranks(pairs, ids).tolist() == [1, 2, 1, 1]
    ids[0, 0] = ids[1, 0]
    assert pair_ranks(pairs, ids).tolist() == [1, 1, 1, 1]


def test_equal_vectors_for_all_texts_are_the_worst(monkeypatch):
    monkeypatch.setattr("sqb_tf.heads.metrics._RANKED", 7)  # several blocks
    ids = np.arange(100).reshape(50, 2)
    same = np.broadcast_to(vectors(1), (50, 2, 16))[:, :1].repeat(2, axis=1)
    same = same / np.linalg.norm(same, axis=-1, keepdims=True)
    assert set(pair_ranks(same, ids)) == {50}
    pairs = vectors(50)
    pairs /= np.linalg.norm(pairs, axis=-1, keepdims=True)
    table = cosines(pairs[:, 0], pairs[:, 1])
    expected = 1 + (table > np.diag(table)[:, None] + 1e-5).sum(1)
    np.testing.assert_array_equal(pair_ranks(pairs, ids), expected)
    # What knows nothing is as good as a random order.
    head = retrieval()
    scores = [pair_ranks(vectors(50, seed=seed), ids) for seed in range(200)]
    for name, value in (
        ("mean_reciprocal_rank", np.mean([np.mean(1 / ranks) for ranks in scores])),
        ("accuracy_at_1", np.mean([np.mean(ranks == 1) for ranks in scores])),
    ):
        assert head.baseline(name, ids)[1] == pytest.approx(value, rel=0.2)


def test_scores_are_scaled_to_cosines():
    settings = similarity.settings_for((1.0, 5.0))
    head = similarity((), True, settings)
    labels = ("1", "2", "5")
    examples = [Example("a", "b", label) for label in labels]
    np.testing.assert_allclose(head.references(examples), [0, 0.25, 1])
    pair = ComparedPair(np.array([[1.0, 0.0], [0.6, 0.8]]))
    assert pair.cosine == pytest.approx(0.6)
    (judgement,) = head.judge(examples[1], pair)
    assert (judgement.gold, judgement.predicted) == ("2", "3.4000")
    assert judgement.score == pytest.approx(1.4) and not judgement.right
    assert head.loss([pair] * 3, head.references(examples)) == pytest.approx(
        np.mean(np.square(0.6 - np.array([0, 0.25, 1])))
    )
    with pytest.raises(
        InputError, match=r"every training pair has the score 3: .* --task retrieval"
    ):
        similarity.settings_for((3.0, 3.0))
    with pytest.raises(InputError, match=r"score_range 2.0 to 1.0: expected a lower and a higher"):
        registry.get("embedding")(settings={"score_range": [2, 1]})


@pytest.mark.parametrize("head", tiered([similarity, retrieval], [retrieval]))
def test_both_texts_of_a_pair_are_inputs_of_their_own(head, vocabulary):
    preprocessor = Preprocessor(WordPieceTokenizer(vocabulary), 32)
    texts = random_texts(60)
    examples = [Example(a, b, str(i)) for i, (a, b) in enumerate(zip(texts[:30], texts[30:]))]
    bound = head((), True, head.settings_for((0.0, 29.0)))
    batches = TrainingBatches(example_stream(examples, bound), preprocessor, bound, 8, 0)
    seen = []
    for inputs, targets in batches.epoch(0):
        assert inputs["input_word_ids"].shape[1] == 2
        for row, target in enumerate(targets.numpy()):
            (example,) = (e for e in examples if np.allclose(bound.target(e), target))
            seen.append(example)
            length = inputs["input_mask"].shape[2]
            expected = preprocessor([example.text, example.pair], length=length)
            for name, values in expected.items():
                np.testing.assert_array_equal(inputs[name][row], values, err_msg=name)
    assert sorted(e.label for e in seen) == sorted(e.label for e in examples)


def test_a_bundle_keeps_single_texts_each_once():
    pairs = [Example("a", "b", "1"), Example("b", "c", "2"), Example("d", "a", "0")]
    assert retrieval((), True).sample(pairs) == [Example("a"), Example("b"), Example("c")]


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        (
            "similarity",
            Columns(),
            "task similarity is for pairs of texts: name the column .*--pair-column",
        ),
        ("retrieval", Columns(), "task retrieval is for pairs of texts"),
        (
            "retrieval",
            Columns("text", "pair", "score"),
            "task retrieval has no labels: .* leave --label-column score out; .* --task similarity",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(name, columns, message, tmp_path):
    with pytest.raises(InputError, match=message):
        Task(name, tmp_path / "pairs.tsv", columns)


def test_pairs_without_a_label_column_name_the_task_for_them(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tpair\na\tb\n")
    columns = Columns("text", "pair")
    with pytest.raises(
        InputError, match=r"no column 'label'; .*without labels, go with --task retrieval"
    ):
        list(Task("similarity", tmp_path, columns).split("train"))
    (example,) = Task("retrieval", tmp_path, columns).split("train")
    assert example == Example("a", "b")


def test_texts_longer_than_the_input_are_counted_or_read_whole(vocabulary):
    encoder = TextEncoder(vocabulary, True, 12)
    row = ("good " * 25, "bad")
    cut, whole = (similarity(paired=True, settings=s) for s in ({}, {"long_texts": "windows"}))
    (requests,) = cut.encode([row], encoder)
    vector = {"embedding": np.array([1.0, 0.0])}
    assert [len(request) for request in requests] == [12, 3]
    assert cut.decode(row, requests, [vector] * 2).truncated == 15
    (requests,) = whole.encode([row], encoder)
    other = {"embedding": np.array([0.0, 1.0])}
    pair = whole.decode(row, requests, [vector, other, other, other, other])
    assert [request.text for request in requests] == [0, 0, 0, 0, 1] and pair.truncated == 0
    np.testing.assert_allclose(pair.vectors, [[0.1**0.5, 0.9**0.5], [0, 1]])
    assert not cut.judges_examples  # it was trained on no scores
    with pytest.raises(InputError, match="an embedder learns from the beginning of a text"):
        similarity.training_settings({}, FinetuneOptions(long_texts="windows"))
