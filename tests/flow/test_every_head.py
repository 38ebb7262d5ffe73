"""Every head of model, from a bundle to a verified package in every recipe."""

import json
import shutil

import numpy as np
import pytest
from fixtures.bundles import TEXTS
from fixtures.commands import call
from fixtures.models import VOCABULARY, tiny_config
from fixtures.paths import GOLDEN
from fixtures.tiers import every_mixer, recipes, tiered

import sqb_tflite
from sqb_tf.checkpoint import bundle
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model import heads
from sqb_tflite.conversion.lowering.heads import HEADS
from sqb_tflite.conversion.lowering.model import LoweredModel
from sqb_tflite.conversion.recipes import Recipe
from sqb_tflite.runtime.runner import Runner
from sqb_tflite.verification.bundle_backend import BundleBackend
from sqb_tflite.verification.verify import verify

PAIRED = [name for name, head in registry.HEADS.items() if head.always_paired]
PER_TOKEN = {
    name: [output.name for output in head.outputs if output.per_token]
    for name, head in registry.HEADS.items()
}
every_head = pytest.mark.parametrize("head", registry.NAMES)
# float32 rounding of some 100 operations on values about 1, and the vocabulary's logits about 6.
ROUNDING = 3e-5


RECIPES = recipes()


def rows(texts):
    """Single texts as a head takes them."""
    return [(text, None) for text in texts]


def test_every_head_is_lowered_and_every_recipe_tested():
    assert set(HEADS) == set(registry.NAMES)
    tested = {recipe.values[0] for recipe in RECIPES}
    assert tested == set(Recipe.names())


@every_mixer
@every_head
def test_lowered_model_is_the_keras_model(head, mixer, head_model):
    model = head_model(head, mixer)
    lowered = LoweredModel(model, head, 32)
    for text in TEXTS[:5]:
        inputs = model.preprocessor([text])
        actual, expected = lowered(**inputs), BundleBackend(model).batch_outputs(inputs)
        assert actual.keys() == expected.keys()
        for name, values in expected.items():
            assert actual[name].shape == values.shape
            np.testing.assert_allclose(actual[name], values, atol=ROUNDING, err_msg=name)


@pytest.mark.parametrize("head", registry.TEXT_NAMES)
@pytest.mark.parametrize("recipe", RECIPES)
@every_mixer
def test_every_recipe_is_verified(head, recipe, mixer, head_model, head_package):
    model, content = head_model(head, mixer), head_package(head, recipe, mixer=mixer)
    report = verify(model, content, [Example(text) for text in TEXTS])
    assert list(report.tensors) == [output.name for output in registry.get(head).outputs]
    assert report.metric == {"name": None, "keras": None, "package": None, "drop": None}
    assert report.sqnr_db >= Recipe.named(recipe).bounds.sqnr_db, report.table()
    assert "same decision" in report.table() and "Keras" not in report.table()
    if recipe == "float32":
        assert report.max_abs_error < ROUNDING and report.agreement == 1 and not report.misses
    if recipe == "int8":  # it is no copy: something was rounded
        assert report.max_abs_error > 10 * ROUNDING


@every_mixer
@pytest.mark.parametrize("head", [*registry.TEXT_NAMES, *PAIRED])
def test_fixed_length_gives_the_same_for_the_texts_own_tokens(head, mixer, head_package):
    dynamic, fixed = (
        Runner(head_package(head, "float32", length, mixer)) for length in (None, (32,))
    )
    texts = [(text, "a plot" if head in PAIRED else None) for text in TEXTS[:10]]
    for expected, actual in zip(
        dynamic.run(dynamic.requests(texts)), fixed.run(fixed.requests(texts)), strict=True
    ):
        for name, values in expected.items():
            np.testing.assert_allclose(actual[name], values, atol=ROUNDING, err_msg=name)


@pytest.mark.parametrize("head", [name for name, outputs in PER_TOKEN.items() if outputs])
def test_outputs_have_a_row_for_every_token(head, head_model, head_package):
    runner, model = Runner(head_package(head, "float32")), head_model(head)
    paired = head in PAIRED
    (outputs,) = runner.run(runner.requests([("the film was good", "bad" if paired else None)]))
    tokens = len(model.tokenizer(["the film was good"])[0]) + (4 if paired else 2)
    for name in PER_TOKEN[head]:
        assert len(outputs[name]) == tokens


def test_labels_are_in_the_package_of_a_token_classifier(head_package, head_model):
    assert Runner(head_package("token_classification", "int8")).package.labels == [
        f"label {i}" for i in range(4)
    ]
    assert Runner(head_package("span", "int8")).package.labels is None


@pytest.mark.parametrize("recipe", tiered(["float32", "int8"], ["int8"]))
def test_the_vocabulary_is_in_the_file_once(recipe, tmp_path):
    """Looked up and multiplied with, the table of a masked LM is one buffer."""
    config = tiny_config(vocab_size=8000)
    sizes = {}
    for head in ("encoder", "masked_lm"):
        model = heads.build(head, config)
        vocabulary = VOCABULARY + [f"word{i}" for i in range(8000 - len(VOCABULARY))]
        task = bundle.TaskInfo(head, head, False, 32, True, {}, "", "")
        examples = [Example(text) for text in TEXTS[:8]]
        contents = bundle.BundleContents(model, vocabulary, [], task, calibration=examples)
        bundle.write(tmp_path / head, contents)
        sizes[head] = len(sqb_tflite.convert(tmp_path / head, recipe))
    table = 8000 * config.hidden_size * (4 if recipe == "float32" else 1)
    assert sizes["masked_lm"] - sizes["encoder"] < table / 2


def test_texts_have_vectors_and_words_have_tags(head_package):
    embedder, tagger = (
        Runner(head_package(head, "float32")) for head in ("embedding", "token_classification")
    )
    vectors = embedder.embed(TEXTS[:3])
    expected = [output["embedding"] for output in embedder.run(embedder.requests(rows(TEXTS[:3])))]
    np.testing.assert_array_equal(vectors, expected)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 0)
    tagged = tagger.tag(["the film was good", "bad"])
    assert tagged == tagger.classify(["the film was good", "bad"])
    assert [len(result.tags) for result in tagged] == [4, 1]
    with pytest.raises(InputError, match=r"for token_classification: expected .* embedding"):
        tagger.embed(["bad"])
    with pytest.raises(InputError, match=r"for embedding: expected .* token_classification"):
        embedder.tag(["bad"])


@pytest.mark.parametrize("head", sorted({*registry.NAMES} - {*registry.RESULT_NAMES}))
def test_heads_without_a_label_for_a_text_say_so(head, head_package, head_model, tmp_path):
    (tmp_path / "a.tflite").write_bytes(head_package(head, "int8"))
    with pytest.raises(InputError, match=f"a package for {head} has no label for a text"):
        call("predict", "--package", tmp_path / "a.tflite", "some text")
    with pytest.raises(InputError, match=f"a bundle for {head}: expected one for classification"):
        call("predict", "--model", head_model(head).info.directory, "some text")


def test_an_imported_model_goes_to_a_verified_package(tmp_path):
    """The documented commands, on a folder of transformers."""
    folder = shutil.copytree(GOLDEN / "squeezebert" / "masked_lm" / "0", tmp_path / "hf")
    assert call("import_hf", "--source", folder, "--output", tmp_path / "bundle") == 0
    words = (folder / "vocab.txt").read_text().split()[5:]
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"{' '.join(words[i : i + 4])}\n" for i in range(10)))
    flags = [
        "--model",
        tmp_path / "bundle",
        "--quantize",
        "fp16",
        "--output",
        tmp_path / "m.tflite",
    ]
    with pytest.raises(
        InputError,
        match=r"no samples of texts in it .*: name held-out texts with --data FILE, one per line$",
    ):
        call("convert", *flags)
    assert call("convert", *flags, "--data", texts) == 0
    manifest = json.loads((tmp_path / "m.json").read_text())
    assert manifest["kind"] == "masked_lm" and manifest["verification"]["examples"] == 10
    verified = ["--model", tmp_path / "bundle", "--package", tmp_path / "m.tflite", "--data", texts]
    assert call("verify", *verified, "--json", tmp_path / "report.json") == 0
    assert json.loads((tmp_path / "report.json").read_text())["metric"]["name"] is None
