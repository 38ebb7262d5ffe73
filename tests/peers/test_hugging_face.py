"""Imports and exports of transformers folders, and parity with PyTorch (tests/golden: `make golden`)."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fixtures.commands import ROOT, call
from fixtures.models import (
    VOCABULARY,
    random_inputs,
    randomize,
    tiny_config,
)
from fixtures.paths import GOLDEN
from fixtures.tiers import tiered
from safetensors.numpy import load_file, save_file

from sqb_tf.checkpoint import bundle, hugging_face, transformers_folder
from sqb_tf.config import OWN_FIELDS
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model import heads

REFERENCE = Path(__file__).with_name("reference.py")
TORCH = Path(os.environ.get("SQB_TORCH_PYTHON", ROOT / ".venv-torch/bin/python"))
# The heads for which transformers has a class.
SHARED_HEADS = sorted(path.name for path in GOLDEN.iterdir() if path.name in registry.NAMES)
needs_torch = pytest.mark.skipif(
    not TORCH.exists(), reason=f"{TORCH} is missing: `make test-all` makes PyTorch's environment"
)
every_head = pytest.mark.parametrize("head", SHARED_HEADS)
# The reference's output names -> ours.
OUTPUT_NAMES = {"last_hidden_state": "sequence_output", "pooler_output": "pooled_output"}
INPUT_NAMES = {
    "input_ids": "input_word_ids",
    "attention_mask": "input_mask",
    "token_type_ids": "input_type_ids",
}


def assert_parity(folder: Path, head: str) -> None:
    """Outputs, states and scores are equal to 1e-5, gradients to 1e-4, relative to a largest value over 1."""
    contents = transformers_folder.read(folder)
    assert contents.head == head
    model = hugging_face.build(contents)
    reference = dict(np.load(folder / "reference.npz"))
    inputs = {ours: reference[f"inputs/{theirs}"] for theirs, ours in INPUT_NAMES.items()}
    mask = inputs["input_mask"].astype(bool)

    def assert_close(actual, expected, tolerance, name):
        scale = max(1.0, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(actual, expected, atol=tolerance * scale, rtol=0, err_msg=name)

    with tf.GradientTape() as tape:
        outputs = model(inputs, training=False)
        outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
        expected_outputs = {
            name.removeprefix("outputs/"): expected
            for name, expected in reference.items()
            if name.startswith("outputs/")
        }
        assert len(outputs) == len(expected_outputs)
        loss = 0.0
        for name, expected in expected_outputs.items():
            values = outputs[OUTPUT_NAMES.get(name, name)]
            if tuple(values.shape[: mask.ndim]) == mask.shape:
                values, expected = tf.boolean_mask(values, mask), expected[mask]
            assert_close(values, expected, 1e-5, name)
            loss += tf.reduce_sum(tf.sin(values))
    assert_close(loss, reference["loss"], 1e-4, "loss")

    weights = hugging_face.weight_names(model)
    gradients = tape.gradient(loss, [weight.value for weight in weights.values()])
    expected_names = {n.removeprefix("gradients/") for n in reference if n.startswith("gradients/")}
    assert expected_names == {n for n, g in zip(weights, gradients, strict=True) if g is not None}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        if gradient is not None:
            gradient = tf.convert_to_tensor(gradient).numpy()
            gradient = gradient.T if weight.path.endswith("/kernel") else gradient
            assert_close(gradient, reference[f"gradients/{name}"], 1e-4, name)

    if head == "multiple_choice":
        inputs = {name: x.reshape(-1, x.shape[-1]) for name, x in inputs.items()}
        mask = inputs["input_mask"].astype(bool)
    states = getattr(model, "backbone", model).with_states()(inputs)
    for index, hidden in enumerate(states["hidden_states"]):
        assert_close(
            hidden[mask], reference[f"hidden_states/{index}"][mask], 1e-5, f"hidden {index}"
        )
    pairs = np.broadcast_to(
        (mask[:, None, :, None] & mask[:, None, None, :]), states["attention_scores"][0].shape
    )
    for index, scores in enumerate(states["attention_scores"]):
        expected = reference[f"attentions/{index}"]
        assert_close(scores.numpy()[pairs], expected[pairs], 1e-5, f"attention {index}")
    assert f"attentions/{index + 1}" not in reference


@every_head
def test_parity_with_transformers_golden_files(head):
    assert_parity(GOLDEN / head / "0", head)


@pytest.mark.slow
@pytest.mark.peers
@needs_torch
@every_head
def test_parity_with_transformers_over_random_configs(head, tmp_path):
    subprocess.run([TORCH, REFERENCE, tmp_path, head, "20", "1"], check=True, capture_output=True)
    for index in range(20):
        assert_parity(tmp_path / str(index), head)


# Loads a folder with the class of its architecture, prints what from_pretrained missed, and saves it again.
LOADING = """
import json, sys, transformers
folder, again = sys.argv[1:]
(name,) = json.load(open(f"{folder}/config.json"))["architectures"]
model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model.save_pretrained(again)
tokenizer.save_pretrained(again)
ids = tokenizer("A good film", "THE END")["input_ids"]
missed = {k: sorted(map(str, v)) for k, v in report.items() if k != "error_msgs"}
print("REPORT" + json.dumps([missed, ids]))
"""


@pytest.mark.slow
@pytest.mark.peers
@needs_torch
@pytest.mark.parametrize("head", registry.NAMES)
def test_transformers_loads_what_is_exported_and_nothing_is_missing(head, tmp_path):
    source = save(tmp_path / "bundle", head)
    assert call("export_hf", "--model", source, "--output", tmp_path / "hf") == 0
    command = [TORCH, "-c", LOADING, tmp_path / "hf", tmp_path / "again"]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    report, ids = json.loads(process.stdout.partition("REPORT")[2])
    unexpected = report.pop("unexpected_keys")
    order = ["cls.seq_relationship.bias", "cls.seq_relationship.weight"]
    assert unexpected == (order if head == "pretraining" else [])
    assert not any(report.values()), report
    model = bundle.load(source)
    assert (
        ids
        == model.preprocessor(["A good film"], ["THE END"])["input_word_ids"][0].numpy().tolist()
    )
    if head not in ("pretraining", "embedding"):
        command = ["--source", tmp_path / "again", "--output", tmp_path / "back"]
        assert call("import_hf", *command) == 0
        assert_same_bundle(tmp_path / "back", source)


def save(folder: Path, head: str) -> Path:
    """A bundle with a head and random weights."""
    labels = {"classification": 3, "token_classification": 4, "regression": 1}.get(head, 0)
    config = tiny_config(q_groups=2, v_groups=1, output_groups=8)
    model = heads.build(head, config, labels or 1)
    randomize(model)
    names = ["score"] if head == "regression" else [f"label {i}" for i in range(labels)]
    task = bundle.TaskInfo(head, head, False, 64, True, {}, "", "")
    bundle.write(folder, bundle.BundleContents(model, VOCABULARY, names, task))
    return folder


def assert_same_bundle(actual_path: Path, expected_path: Path) -> None:
    """The models are equal to the bit."""
    actual, expected = bundle.load(actual_path), bundle.load(expected_path)
    assert type(actual) is type(expected) and actual.config == expected.config
    assert actual.labels == expected.labels and actual.info.vocabulary == expected.info.vocabulary
    assert actual.info.task.kind == expected.info.task.kind
    assert actual.info.task.lowercase == expected.info.task.lowercase
    for weight, reference in zip(actual.trainable_weights, expected.trainable_weights, strict=True):
        assert weight.path == reference.path
        np.testing.assert_array_equal(weight, reference)


def test_golden_files_cover_every_head_of_transformers():
    assert set(SHARED_HEADS) == set(registry.NAMES) - {"pretraining", "embedding"}


def test_an_imported_classifier_predicts_pairs_and_can_be_fine_tuned(folder, tmp_path, capsys):
    command = ["--source", folder, "--output", tmp_path / "mnli", "--paired"]
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
    source = save(tmp_path / "bundle", head)
    result = tmp_path / "result.json"
    assert call("export_hf", "--model", source, "--output", tmp_path / "hf", "--json", result) == 0
    files = ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]
    assert json.loads(result.read_text())["files"] == files == sorted(os.listdir(tmp_path / "hf"))
    assert not set(OWN_FIELDS) & set(json.loads((tmp_path / "hf" / "config.json").read_text()))
    flags = ["--head", "embedding"] if head == "embedding" else []
    command = ["--source", tmp_path / "hf", "--output", tmp_path / "back", *flags, "--json", result]
    assert call("import_hf", *command) == 0
    assert json.loads(result.read_text())["kind"] == head
    assert_same_bundle(tmp_path / "back", source)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the golden classifier's folder, to change."""
    return shutil.copytree(GOLDEN / "classification" / "0", tmp_path / "hf")


def import_error(folder: Path, tmp_path: Path, *flags: str) -> str:
    """The error message of an import that fails and writes nothing."""
    with pytest.raises(InputError) as caught:
        call("import_hf", "--source", folder, "--output", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    return str(caught.value)


def change_config(folder: Path, **values) -> None:
    path = folder / "config.json"
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def change_weights(folder: Path, **arrays) -> None:
    """Sets arrays by name, with __ for a dot; None removes one."""
    path = folder / "model.safetensors"
    weights = {**load_file(path), **{k.replace("__", "."): v for k, v in arrays.items()}}
    save_file({k: v for k, v in weights.items() if v is not None}, path)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def test_every_leftover_is_named(folder, tmp_path):
    change_weights(
        folder, transformer__pooler__dense__bias=None, transformer__extra=np.ones(2, "f4")
    )
    message = import_error(folder, tmp_path)
    assert "missing transformer.pooler.dense.bias; left over transformer.extra" in message
    assert "SqueezeBertForSequenceClassification" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model_type="bert"), r"config.json: model_type 'bert': expected 'squeezebert'"),
        (dict(model_type=None), r"config.json: model_type None: expected 'squeezebert'"),
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
def test_a_config_that_is_wrong_or_contradicts_its_weights(changes, message, folder, tmp_path):
    change_config(folder, **changes)
    assert re.search(message, import_error(folder, tmp_path))


def test_an_imported_model_has_attention_whatever_its_config_says(folder):
    change_config(folder, token_mixer="separable_conv", mixer_kernel_size=4)
    config = transformers_folder.read(folder).config
    assert (config.token_mixer, config.mixer_kernel_size) == ("self_attention", 3)


def test_more_layers_than_weights(folder, tmp_path):
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    change_config(folder, num_hidden_layers=layers + 1)
    message = import_error(folder, tmp_path)
    assert f"missing transformer.encoder.layers.{layers}.attention.key.bias" in message
    assert "and 12 more" in message


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_truncated_safetensors(length, folder, tmp_path):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    message = import_error(folder, tmp_path)
    assert "model.safetensors: damaged or not a safetensors file" in message


def test_missing_files(folder, tmp_path):
    (folder / "vocab.txt").rename(tmp_path / "other.txt")
    assert "no vocab.txt or tokenizer.json in it: name one with --vocab" in import_error(
        folder, tmp_path
    )
    flags = ["--vocab", tmp_path / "other.txt", "--seq-length", 7]
    assert call("import_hf", "--source", folder, "--output", tmp_path / "named", *flags) == 0
    assert bundle.load(tmp_path / "named").info.task.seq_length == 7
    (folder / "model.safetensors").unlink()
    assert "no weights: expected model.safetensors or" in import_error(folder, tmp_path)
    (folder / "config.json").unlink()
    assert "config.json: no such file; expected a folder that `transformers` saved" in import_error(
        folder, tmp_path
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


def test_bad_flags(folder, tmp_path):
    assert "head 'qa': expected one of classification" in import_error(
        folder, tmp_path, "--head", "qa"
    )
    assert "left over classifier" in import_error(folder, tmp_path, "--head", "encoder")
    assert "seq_length 0" in import_error(folder, tmp_path, "--seq-length", "0")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="holds something else than a bundle"):
        call("import_hf", "--source", folder, "--output", tmp_path / "full")
    source = save(tmp_path / "bundle", "encoder")
    with pytest.raises(InputError, match="holds something else than a transformers model"):
        call("export_hf", "--model", source, "--output", tmp_path / "full")


def test_embedding_rows_without_a_token(folder, tmp_path):
    """As in the published checkpoints, which have 30528 rows for 30522 tokens."""
    tokens = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").write_text("\n".join(tokens[:-3]) + "\n")
    assert call("import_hf", "--source", folder, "--output", tmp_path / "out") == 0
    model = bundle.load(tmp_path / "out")
    assert model.info.vocabulary[:-3] == tokens[:-3]
    fillers = model.info.vocabulary[-3:]
    ids = model.preprocessor([" ".join([*fillers, tokens[5]])])["input_word_ids"].numpy()
    assert ids.max() < len(tokens) - 3
    call("export_hf", "--model", tmp_path / "out", "--output", tmp_path / "again")
    assert (tmp_path / "again" / "vocab.txt").read_text().split() == tokens[:-3]
    for name, array in read_arrays(folder).items():
        np.testing.assert_array_equal(read_arrays(tmp_path / "again")[name], array)


def test_sharded_weights(folder, tmp_path):
    arrays = read_arrays(folder)
    (folder / "model.safetensors").unlink()
    parts = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(arrays)}
    for part in set(parts.values()):
        save_file({n: arrays[n] for n, p in parts.items() if p == part}, folder / part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    assert_parity(folder, "classification")
    index.write_text(json.dumps({"weight_map": {**parts, "more": part}}))
    assert "its weight_map differs from the files it names: more" in import_error(folder, tmp_path)
    index.write_text(json.dumps({"weight_map": parts}))
    (folder / part).unlink()
    assert f"{part} is missing" in import_error(folder, tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert "../../etc/passwd is missing" in import_error(folder, tmp_path)


def test_a_bin_with_code_is_rejected(folder, tmp_path, monkeypatch):
    (folder / "model.safetensors").unlink()
    shutil.copy(GOLDEN / "weight_files" / "code.bin", folder / "pytorch_model.bin")
    monkeypatch.chdir(tmp_path)
    message = import_error(folder, tmp_path)
    assert "pytorch_model.bin: calls" in message and "not run" in message
    assert not (tmp_path / "code-was-run").exists()


def test_tied_weights_may_be_stored_twice_if_they_are_equal(tmp_path):
    folder = shutil.copytree(GOLDEN / "masked_lm" / "0", tmp_path / "hf")
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
    folder = shutil.copytree(GOLDEN / "encoder" / "0", tmp_path / "hf")
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


def test_half_precision_checkpoints_are_read_exactly(folder):
    halves = {name: array.astype(np.float16) for name, array in read_arrays(folder).items()}
    save_file(halves, folder / "model.safetensors")
    model = hugging_face.build(transformers_folder.read(folder))
    for name, weight in hugging_face.weight_names(model).items():
        value = weight.numpy().T if weight.path.endswith("/kernel") else weight.numpy()
        np.testing.assert_array_equal(value, halves[name].astype(np.float32), err_msg=name)


def test_the_sentence_order_head_is_imported(tmp_path):
    """A pretraining checkpoint has both heads."""
    source = save(tmp_path / "bundle", "pretraining")
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
def test_tokenizer_settings(settings, lowercase, folder, tmp_path):
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    call("import_hf", "--source", folder, "--output", tmp_path / "out")
    assert bundle.read_info(tmp_path / "out").task.lowercase is lowercase


def test_unsupported_tokenizer_settings(folder, tmp_path):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({"do_lower_case": True, "strip_accents": False}))
    assert "expected that accents are stripped if and only if" in import_error(folder, tmp_path)


def test_tokenizer_json_alone(folder, tmp_path):
    tokens = (folder / "vocab.txt").read_text().split()
    (folder / "vocab.txt").unlink()
    tokenizer = {
        "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
        "model": {"type": "WordPiece", "vocab": {token: i for i, token in enumerate(tokens)}},
    }
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(tokenizer))
    call("import_hf", "--source", folder, "--output", tmp_path / "out")
    info = bundle.read_info(tmp_path / "out")
    assert info.vocabulary == tokens and info.task.lowercase is False
    tokenizer["model"]["vocab"][tokens[-1]] = 1000
    path.write_text(json.dumps(tokenizer))
    shutil.rmtree(tmp_path / "out")
    assert "ids are not 0 to" in import_error(folder, tmp_path)
    path.write_text(json.dumps({"model": {"type": "BPE", "vocab": {}}}))
    assert "not a WordPiece tokenizer" in import_error(folder, tmp_path)
