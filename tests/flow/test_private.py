"""What of the user's stands in a bundle, and bundles without it: --no-samples, and sqb share."""

import json
import re
import shutil

import pytest
from fixtures.commands import call, fingerprint, rejects, unchanged
from fixtures.models import SEQ_LENGTH, random_texts

from sqb_tf.checkpoint import bundle
from sqb_tf.options import flags
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pretraining.options import PretrainOptions
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tools import outputs

SECRET = "thesecretpath"
PARTS = [
    *("config.json", "model.weights.h5", "model.weights.h5.sha256", "vocab.txt", "labels.txt"),
    *("task.json", "calibration.jsonl", "verification.jsonl", "metrics.json"),
]


@pytest.fixture(scope="module")
def folder(bundle_dir, tmp_path_factory):
    """Data, a bundle to start from, and the bundle of a run with all that can be private."""
    folder = tmp_path_factory.mktemp(SECRET)
    for split in ("train", "dev"):
        shutil.copy(bundle_dir / "verification.jsonl", folder / f"{split}.jsonl")
    shutil.copytree(bundle_dir, folder / "init")
    (folder / "others.txt").write_text("\n".join(random_texts(20, seed=9)) + "\n")
    assert call(*finetune(folder), "--output", folder / "whole") == 0
    return folder


def finetune(folder) -> list:
    command = [
        "finetune",
        "--data",
        folder,
        "--init",
        folder / "init",
        "--epochs",
        1,
        "--limit",
        32,
    ]
    return [*command, "--seq-length", SEQ_LENGTH, "--abstain", folder / "others.txt"]


def private(path, folder) -> set[str]:
    """What of the user's the files of a bundle hold."""
    texts = [
        row["text"] for row in map(json.loads, (folder / "dev.jsonl").read_text().splitlines())
    ]
    content = b"\n".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    kinds = {
        "texts": any(text.encode() in content for text in texts if " " in text),
        "paths": SECRET.encode() in content,
        "command": b"finetune" in content or b"pytest" in content,
        "logs": (path / "logs").exists(),
    }
    return {kind for kind, is_there in kinds.items() if is_there}


def test_a_bundle_holds_them_unless_asked_not_to(folder, capsys):
    assert private(folder / "whole", folder) == {"texts", "paths", "command", "logs"}
    assert call(*finetune(folder), "--output", folder / "none", "--no-samples") == 0
    shown = capsys.readouterr().out
    assert "private: no texts, command line or paths; to convert it" in shown
    assert f"none.tflite --data {folder} --calibration TEXTS" in shown
    assert not private(folder / "none", folder)
    assert sorted(file.name for file in (folder / "none").iterdir()) == sorted(PARTS)
    weights = [fingerprint(folder / name)["model.weights.h5"] for name in ("whole", "none")]
    assert weights[0] == weights[1]
    with unchanged(folder / "none"):
        again = ["--output", folder / "none", "--no-samples", "--resume"]
        assert call(*finetune(folder), *again) == 0  # finished, though its record lacks the paths
    assert outputs.privacy(samples=True).startswith("private: texts of your data, the command line")


def test_a_finished_run_with_samples_is_none_without(folder):
    again = ["--output", folder / "whole", "--resume"]
    with unchanged(folder / "whole"):
        assert call(*finetune(folder), *again) == 0
        rejects(r"whole is there already: --overwrite", *finetune(folder), *again, "--no-samples")


def test_a_bundle_is_shared(folder, tmp_path, capsys):
    (folder / "whole" / "notes.txt").write_text(SECRET)
    output = tmp_path / "shared"
    with unchanged(folder / "whole"):
        assert call("share", "--model", folder / "whole", "--output", output) == 0
    assert re.search(
        r"left out  \d+ calibration and \d+ verification texts, the command",
        capsys.readouterr().out,
    )
    assert not private(output, folder)
    assert sorted(file.name for file in output.iterdir()) == sorted(PARTS)
    whole, shared = (fingerprint(path) for path in (folder / "whole", output))
    assert all(whole[name] == shared[name] for name in PARTS[:5])
    metrics = json.loads((output / "metrics.json").read_text())
    assert (
        metrics["metric"] == json.loads((folder / "whole" / "metrics.json").read_text())["metric"]
    )
    assert metrics["options"]["epochs"] == 1 and not {"init", "abstain"} & metrics["options"].keys()
    assert bundle.load(output).labels == bundle.load(folder / "whole").labels
    assert call("evaluate", "--model", output, "--data", folder) == 0
    rejects(
        r"shared is there already: --overwrite",
        "share",
        "--model",
        folder / "whole",
        "--output",
        output,
    )


def test_damaged_weights_are_not_shared(folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(folder / "whole", model)
    content = bytearray((model / "model.weights.h5").read_bytes())
    content[-9] ^= 1
    (model / "model.weights.h5").write_bytes(content)
    rejects(
        r"model\.weights\.h5: .*sha256", "share", "--model", model, "--output", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_every_option_that_names_a_file_may_be_a_path():
    from sqb_tf.checkpoint.sharing import _MAY_BE_PATHS

    every = (FinetuneOptions, PretrainOptions, SqueezeOptions)
    paths = {
        field.name
        for options in every
        for field, flag in flags(options).values()
        if any(word in (flag.metavar or "") for word in ("DIR", "FILE", "PATH"))
    }
    assert {"init", "teacher"} <= paths <= set(_MAY_BE_PATHS)


def test_what_ships_and_shares_are_no_paths(tmp_path):
    from sqb_tf.checkpoint.sharing import _public_metrics

    options = {"init": "squeezebert-micro", "abstain": "95%", "vocabulary": None, "epochs": 3}
    assert _public_metrics({"options": options}) == {"options": options}
    paths = {"init": "x", "abstain": "x.txt", "vocabulary": "a/vocab.txt", "teacher": "me/model"}
    assert _public_metrics({"options": {**paths, "epochs": 3}}) == {"options": {"epochs": 3}}


def test_a_bundle_without_texts_says_what_to_name(folder, tmp_path):
    """All that is missing, before anything is computed; with it the bundle is converted and verified."""
    model = tmp_path / "shared"
    assert call("share", "--model", folder / "whole", "--output", model) == 0
    convert = ["convert", "--model", model, "--output", tmp_path / "x.tflite"]
    held_out, texts = ["--data", folder], ["--calibration", folder / "others.txt"]
    start = r"shared: no samples of texts in it \(made with --no-samples, `sqb share` or an import\): name "
    examples = "held-out examples with --data, in the form of its training data"
    to_calibrate = "texts to calibrate on with --calibration FILE, one per line"
    rejects(f"{start}{examples} and {to_calibrate}$", *convert)
    rejects(f"{start}{to_calibrate}$", *convert, *held_out)
    rejects(f"{start}{examples}$", *convert, *texts)
    rejects(f"{start}{examples}$", *convert, "--quantize", "float32")
    assert call(*convert, *held_out, "--quantize", "float32") == 0
    verify = ["verify", "--model", model, "--package", tmp_path / "x.tflite"]
    rejects(f"{start}{examples}$", *verify)
    assert call(*verify, *held_out) == 0
