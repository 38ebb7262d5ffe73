"""Transformers folders that are damaged or not supported: the error names it, and nothing is written."""

import json
import re
import shutil

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.hugging_face import change_config, change_weights, import_error, save_bundle
from fixtures.paths import GOLDEN

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError


def test_every_leftover_is_named(hf_folder, tmp_path):
    change_weights(
        hf_folder, transformer__pooler__dense__bias=None, transformer__extra=np.ones(2, "f4")
    )
    message = import_error(hf_folder, tmp_path)
    assert "missing transformer.pooler.dense.bias; left over transformer.extra" in message
    assert "SqueezeBertForSequenceClassification" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model_type="bert"), r"not the weights of BertForSequenceClassification: missing "),
        (dict(model_type=None), r"config.json: model_type None: expected 'squeezebert' or 'bert'"),
        (
            dict(model_type="roberta"),
            r"model_type 'roberta': expected 'squeezebert' or 'bert': its tokenizer is byte-level BPE",
        ),
        (dict(embedding_size=8), r"embedding_size 8 is not hidden_size"),
        (
            dict(num_attention_heads=5),
            r"config.json: hidden_size=\d+ is not divisible by num_attention_heads=5",
        ),
        (dict(q_groups=7), r"config.json: q_groups=7 does not divide"),
        (dict(hidden_act="gelu_fast"), r"config.json: hidden_act='gelu_fast': expected one of"),
        (dict(vocab_size=9), r"tokens in the vocabulary, config.json says vocab_size 9"),
        (
            dict(max_position_embeddings=99),
            r"position_embeddings.weight has shape .*, config.json says \(99",
        ),
        (dict(id2label={"0": "a"}), r"id2label .* a name for each of the 3 rows"),
        (
            dict(problem_type="multi_label_classification"),
            r"multi_label_classification: not supported",
        ),
    ],
    ids=str,
)
def test_a_config_that_is_wrong_or_contradicts_its_weights(changes, message, hf_folder, tmp_path):
    change_config(hf_folder, **changes)
    assert re.search(message, import_error(hf_folder, tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(position_embedding_type="relative_key"), "'relative_key': expected 'absolute'"),
        (dict(is_decoder=True), "is_decoder True: expected False"),
        (dict(add_cross_attention=True), "add_cross_attention True: expected False"),
        (dict(model_type="squeezebert"), "not the weights of SqueezeBertForSequenceClassification"),
    ],
    ids=str,
)
def test_a_bert_that_is_computed_in_another_way(changes, message, tmp_path):
    folder = shutil.copytree(GOLDEN / "bert" / "classification" / "0", tmp_path / "hf")
    change_config(folder, **changes)
    assert message in import_error(folder, tmp_path)


def test_more_layers_than_weights(hf_folder, tmp_path):
    layers = json.loads((hf_folder / "config.json").read_text())["num_hidden_layers"]
    change_config(hf_folder, num_hidden_layers=layers + 1)
    message = import_error(hf_folder, tmp_path)
    assert f"missing transformer.encoder.layers.{layers}.attention.key.bias" in message
    assert "and 12 more" in message


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_truncated_safetensors(length, hf_folder, tmp_path):
    path = hf_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    message = import_error(hf_folder, tmp_path)
    assert "model.safetensors: damaged or not a safetensors file" in message


def test_missing_files(hf_folder, tmp_path):
    (hf_folder / "vocab.txt").rename(tmp_path / "other.txt")
    assert "no vocab.txt or tokenizer.json in it: name one with --vocab" in import_error(
        hf_folder, tmp_path
    )
    flags = ["--vocab", tmp_path / "other.txt", "--seq-length", 7]
    assert call("import_hf", "--source", hf_folder, "--output", tmp_path / "named", *flags) == 0
    assert bundle.load(tmp_path / "named").info.task.seq_length == 7
    (hf_folder / "model.safetensors").unlink()
    assert "no weights: expected model.safetensors or" in import_error(hf_folder, tmp_path)
    (hf_folder / "config.json").unlink()
    assert "config.json: no such file; expected a folder that `transformers` saved" in import_error(
        hf_folder, tmp_path
    )


def test_missing_sources(tmp_path, monkeypatch):
    assert "no such folder; expected one, or a hub name" in import_error("./gone", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    message = import_error("squeezebert/squeezebert-uncased", tmp_path)
    assert (
        "squeezebert/squeezebert-uncased: no such folder, and it cannot be downloaded from the hub"
        in message
    )


def test_bad_flags(hf_folder, tmp_path):
    assert "head 'qa': expected one of classification" in import_error(
        hf_folder, tmp_path, "--head", "qa"
    )
    assert "left over classifier" in import_error(hf_folder, tmp_path, "--head", "encoder")
    assert "seq_length 0" in import_error(hf_folder, tmp_path, "--seq-length", "0")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="holds something else than a bundle"):
        call("import_hf", "--source", hf_folder, "--output", tmp_path / "full")
    source = save_bundle(tmp_path / "bundle", "encoder")
    with pytest.raises(InputError, match="holds something else than a transformers model"):
        call("export_hf", "--model", source, "--output", tmp_path / "full")


def test_a_bin_with_code_is_rejected(hf_folder, tmp_path, monkeypatch):
    (hf_folder / "model.safetensors").unlink()
    shutil.copy(GOLDEN / "weight_files" / "code.bin", hf_folder / "pytorch_model.bin")
    monkeypatch.chdir(tmp_path)
    message = import_error(hf_folder, tmp_path)
    assert "pytorch_model.bin: calls" in message and "not run" in message
    assert not (tmp_path / "code-was-run").exists()


def test_unsupported_tokenizer_settings(hf_folder, tmp_path):
    path = hf_folder / "tokenizer_config.json"
    path.write_text(json.dumps({"do_lower_case": True, "strip_accents": False}))
    assert "expected that accents are stripped if and only if" in import_error(hf_folder, tmp_path)
