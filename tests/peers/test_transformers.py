"""Parity with transformers on PyTorch: golden files (`make golden`), random configs, what it loads of us."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from fixtures.commands import ROOT, call
from fixtures.hugging_face import assert_parity, assert_same_bundle, save_bundle
from fixtures.paths import GOLDEN

from sqb_tf.checkpoint import bundle
from sqb_tf.checkpoint.architectures import ARCHITECTURES
from sqb_tf.heads import registry

REFERENCE = Path(__file__).with_name("reference.py")
TORCH = Path(os.environ.get("SQB_TORCH_PYTHON", ROOT / ".venv-torch/bin/python"))
# The heads for which transformers has a class, by model type.
SHARED_HEADS = [
    pytest.param(model_type, path.name, id=f"{model_type}-{path.name}")
    for model_type in ARCHITECTURES
    for path in sorted((GOLDEN / model_type).iterdir())
]
needs_torch = pytest.mark.skipif(
    not TORCH.exists(), reason=f"{TORCH} is missing: `make test-all` makes PyTorch's environment"
)
every_head = pytest.mark.parametrize(("model_type", "head"), SHARED_HEADS)


def test_golden_files_cover_every_head_of_transformers():
    heads = {param.values for param in SHARED_HEADS}
    # An embedder is compared with sentence-transformers; several labels have the class of classification.
    names = {*registry.NAMES} - {"embedding", "multi_label"}
    squeezebert = {("squeezebert", name) for name in names - {"pretraining"}}
    assert heads == squeezebert | {("bert", name) for name in names}


@every_head
def test_parity_with_transformers_golden_files(model_type, head):
    assert_parity(GOLDEN / model_type / head / "0", head)


@pytest.mark.slow
@pytest.mark.peers
@needs_torch
@every_head
def test_parity_with_transformers_over_random_configs(model_type, head, tmp_path):
    command = [TORCH, REFERENCE, tmp_path, model_type, head, "20", "1"]
    subprocess.run(command, check=True, capture_output=True)
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
    source = save_bundle(tmp_path / "bundle", head)
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
