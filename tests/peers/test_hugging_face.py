"""Imports and exports of transformers folders: round trips, the formats that are read, tokenizers."""

import json
import shutil

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.hugging_face import (
    assert_parity,
    assert_same_bundle,
    change_config,
    change_weights,
    import_error,
    read_arrays,
    save_bundle,
)
from fixtures.models import VOCABULARY, random_inputs, tiny_config
from fixtures.paths import GOLDEN
from fixtures.tiers import tiered
from safetensors.numpy import save_file

import sqb_tf
from sqb_tf.checkpoint import bundle, hugging_face, transformers_folder
from sqb_tf.config import GROUP_FIELDS, OWN_FIELDS
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model import heads
from sqb_tf.text.tokenizer import WordPieceTokenizer

BERT_HEADS = sorted(path.name for path in (GOLDEN / "bert").iterdir())


def test_an_imported_classifier_predicts_pairs_and_can_be_fine_tuned(hf_folder, tmp_path, capsys):
    command = ["--source", hf_folder, "--output", tmp_path / "mnli", "--paired"]
    assert call("import_hf", *command) == 0
    (tmp_path / "pairs.tsv").write_text("w1 w2\tw3\n")
    flags = ["--model", tmp_path / "mnli", "--input", tmp_path / "pairs.tsv"]
    assert call("predict", *flags) == 0
    assert "LABEL_" in capsys.readouterr().out
    rows = "".join(f"w{i} w{i + 1}\tw{i}\t{'yes' if i % 2 else 'no'}\n" for i in range(1, 9))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("text\tother\tlabel\n" + rows)
    flags = ["--data", tmp_path, "--pair-column", "other", "--init", tmp_path / "mnli"]
    flags += ["--epochs", 1, "--seq-length", 12, "--learning-rate", 1e-9]
    assert call("finetune", *flags, "--output", tmp_path / "tuned") == 0
    tuned, source = bundle.load(tmp_path / "tuned"), bundle.load(tmp_path / "mnli")
    assert tuned.labels == ["no", "yes"]
    for weight, imported in zip(tuned.backbone.weights, source.backbone.weights, strict=True):
        np.testing.assert_allclose(weight, imported, atol=1e-6)


@pytest.mark.parametrize("head", tiered(registry.NAMES, ["classification", "masked_lm"]))
def test_round_trip_is_bit_exact(head, tmp_path, capsys):
    source = save_bundle(tmp_path / "bundle", head)
    result = tmp_path / "result.json"
    assert call("export_hf", "--model", source, "--output", tmp_path / "hf", "--json", result) == 0
    files = ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]
    if head == "embedding":
        files += ["1_Pooling/config.json", "modules.json", "sentence_bert_config.json"]
    assert json.loads(result.read_text())["files"] == sorted(files)
    assert not set(OWN_FIELDS) & set(json.loads((tmp_path / "hf" / "config.json").read_text()))
    command = ["--source", tmp_path / "hf", "--output", tmp_path / "back", "--json", result]
    assert call("import_hf", *command) == 0
    assert json.loads(result.read_text())["kind"] == head
    assert_same_bundle(tmp_path / "back", source)


@pytest.mark.parametrize("head", tiered(BERT_HEADS, ["token_classification", "pretraining"]))
def test_a_bert_goes_out_as_it_came(head, tmp_path):
    source = GOLDEN / "bert" / head / "0"
    assert call("import_hf", "--source", source, "--output", tmp_path / "first") == 0
    assert call("export_hf", "--model", tmp_path / "first", "--output", tmp_path / "back") == 0
    expected, actual = read_arrays(source), read_arrays(tmp_path / "back")
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    settings = [json.loads((f / "config.json").read_text()) for f in (source, tmp_path / "back")]
    for name in ("architectures", "model_type", "layer_norm_eps", "hidden_act", "type_vocab_size"):
        assert settings[0][name] == settings[1][name]
    # A pooler that the folder lacks gets the same weights in every import.
    assert call("import_hf", "--source", tmp_path / "back", "--output", tmp_path / "again") == 0
    assert_same_bundle(tmp_path / "again", tmp_path / "first")


@pytest.mark.parametrize(
    ("model_type", "head", "prefix"),
    [
        ("squeezebert", "token_classification", "transformer."),
        ("squeezebert", "masked_lm", "transformer."),
        ("bert", "classification", "bert."),
        ("bert", "encoder", ""),
    ],
)
def test_a_pooler_that_its_type_has_may_not_be_missing(model_type, head, prefix, tmp_path):
    folder = shutil.copytree(GOLDEN / model_type / head / "0", tmp_path / "hf")
    names = [f"{prefix}pooler.dense.{name}" for name in ("bias", "weight")]
    change_weights(folder, **{name.replace(".", "__"): None for name in names})
    assert f"missing {', '.join(names)}" in import_error(folder, tmp_path)


def test_the_type_of_an_export_can_be_chosen(tmp_path):
    grouped, dense = save_bundle(tmp_path / "grouped", "encoder"), tmp_path / "dense"
    with pytest.raises(
        InputError, match=r"grouped/config.json: q_groups=2: `transformers` has no such bert"
    ):
        call("export_hf", "--model", grouped, "--output", tmp_path / "out", "--model-type", "bert")
    config = tiny_config(**dict.fromkeys(GROUP_FIELDS, 1))
    sqb_tf.save(heads.build("encoder", config), dense, tokenizer=WordPieceTokenizer(VOCABULARY))
    for model_type, flags in (("bert", []), ("squeezebert", ["--model-type", "squeezebert"])):
        output = tmp_path / model_type
        assert call("export_hf", "--model", dense, "--output", output, *flags) == 0
        assert json.loads((output / "config.json").read_text())["model_type"] == model_type
        assert call("import_hf", "--source", output, "--output", tmp_path / f"{model_type}-in") == 0
        assert_same_bundle(tmp_path / f"{model_type}-in", dense)
    other = heads.build("encoder", tiny_config(block_norm_eps=1e-5))
    sqb_tf.save(other, tmp_path / "eps", tokenizer=WordPieceTokenizer(VOCABULARY))
    with pytest.raises(InputError, match="block_norm_eps=1e-05 instead of 1e-12"):
        call("export_hf", "--model", tmp_path / "eps", "--output", tmp_path / "out")


def test_a_bert_without_model_type(tmp_path):
    """As Google's miniatures of 2020, whose config has no model_type."""
    folder = shutil.copytree(GOLDEN / "bert" / "masked_lm" / "0", tmp_path / "hf")
    change_config(folder, model_type=None, architectures=None)
    assert_parity(folder, "masked_lm")


def test_training_starts_from_a_folder(tmp_path):
    """`--init` takes it as it takes the bundle that import_hf makes of it."""
    rows = "".join(f"w{i} w{i + 1}\t{'yes' if i % 2 else 'no'}\n" for i in range(1, 9))
    (tmp_path / "data").mkdir()
    for split in ("train", "dev"):
        (tmp_path / "data" / f"{split}.tsv").write_text("text\tlabel\n" + rows)
    source = GOLDEN / "sentence_transformers" / "1"
    assert call("import_hf", "--source", source, "--output", tmp_path / "bundle") == 0
    flags = ["--data", tmp_path / "data", "--epochs", 1, "--seq-length", 7]
    for name, init in (("first", tmp_path / "bundle"), ("second", source)):
        assert call("finetune", *flags, "--init", init, "--output", tmp_path / name) == 0
    assert_same_bundle(tmp_path / "second", tmp_path / "first")


def test_an_imported_model_has_attention_whatever_its_config_says(hf_folder):
    change_config(hf_folder, token_mixer="separable_conv", mixer_kernel_size=4)
    config = transformers_folder.read(hf_folder).config
    assert (config.token_mixer, config.mixer_kernel_size) == ("self_attention", 3)


def test_embedding_rows_without_a_token(hf_folder, tmp_path):
    """As in the published checkpoints, which have 30528 rows for 30522 tokens."""
    tokens = (hf_folder / "vocab.txt").read_text().split()
    (hf_folder / "vocab.txt").write_text("\n".join(tokens[:-3]) + "\n")
    assert call("import_hf", "--source", hf_folder, "--output", tmp_path / "out") == 0
    model = bundle.load(tmp_path / "out")
    assert model.info.vocabulary[:-3] == tokens[:-3]
    fillers = model.info.vocabulary[-3:]
    ids = model.preprocessor([" ".join([*fillers, tokens[5]])])["input_word_ids"].numpy()
    assert ids.max() < len(tokens) - 3
    call("export_hf", "--model", tmp_path / "out", "--output", tmp_path / "again")
    assert (tmp_path / "again" / "vocab.txt").read_text().split() == tokens[:-3]
    for name, array in read_arrays(hf_folder).items():
        np.testing.assert_array_equal(read_arrays(tmp_path / "again")[name], array)


def test_sharded_weights(hf_folder, tmp_path):
    arrays = read_arrays(hf_folder)
    (hf_folder / "model.safetensors").unlink()
    parts = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(arrays)}
    for part in set(parts.values()):
        save_file({n: arrays[n] for n, p in parts.items() if p == part}, hf_folder / part)
    index = hf_folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    assert_parity(hf_folder, "classification")
    index.write_text(json.dumps({"weight_map": {**parts, "more": part}}))
    assert "its weight_map differs from the files it names: more" in import_error(
        hf_folder, tmp_path
    )
    index.write_text(json.dumps({"weight_map": parts}))
    (hf_folder / part).unlink()
    assert f"{part} is missing" in import_error(hf_folder, tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert "../../etc/passwd is missing" in import_error(hf_folder, tmp_path)


def test_tied_weights_may_be_stored_twice_if_they_are_equal(tmp_path):
    folder = shutil.copytree(GOLDEN / "squeezebert" / "masked_lm" / "0", tmp_path / "hf")
    arrays = read_arrays(folder)
    table = arrays["transformer.embeddings.word_embeddings.weight"]
    copies = dict(
        cls__predictions__decoder__weight=table,
        cls__predictions__decoder__bias=arrays["cls.predictions.bias"],
        transformer__embeddings__position_ids=np.arange(9)[None],
    )
    change_weights(folder, **copies)
    assert_parity(folder, "masked_lm")
    change_weights(folder, cls__predictions__decoder__weight=table + 1)
    assert "decoder.weight is not transformer.embeddings.word" in import_error(folder, tmp_path)


def test_names_of_old_checkpoints(tmp_path):
    folder = shutil.copytree(GOLDEN / "squeezebert" / "encoder" / "0", tmp_path / "hf")
    arrays = read_arrays(folder)
    name = "embeddings.LayerNorm"
    change_weights(
        folder,
        **{
            f"{name}.weight": None,
            f"{name}.bias": None,
            f"{name}.gamma": arrays[f"{name}.weight"],
            f"{name}.beta": arrays[f"{name}.bias"],
        },
    )
    assert_parity(folder, "encoder")


def test_half_precision_checkpoints_are_read_exactly(hf_folder):
    halves = {name: array.astype(np.float16) for name, array in read_arrays(hf_folder).items()}
    save_file(halves, hf_folder / "model.safetensors")
    model = hugging_face.build(transformers_folder.read(hf_folder))
    for name, weight in hugging_face.weight_names(model).items():
        value = weight.numpy().T if weight.path.endswith("/kernel") else weight.numpy()
        np.testing.assert_array_equal(value, halves[name].astype(np.float32), err_msg=name)


def test_the_sentence_order_head_is_imported(tmp_path):
    """A pretraining checkpoint has both heads."""
    source = save_bundle(tmp_path / "bundle", "pretraining")
    call("export_hf", "--model", source, "--output", tmp_path / "hf")
    model = hugging_face.build(transformers_folder.read(tmp_path / "hf"))
    assert type(model) is heads.SqueezeBertPretrainer
    inputs = {**random_inputs(model.config, 2, 9), "masked_positions": np.zeros((2, 1), np.int32)}
    outputs, expected = model(inputs), bundle.load(source)(inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)


@pytest.mark.parametrize(
    ("settings", "lowercase"),
    [
        ({}, True),
        ({"do_lower_case": False}, False),
        ({"do_lower_case": True, "strip_accents": None}, True),
    ],
    ids=str,
)
def test_tokenizer_settings(settings, lowercase, hf_folder, tmp_path):
    (hf_folder / "tokenizer_config.json").write_text(json.dumps(settings))
    call("import_hf", "--source", hf_folder, "--output", tmp_path / "out")
    assert bundle.read_info(tmp_path / "out").task.lowercase is lowercase


def test_tokenizer_json_alone(hf_folder, tmp_path):
    tokens = (hf_folder / "vocab.txt").read_text().split()
    (hf_folder / "vocab.txt").unlink()
    tokenizer = {
        "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "vocab": {token: i for i, token in enumerate(tokens)}},
    }
    path = hf_folder / "tokenizer.json"
    path.write_text(json.dumps(tokenizer))
    call("import_hf", "--source", hf_folder, "--output", tmp_path / "out")
    info = bundle.read_info(tmp_path / "out")
    assert info.vocabulary == tokens and info.task.lowercase is False
    tokenizer["model"]["vocab"][tokens[-1]] = 1000
    path.write_text(json.dumps(tokenizer))
    shutil.rmtree(tmp_path / "out")
    assert "ids are not 0 to" in import_error(hf_folder, tmp_path)
    path.write_text(json.dumps({**tokenizer, "model": {"type": "BPE", "vocab": {}}}))
    assert "not a WordPiece tokenizer" in import_error(hf_folder, tmp_path)
