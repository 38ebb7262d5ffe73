"""What is the user's stays: files beside a package, inputs, finished bundles, runs of other processes."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from fixtures.budgets import processes
from fixtures.commands import call, error_line, rejects, run, start, unchanged

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.training.run_directory import OWNER, locked_run, open_run_directory, run_directory
from sqb_tools.arguments import check_inputs

TINY = ["--preset", "squeezebert-tiny", "--vocab-size", 100, "--seq-length", 16, "--epochs", 1]


def test_a_recipe_of_the_packages_name_stays(bundle_dir, tmp_path):
    recipe, package = tmp_path / "mixed.json", tmp_path / "mixed.tflite"
    recipe.write_text('{"*": "int8"}')
    command = ["convert", "--model", bundle_dir, "--quantize", recipe, "--output", package]
    with unchanged(tmp_path):
        rejects(
            r"mixed\.json: conversion writes a file of this name .* name another --output", *command
        )


@pytest.mark.parametrize("name", ["x.json", "x.search.png", "x.recipe.json"])
def test_files_beside_a_package_that_are_not_ours_stay(name, bundle_dir, tmp_path):
    (tmp_path / name).write_text('{"mine": 1}')
    command = ["convert", "--model", bundle_dir, "--output", tmp_path / "x.tflite", "--search"]
    with unchanged(tmp_path):
        rejects(rf"{name}: conversion writes a file of this name", *command, "--quantize", "int4")


def test_a_package_is_converted_again(bundle_dir, tmp_path):
    command = ["convert", "--model", bundle_dir, "--output", tmp_path / "x.tflite", "--allow-loss"]
    assert call(*command) == 0 == call(*command)


def test_a_package_of_another_model_stays(bundle_dir, spoiled, converted, tmp_path):
    package = tmp_path / "x.tflite"
    command = ["convert", "--quantize", "float32", "--output", package]
    assert call(*command, "--model", bundle_dir) == 0
    again = [
        [*command, "--model", spoiled],
        [*command[:2], "int8", *command[3:], "--model", bundle_dir],
    ]
    for other in again:
        with unchanged(tmp_path):
            rejects(
                r"already, and not as the package of .* with recipe \w+: --overwrite replaces",
                *other,
            )
    assert call(*again[0], "--overwrite") == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"] == str(spoiled)
    package.write_bytes(converted("float32", 16))  # no longer what the manifest describes
    rejects(r"x\.tflite is there already", *again[0])


def test_an_earlier_package_is_known_from_any_folder(bundle_dir, tmp_path, monkeypatch):
    """By the bundle's folder, whatever the run called it and the package."""
    for name in ("one", "two"):
        shutil.copytree(bundle_dir, tmp_path / name / "model")
    command = ["convert", "--model", "model", "--quantize", "float32", "--output"]
    monkeypatch.chdir(tmp_path / "one")
    assert call(*command, "../x.tflite") == 0 == call(*command, tmp_path / "x.tflite")
    monkeypatch.chdir(tmp_path / "two")
    rejects(r"x\.tflite is there already", *command, tmp_path / "x.tflite")


def test_a_package_of_another_file_of_patterns_stays(bundle_dir, tmp_path):
    for name, storage in (("a", "int8"), ("b", "fp16")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"*": storage}))
    command = ["convert", "--model", bundle_dir, "--allow-loss", "--output", tmp_path / "x.tflite"]
    assert call(*command, "--quantize", tmp_path / "a.json") == 0
    rejects(r"with recipe .*b\.json: --overwrite", *command, "--quantize", tmp_path / "b.json")


def test_a_file_that_is_no_package_stays(bundle_dir, tmp_path):
    package = tmp_path / "mobilenet.tflite"
    package.write_bytes(b"mine")
    with unchanged(tmp_path):
        rejects(
            r"mobilenet\.tflite is there already",
            "convert",
            "--model",
            bundle_dir,
            "--output",
            package,
        )


@pytest.mark.parametrize("flag", ["--json", "--output"])
def test_no_input_is_written(flag, bundle_dir, data, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("a good film\n")
    flags = ["--model", bundle_dir, "--input", texts, flag, texts]
    with unchanged(tmp_path):
        assert error_line(run("predict", *map(str, flags))) == (
            f"{flag} {texts}: the run reads it (--input): name another one"
        )


def test_a_finished_bundle_stays(data, tmp_path, capsys):
    command = ["finetune", "--data", data, *TINY, "--output", tmp_path / "model"]
    assert call(*command) == 0
    with unchanged(tmp_path / "model"):
        rejects(r"model is there already: --overwrite replaces it", *command)
        capsys.readouterr()
        assert call(*command, "--resume", "--json", tmp_path / "again.json") == 0
    assert "finished: nothing to resume" in capsys.readouterr().out
    assert json.loads((tmp_path / "again.json").read_text())["metric"]["name"] == "accuracy"
    assert call(*command, "--overwrite", "--seed", 1) == 0
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["options"]["seed"] == 1


def test_folders_of_other_tools_stay(bundle_dir, hf_folder, tmp_path):
    folder, imported = tmp_path / "exported", tmp_path / "imported"
    for command in (
        ["export_hf", "--model", bundle_dir, "--output", folder],
        ["import_hf", "--source", hf_folder, "--output", imported],
    ):
        assert call(*command) == 0
        with unchanged(command[-1]):
            rejects(r"is there already: --overwrite replaces it", *command)
        assert call(*command, "--overwrite") == 0


def test_two_runs_do_not_write_one_bundle(data, tmp_path):
    output = tmp_path / "model"
    with locked_run(output):
        open_run_directory(output, {}, resume=False)
        owner = json.loads((run_directory(output) / OWNER).read_text())
        assert owner["process"] == os.getpid()
        process = start("finetune", *map(str, ["--data", data, *TINY, "--output", output]))
        out, error = process.communicate()
    message = error_line(subprocess.CompletedProcess([], process.returncode, out, error))
    assert not any(line.startswith(f"{process.pid} ") for line in processes())  # no TensorFlow
    assert message.startswith(f"{output}: process {os.getpid()} on {owner['host']}, since ")
    assert message.endswith(" writes it: wait, or name another --output")
    assert not output.exists()


def test_the_lock_of_a_killed_run_is_none(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from sqb_tf.training.run_directory import locked_run, open_run_directory\n"
        "output = Path(sys.argv[1])\n"
        "with locked_run(output):\n"
        "    open_run_directory(output, {}, False); print('locked', flush=True); time.sleep(60)"
    )
    output = tmp_path / "model"
    process = subprocess.Popen(
        [sys.executable, "-c", code, output], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    with pytest.raises(InputError, match=f"process {process.pid} on "), locked_run(output):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked_run(output):
        open_run_directory(output, {}, resume=True)
        assert json.loads((run_directory(output) / OWNER).read_text())["process"] == os.getpid()


def test_a_run_that_did_not_begin_leaves_nothing(tmp_path):
    with locked_run(tmp_path / "model"):
        pass
    assert not any(tmp_path.iterdir())


def test_a_run_is_not_resumed_with_other_data(data, tmp_path):
    output = tmp_path / "model"
    command = ["finetune", "--data", data, *TINY, "--epochs", 200, "--output", output]
    process = start(*map(str, [*command, "--save-every", 1]))
    deadline = time.monotonic() + 120
    while not (run_directory(output) / "state.npz").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    # Corrected labels: as many rows as before.
    (data / "train.tsv").write_text("text\tlabel\na good film\tbad\na bad film\tgood\n")
    rejects(
        r"--resume: the data of the run in .*model\.training has changed since it began",
        *command,
        "--resume",
    )


def test_a_package_holds_no_text_of_the_user(bundle_dir, converted):
    content = converted("int8")
    info = bundle.read_info(bundle_dir)
    texts = [e.text for which in ("calibration", "verification") for e in info.sample(which)]
    assert len(texts) > 100 and not any(text.encode() in content for text in texts if " " in text)
    assert info.task.command.encode() not in content or not info.task.command


def test_a_folder_where_a_run_would_keep_its_state_stays(data, tmp_path):
    folder = run_directory(tmp_path / "model")
    folder.mkdir()
    (folder / "train.tsv").write_text("mine")
    with unchanged(tmp_path):
        rejects(
            r"model\.training: a run would keep its state there, and it holds something else",
            *["finetune", "--data", data, *TINY, "--output", tmp_path / "model"],
        )


def test_a_run_of_other_options_or_data_is_not_said_to_be_finished(data, tmp_path):
    command = ["finetune", "--data", data, *TINY, "--output", tmp_path / "model"]
    assert call(*command) == 0
    rejects(r"model is there already: --overwrite", *command, "--seed", 3, "--resume")
    (data / "train.tsv").write_text("text\tlabel\na good film\tbad\na bad film\tgood\n")
    rejects(r"model is there already: --overwrite", *command, "--resume")


def test_names_that_are_files_too_are_no_inputs(bundle_dir, data, tmp_path, monkeypatch):
    """A split may have the name of what is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dev").mkdir()
    parser = importlib.import_module("sqb_tools.evaluate").flags()
    args = parser.parse_args(["--model", str(bundle_dir), "--data", str(data), "--report", "dev"])
    assert args.split == "dev"
    check_inputs(args, parser)
    args = parser.parse_args(["--model", "dev", "--data", str(data), "--report", "dev"])
    with pytest.raises(InputError, match=r"--report dev: the run reads it \(--model\)"):
        check_inputs(args, parser)
