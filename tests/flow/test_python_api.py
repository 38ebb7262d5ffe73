"""The Python way: texts, `fit`, a bundle, a verified package and its runner, without the command line."""

import json
from typing import Any

import keras
import numpy as np
import pytest
from fixtures.models import LETTERS, WORDS, random_texts, tiny_config

import sqb_tf
import sqb_tflite
from sqb_tf.checkpoint.bundle import TaskInfo
from sqb_tf.checkpoint.saving import FILLER, as_loaded
from sqb_tf.errors import InputError
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tflite.conversion.converter import ConversionRequest
from sqb_tflite.conversion.recipes import Bounds, Recipe

LABELS = ["bad", "good"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*WORDS, *LETTERS])]
TEXTS = [f"{text} {LABELS[i % 2]}" for i, text in enumerate(random_texts(64, seed=1, longest=8))]
EXAMPLES = [sqb_tf.Example(text, label=text.split()[-1]) for text in TEXTS]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(VOCABULARY)


@pytest.fixture(scope="module")
def model(tokenizer):
    """A classifier that has learned which of two words ends a text."""
    keras.utils.set_random_seed(0)
    config = tiny_config(vocab_size=len(tokenizer.vocabulary))
    model = sqb_tf.SqueezeBertClassifier(config, num_labels=2)
    inputs = Preprocessor(tokenizer, 32)(TEXTS)
    targets = np.array([LABELS.index(e.label) for e in EXAMPLES])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.fit(inputs, targets, batch_size=16, epochs=20, verbose=0)
    return model


def answers(model, preprocessor) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(preprocessor(TEXTS[:8]), training=False))


# --- Saving --------------------------------------------------------------------------------------


def test_saved_model_comes_back(model, tokenizer, tmp_path):
    sqb_tf.save(
        model,
        tmp_path / "mine",
        tokenizer=tokenizer,
        labels=LABELS,
        calibration=TEXTS,
        verification=EXAMPLES,
    )
    loaded = sqb_tf.load(tmp_path / "mine")
    assert loaded.info.task == TaskInfo("classification", "classification", seq_length=64)
    assert loaded.labels == LABELS and loaded.tokenizer.vocabulary == VOCABULARY
    assert [e.text for e in loaded.info.sample("calibration")] == TEXTS
    assert loaded.info.sample("verification") == EXAMPLES
    np.testing.assert_array_equal(
        answers(loaded, loaded.preprocessor), answers(model, loaded.preprocessor)
    )


def test_loaded_model_is_saved_with_what_its_bundle_says(bundle_dir, tmp_path):
    loaded = sqb_tf.load(bundle_dir)
    sqb_tf.save(loaded, tmp_path / "again")
    again = sqb_tf.load(tmp_path / "again")
    assert again.info.task == loaded.info.task and again.labels == loaded.labels
    for sample in ("calibration", "verification"):
        assert again.info.sample(sample) == loaded.info.sample(sample) != []


def test_tokenizer_may_be_a_preprocessor_or_a_path(model, tokenizer, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n")
    for preparation, expected in (
        (Preprocessor(WordPieceTokenizer(VOCABULARY, lowercase=False), 12), (12, False)),
        (path, (64, True)),
    ):
        sqb_tf.save(model, tmp_path / "b", tokenizer=preparation, labels=LABELS)
        task = sqb_tf.load(tmp_path / "b").info.task
        assert (task.seq_length, task.lowercase) == expected


def test_head_and_pairs_have_defaults(tokenizer, tmp_path):
    config = tiny_config(vocab_size=len(tokenizer.vocabulary))
    score = sqb_tf.SqueezeBertClassifier(config, num_labels=1)
    sqb_tf.save(score, tmp_path / "score", tokenizer=tokenizer, calibration=[("a", "b")])
    info = sqb_tf.load(tmp_path / "score").info
    assert (info.task.kind, info.task.paired, info.labels) == ("regression", True, ["score"])
    spans = sqb_tf.SqueezeBertSpanLabeler(config)
    sqb_tf.save(spans, tmp_path / "spans", tokenizer=tokenizer, task="squad2")
    task = sqb_tf.load(tmp_path / "spans").info.task
    assert (task.kind, task.paired) == ("span", True)
    assert task.settings == {"null_threshold": 0.0}


def test_pairs_without_samples_are_those_of_the_task_or_bundle(tokenizer, tmp_path):
    config = tiny_config(vocab_size=len(tokenizer.vocabulary))

    def paired(model: Any, **fields: Any) -> bool:
        sqb_tf.save(model, tmp_path / "b", **fields)
        return sqb_tf.load(tmp_path / "b").info.task.paired

    fields = {"tokenizer": tokenizer, "labels": ["no", "perhaps", "yes"]}
    model = sqb_tf.SqueezeBertClassifier(config, num_labels=3)
    assert paired(model, task="mnli", **fields) and not paired(model, task="sst2", **fields)
    assert not paired(model, task="mnli", calibration=["a"], **fields)
    task = TaskInfo("imported", "classification", paired=True, seq_length=64)
    assert paired(model, task=task, **fields)
    loaded = sqb_tf.load(tmp_path / "b")
    assert paired(loaded) and paired(loaded, task="classification")


def test_unused_rows_of_embeddings_are_filled_and_reported(tokenizer, tmp_path, caplog):
    config = tiny_config(vocab_size=len(VOCABULARY) + 6)
    larger = sqb_tf.SqueezeBertClassifier(config)
    sqb_tf.save(larger, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)
    assert "6 rows are never used" in caplog.text
    tokens = sqb_tf.load(tmp_path / "b").tokenizer.vocabulary
    assert tokens == VOCABULARY + [FILLER.format(len(VOCABULARY) + i) for i in range(6)]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        (dict(), r"without a tokenizer: give tokenizer="),
        (dict(tokenizer="gone.txt"), r"gone.txt: cannot be read as a vocabulary"),
        (dict(tokenizer=True, labels=None), r"2 outputs without names: give labels="),
        (dict(tokenizer=True, labels=["a"]), r"labels \['a'\]: expected 2 names"),
        (dict(tokenizer=True, labels=["a", "b\n"]), r"expected names of one line each"),
        (dict(tokenizer=True, task="stsb"), r"a regression has 1 output, the model has 2"),
        (dict(tokenizer=True, task="conll"), r"'conll' is for token_classification"),
        (dict(tokenizer=True, seq_length=65), r"seq_length 65: expected 5 to 64"),
        (dict(tokenizer=True, calibration=["a", " "]), r"calibration\[1\]: ' ': expected a text"),
        (dict(tokenizer=True, verification=["a"]), r"verification\[0\]: no label"),
        (dict(tokenizer=True, calibration=["a", ("a", "b")]), r"calibration\[0\]: .* pairs"),
    ],
)
def test_what_does_not_suit_the_model_is_named(fields, match, model, tokenizer, tmp_path):
    fields = {"labels": LABELS, **fields}
    if fields.get("tokenizer") is True:
        fields["tokenizer"] = tokenizer
    plain = sqb_tf.SqueezeBertClassifier(model.config, num_labels=2)
    with pytest.raises(InputError, match=match):
        sqb_tf.save(plain, tmp_path / "b", **fields)
    assert list(tmp_path.iterdir()) == []


def test_tokens_without_embeddings_are_an_error(tokenizer, tmp_path):
    small = sqb_tf.SqueezeBertClassifier(tiny_config(vocab_size=len(VOCABULARY) - 1))
    with pytest.raises(InputError, match=r"the tokenizer has \d+ tokens, .* vocab_size \d+"):
        sqb_tf.save(small, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)


def test_a_model_of_others_is_an_error(tokenizer, tmp_path):
    foreign = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(InputError, match="Sequential: expected a model of sqb_tf"):
        sqb_tf.save(foreign, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)


# --- From a model to a verified package ----------------------------------------------------------


def test_from_texts_to_a_verified_package(model, tokenizer, tmp_path):
    """The documented Python in one piece: a model that was fit, a bundle, a release, its runner."""
    bundle, package = tmp_path / "mine", tmp_path / "mine.tflite"
    sqb_tf.save(
        model, bundle, tokenizer=tokenizer, labels=LABELS, calibration=TEXTS, verification=EXAMPLES
    )
    release = sqb_tflite.release(bundle, package, recipe="int8")
    assert release.path == package and release.report.misses == [] and release.tried == ()
    assert release.report.metric["keras"] > 0.9 and abs(release.report.metric["drop"]) < 0.05
    assert package.read_bytes() == release.content
    manifest = json.loads(package.with_suffix(".json").read_text())
    assert manifest == json.loads(json.dumps(release.manifest))
    assert manifest["model"] == str(bundle) and manifest["package"] == str(package)
    assert manifest["verification"]["data"] == f"{bundle}/verification.jsonl"
    runner = sqb_tflite.Runner(package)
    results = runner.classify(["the plot is good", "the plot is bad"])
    assert [result.label for result in results] == ["good", "bad"]


def test_keras_model_needs_no_bundle(model, tokenizer, tmp_path):
    """The model with its tokenizer and labels gives the package that its bundle gives."""
    plain = clone(model)
    package = tmp_path / "mine.tflite"
    release = sqb_tflite.release(
        plain, package, "int8", EXAMPLES, tokenizer=tokenizer, labels=LABELS, calibration=TEXTS
    )
    assert release.report.misses == []
    assert release.manifest["model"] is None
    assert release.manifest["verification"]["data"] == "examples="
    sqb_tf.save(clone(model), tmp_path / "b", tokenizer=tokenizer, labels=LABELS)
    content = sqb_tflite.convert(tmp_path / "b", "int8", calibration=TEXTS)
    assert content == release.content == package.read_bytes()
    # The model now has what a loaded one has.
    assert sqb_tflite.convert(plain, "int8", calibration=TEXTS) == content


def test_pairs_are_known_by_the_samples(model, tokenizer):
    """The samples are all that tells whether a plain Keras model takes single texts or pairs."""
    fields = {"tokenizer": tokenizer, "labels": LABELS}
    pairs = ConversionRequest.read(clone(model), "float32", calibration=[("a", "b")], **fields)
    assert pairs.model.info.task.paired
    examples = [sqb_tf.Example("a", "b", "good")]
    assert as_loaded(clone(model), verification=examples, **fields).info.task.paired
    assert not ConversionRequest.read(clone(model), "float32", **fields).model.info.task.paired


def clone(model):
    """The model without what converting it attached."""
    plain = sqb_tf.SqueezeBertClassifier(model.config, num_labels=model.num_labels)
    plain.set_weights(model.get_weights())
    return plain


def test_missed_bounds_raise_and_write_nothing(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(Recipe.FLOAT32, "bounds", Bounds(0.0, 1.0, 1000.0, "none keeps it"))
    package = tmp_path / "mine.tflite"
    package.write_text("earlier")
    fields = {"tokenizer": tokenizer, "labels": LABELS}
    with pytest.raises(
        sqb_tflite.BoundsMissed, match=r"mine.tflite was not written: SQNR"
    ) as caught:
        sqb_tflite.release(clone(model), package, "float32", EXAMPLES, **fields)
    missed = caught.value.release
    assert missed.path is None and missed.report.misses and missed.manifest["package"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tflite"]
    assert package.read_text() == "earlier"
    release = sqb_tflite.release(
        clone(model), package, "float32", EXAMPLES, allow_loss=True, **fields
    )
    assert release.path == package and release.report.misses == missed.report.misses
    assert package.read_bytes() == release.content == missed.content


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(path="mine.lite"), r"cannot write .*mine.lite: expected a name ending in .tflite"),
        (dict(tokenizer=None, labels=None), r"without a tokenizer: give tokenizer="),
        (dict(recipe="int3"), r"unknown recipe 'int3'"),
        (dict(recipe="fp16", search=True), r"--search with fp16"),
        (dict(examples=None), r"no held-out examples to verify on: give some .* examples="),
        (dict(examples=[sqb_tf.Example("a")]), r"verification\[0\]: no label, .* classification"),
        (dict(calibration=None), r"needs calibration text, .* in Python, calibration="),
    ],
)
def test_what_a_release_needs_is_named(changes, match, model, tokenizer, tmp_path):
    arguments = {
        "path": "mine.tflite",
        "recipe": "int8",
        "examples": EXAMPLES,
        "calibration": TEXTS,
        "tokenizer": tokenizer,
        "labels": LABELS,
        **changes,
    }
    path = tmp_path / arguments.pop("path")
    with pytest.raises(InputError, match=match):
        sqb_tflite.release(clone(model), path, **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("example", "match"),
    [
        (sqb_tf.Example("a", "b", "good"), "the model takes single texts"),
        (sqb_tf.Example("a"), "no label"),
    ],
)
def test_examples_of_a_file_are_checked_before_the_conversion(
    example, match, bundle_dir, tmp_path, monkeypatch
):
    def convert(request):
        raise AssertionError("converted, which takes minutes")

    monkeypatch.setattr("sqb_tflite.conversion.converter.convert_request", convert)
    with pytest.raises(InputError, match=rf"dev\.tsv\[0\]: {match}"):
        sqb_tflite.release(
            bundle_dir, tmp_path / "mine.tflite", "float32", [example], source="dev.tsv"
        )


def test_bundle_has_its_own_tokenizer(bundle_dir, tokenizer):
    with pytest.raises(InputError, match="a bundle has its own tokenizer"):
        sqb_tflite.convert(bundle_dir, tokenizer=tokenizer)
