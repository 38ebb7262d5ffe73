"""Transformers folders that are damaged or not supported: the error names it, and nothing is written."""

import json
import re
import shutil

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.hugging_face import (
    change_config,
    change_weights,
    import_error,
    read_arrays,
    save_bundle,
)
from fixtures.paths import GOLDEN

import sqb_tf
from sqb_tf.checkpoint import bundle, transformers_folder
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


TOKENIZER = {
    "normalizer": {"type": "BertNormalizer", "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "vocab": {}, "continuing_subword_prefix": "##"},
}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            {"model_type": ["bert"]},
            "model_type \"['bert']\": expected",
        ),
        (
            "config.json",
            {"architectures": {"a": 1}},
            "config.json: architectures {'a': 1}: expected a list",
        ),
        (
            "config.json",
            {"id2label": {"0": "a", "1": "b", "2": "c\nd"}},
            "each of one line",
        ),
        (
            "config.json",
            {"id2label": {"0": "a", "1": "b", "2": None}},
            "each of one line",
        ),
        ("config.json", {"hidden_size": 10**9, "embedding_size": 10**9}, "describes a model of"),
        ("config.json", {"vocab_size": 10**9}, "describes a model of"),
        ("config.json", {"num_hidden_layers": 10**9}, "describes a model of"),
        (
            "tokenizer_config.json",
            {"model_max_length": True},
            "model_max_length True: expected a whole",
        ),
        ("tokenizer_config.json", {"model_max_length": 3}, "seq_length 3: expected 5 to"),
        (
            "tokenizer_config.json",
            {"do_lower_case": "false"},
            "do_lower_case 'false': expected true or",
        ),
        ("tokenizer.json", {**TOKENIZER, "model": None}, "model None: not a WordPiece tokenizer"),
        ("tokenizer.json", {**TOKENIZER, "model": []}, "model []: expected an object"),
        ("tokenizer.json", {**TOKENIZER, "normalizer": [1]}, "normalizer [1]: expected an object"),
        (
            "tokenizer.json",
            {**TOKENIZER, "normalizer": {"type": "Sequence"}},
            "normalizer Sequence: not",
        ),
        (
            "tokenizer.json",
            {**TOKENIZER, "pre_tokenizer": {"type": "WhitespaceSplit"}},
            "pre_tokenizer WhitespaceSplit: not a WordPiece tokenizer as BERT's",
        ),
        (
            "tokenizer.json",
            {**TOKENIZER, "model": {**TOKENIZER["model"], "continuing_subword_prefix": "@@"}},
            "continuing_subword_prefix '@@': expected '##'",
        ),
        (
            "model.safetensors.index.json",
            {"weight_map": {"a": 1}},
            "index.json: weight_map[...]: expected str, got int",
        ),
        (
            "model.safetensors.index.json",
            {"weight_map": ["x"]},
            "index.json: weight_map: expected object, got array",
        ),
        (
            "model.safetensors.index.json",
            {"weight_map": {"a": "é" * 300}},
            "is missing, which model.safetensors.index.json names",
        ),
        ("config.json", {"layer_norm_eps": 10**400}, "layer_norm_eps=1000"),
        ("config.json", {"intermediate_size": 2**31}, "intermediate_size=2147483648: expected"),
        (
            "modules.json",
            [{"type": "Transformer", "path": "é" * 300}],
            "modules.json: cannot be read as a list of modules: [Errno 36] File name too long",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_malformed_files(file, change, message, hf_folder, tmp_path):
    """One line that names the file; never a traceback, a bundle or a model as large as a config says."""
    path = hf_folder / file
    if file.endswith("index.json"):
        (hf_folder / "model.safetensors").unlink()
    settings = json.loads(path.read_text()) if file == "config.json" else {}
    path.write_text(json.dumps(change if isinstance(change, list) else {**settings, **change}))
    assert message in import_error(hf_folder, tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"[" * 100_000, "nested deeper than 64"),
        ("config.json", b'{"hidden_size": %s}' % (b"9" * 5000), "integer value out of range"),
        ("config.json", b"\xff", "config.json: not JSON"),
        ("tokenizer.json", b'{"model":' * 100_000, "nested deeper than 64"),
        ("tokenizer_config.json", b"[1]", "tokenizer_config.json: Expected object, got array"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_json_that_is_none(file, content, message, hf_folder, tmp_path):
    (hf_folder / file).write_bytes(content)
    assert message in import_error(hf_folder, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dtype": "F8_E4M3"},
            "classifier.bias is F8_E4M3: expected float weights, one of F32, F16",
        ),
        ({"dtype": "F4"}, "classifier.bias is F4: expected float weights"),
        ({"dtype": 5}, "dtype: expected str, got int"),
        ({"shape": [10**30]}, "expected int <= 2147483647"),
        ({"shape": [2**31 - 1, 2**31 - 1]}, "classifier.bias has other bytes than its shape"),
        ({"data_offsets": [0, 2**50]}, "classifier.bias has other bytes than its shape"),
        ({"data_offsets": [1]}, "expected array of length 2, got 1"),
    ],
    ids=str,
)
def test_headers_of_safetensors(change, message, hf_folder, tmp_path):
    path = hf_folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["classifier.bias"] |= change
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    error = import_error(hf_folder, tmp_path)
    assert "model.safetensors: " in error and message in error
    for size in (0, 1, 2**40, 2**63):
        path.write_bytes(size.to_bytes(8, "little") + changed)
        assert f"a header of {size:,} bytes" in import_error(hf_folder, tmp_path)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["[PAD]", "[UNK]", "[SEP]", "a"], "tokenizer.json: the vocabulary lacks [CLS]"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "w\n1"], "tokenizer.json: a token has a line break"),
    ],
)
def test_tokens_that_no_vocabulary_can_hold(tokens, message, hf_folder, tmp_path):
    (hf_folder / "vocab.txt").unlink()
    model = {**TOKENIZER["model"], "vocab": {token: i for i, token in enumerate(tokens)}}
    (hf_folder / "tokenizer.json").write_text(json.dumps({**TOKENIZER, "model": model}))
    assert message in import_error(hf_folder, tmp_path)


@pytest.mark.parametrize("ids", [{"a": "x"}, {"a": None}, {"a": 1}, {"a": True}, {}], ids=str)
def test_ids_that_are_none(ids, hf_folder, tmp_path):
    (hf_folder / "vocab.txt").unlink()
    model = {**TOKENIZER["model"], "vocab": ids}
    (hf_folder / "tokenizer.json").write_text(json.dumps({**TOKENIZER, "model": model}))
    assert "tokenizer.json: ids are not 0 to" in import_error(hf_folder, tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "uint8"])
def test_weights_of_a_quantized_model(dtype, hf_folder, tmp_path):
    bias = read_arrays(hf_folder)["classifier.bias"]
    change_weights(hf_folder, classifier__bias=np.ones(bias.shape, dtype))
    assert f"classifier.bias is {dtype}: expected float weights" in import_error(
        hf_folder, tmp_path
    )


def test_weights_that_are_not_finite(hf_folder, tmp_path):
    bias = read_arrays(hf_folder)["classifier.bias"]
    change_weights(hf_folder, classifier__bias=np.full(bias.shape, np.nan, "f4"))
    assert "classifier.bias has values that are not finite" in import_error(hf_folder, tmp_path)


def test_a_folder_is_no_bundle(hf_folder):
    with pytest.raises(
        InputError, match=r"not a bundle: make one of it with `sqb import_hf --source"
    ):
        call("convert", "--model", hf_folder)
    assert sqb_tf.load(hf_folder).config == transformers_folder.read(hf_folder).config


def test_the_hub_gives_the_files_of_an_encoder_in_a_folder():
    from huggingface_hub.utils import filter_repo_objects

    needed = ["config.json", "0_Transformer/vocab.txt", "0_Transformer/pytorch_model.bin"]
    needed += ["1_Pooling/config.json", "modules.json", "model.safetensors", "vocab.txt"]
    others = ["onnx/model.onnx", "tf_model.h5", "README.md", "flax_model.msgpack"]
    patterns = transformers_folder.HUB_FILES
    assert list(filter_repo_objects([*needed, *others], allow_patterns=patterns)) == needed
