"""sqb_tflite.runtime.runner: texts in, labels out; which signature runs; streaming."""

import itertools

import numpy as np
import pytest
from fixtures.models import LABELS, SEQ_LENGTH, random_texts

import sqb_tf
from sqb_tf.errors import InputError
from sqb_tf.heads.classification import Classification
from sqb_tflite.runtime.runner import Runner
from sqb_tflite.runtime.signatures import Signature
from sqb_tflite.verification.bundle_backend import BundleBackend

# Float32 against Keras: outputs up to 1, as derived in test_lower, and probabilities of steep logits.
EXACT = 2e-5


@pytest.fixture(scope="module")
def runner(converted):
    """The float32 package of any length."""
    return Runner(converted("float32"))


@pytest.fixture(scope="module")
def fixed(converted):
    """An int8 package of two lengths."""
    return Runner(converted("int8", 16, 32))


@pytest.fixture(scope="module")
def model(bundle_dir):
    return sqb_tf.load(bundle_dir)


def test_labels_and_scores_are_the_models(runner, model):
    texts = random_texts(70)  # more than one batch
    expected = BundleBackend(model).batch_outputs(model.preprocessor(texts))["probabilities"]
    results = runner.classify(texts)
    assert len(results) == 70
    for result, scores in zip(results, expected, strict=True):
        assert list(result.scores) == LABELS == runner.labels
        assert result.label == max(result.scores, key=result.scores.get)
        assert sum(result.scores.values()) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(list(result.scores.values()), scores, atol=EXACT)
    assert len({result.label for result in results}) > 1


def test_classification_names_the_best_score():
    result = Classification.from_scores(["a", "b", "c"], np.array([0.2, 0.7, 0.1]))
    assert result == Classification("b", {"a": 0.2, "b": 0.7, "c": 0.1})


def test_raw_inputs_give_named_outputs(runner, model):
    inputs = {k: v.numpy() for k, v in model.preprocessor(["a good film"]).items()}
    outputs = runner(inputs)
    assert outputs.keys() == {"probabilities"}
    expected = BundleBackend(model).batch_outputs(inputs)
    np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=EXACT)


def test_prepared_run_is_the_same_run(fixed, runner):
    for tested in (fixed, runner):
        (inputs,) = tested.inputs([("a good film", None)])
        expected = tested(inputs)["probabilities"].copy()
        zeros = {name: np.zeros_like(values) for name, values in inputs.items()}
        tested(zeros)
        tested.prepare(inputs)()
        used = tested._prepared.runners[
            tested.signature_for(inputs["input_word_ids"].shape[1]).name
        ]
        actual = used._interpreter_wrapper.GetTensor(
            dict(used._outputs)["probabilities"], used._subgraph_index
        )
        np.testing.assert_array_equal(actual, expected)


def test_signatures_tell_their_lengths(runner, fixed):
    assert {s.name: s.seq_length for s in runner.signatures.values()} == {"serving_default": None}
    assert {s.name: s.seq_length for s in fixed.signatures.values()} == {"seq_16": 16, "seq_32": 32}
    for signature in fixed.signatures.values():
        assert set(signature.inputs) == {"input_word_ids", "input_mask", "input_type_ids"}
        assert signature.outputs == ("probabilities",)


@pytest.mark.parametrize(
    ("length", "chosen"), [(1, 16), (16, 16), (17, 32), (32, 32), (33, 32), (500, 32)]
)
def test_shortest_fixed_signature_that_is_long_enough_runs(fixed, length, chosen):
    assert fixed.signature_for(length).seq_length == chosen


def test_dynamic_signature_runs_every_length(fixed, monkeypatch, runner):
    assert runner.signature_for(500).seq_length is None
    dynamic = Signature("any", (), (), None, {})
    monkeypatch.setattr(fixed, "signatures", {**fixed.signatures, "any": dynamic})
    monkeypatch.setattr(fixed, "_fitting", {})
    assert fixed.signature_for(16) is dynamic


def test_inputs_are_padded_to_the_fixed_length(fixed):
    (inputs,) = fixed.inputs([("a good film", None)])
    assert inputs["input_word_ids"].shape == (1, 5)
    by_hand = {name: np.pad(values, [(0, 0), (0, 11)]) for name, values in inputs.items()}
    np.testing.assert_array_equal(fixed(inputs)["probabilities"], fixed(by_hand)["probabilities"])
    longer = fixed(inputs, signature="seq_32")["probabilities"]
    # int8 activations have a scale for each token: padding changes none, sums are rounded otherwise.
    np.testing.assert_allclose(longer, fixed(inputs)["probabilities"], atol=1e-3)


def test_inputs_over_the_longest_signature_keep_their_last_token(fixed):
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 60, (1, 40), np.int32)
    inputs = {
        "input_word_ids": ids,
        "input_mask": np.ones_like(ids),
        "input_type_ids": np.zeros_like(ids),
    }
    kept = {k: np.delete(v, slice(SEQ_LENGTH - 1, -1), axis=1) for k, v in inputs.items()}
    np.testing.assert_array_equal(fixed(inputs)["probabilities"], fixed(kept)["probabilities"])


def test_text_is_truncated_to_the_length_of_training(runner):
    (inputs,) = runner.inputs([("film " * 200, None)])
    assert inputs["input_word_ids"].shape == (1, SEQ_LENGTH)


def test_empty_text_has_an_answer(runner):
    (result,) = runner.classify([""])
    assert sum(result.scores.values()) == pytest.approx(1, abs=1e-6)


def test_pairs_give_what_keras_gives(paired_bundle_dir, converted):
    runner = Runner(converted("float32", directory=paired_bundle_dir))
    texts, pairs = random_texts(8, seed=1), random_texts(8, seed=2)
    predictor = BundleBackend(paired_bundle_dir)
    expected = [result for _, result in predictor.stream(zip(texts, pairs))]
    for result, keras in zip(runner.classify(texts, pairs), expected, strict=True):
        assert result.label == keras.label
        np.testing.assert_allclose(
            list(result.scores.values()), list(keras.scores.values()), atol=EXACT
        )
    turned = runner.classify(pairs, texts)
    assert [f.scores for f in turned] != [f.scores for f in runner.classify(texts, pairs)]
    with pytest.raises(InputError, match="takes pairs"):
        runner.classify(["a good film"])


def test_regression_gives_the_score(regression_bundle_dir, converted):
    runner = Runner(converted("float32", directory=regression_bundle_dir))
    assert (runner.kind, runner.labels) == ("regression", ["score"])
    texts = random_texts(5)
    model = sqb_tf.load(regression_bundle_dir)
    expected = model(model.preprocessor(texts), training=False).numpy()[:, 0]
    scores = [result.scores["score"] for result in runner.classify(texts)]
    np.testing.assert_allclose(scores, expected, atol=EXACT)


def test_single_text_package_rejects_pairs(runner, bundle_dir):
    for predictor in (runner, BundleBackend(bundle_dir)):
        with pytest.raises(InputError, match="takes single texts"):
            list(predictor.stream([("a", "b")]))


def test_streams_are_lazy_and_in_order(runner, bundle_dir):
    for predictor in (runner, BundleBackend(bundle_dir)):
        consumed = 0

        def endless():
            nonlocal consumed
            for text in itertools.cycle(random_texts(9)):
                consumed += 1
                yield text, None

        results = list(itertools.islice(predictor.stream(endless(), batch_size=4), 6))
        assert [example for example, _ in results] == [(t, None) for t in random_texts(9)[:6]]
        assert consumed <= 12  # the batches that were asked for, and at most one more


def test_threads_do_not_change_the_answers(converted, runner):
    many = Runner(converted("float32"), num_threads=3)
    texts = random_texts(4)
    for a, b in zip(many.classify(texts), runner.classify(texts), strict=True):
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=EXACT)
    with pytest.raises(InputError, match="num_threads 0"):
        Runner(converted("float32"), num_threads=0)


def test_path_and_bytes_are_the_same_package(converted, runner, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted("float32"))
    texts = random_texts(3)
    assert (
        Runner(path).classify(texts) == Runner(str(path)).classify(texts) == runner.classify(texts)
    )
