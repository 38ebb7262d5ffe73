"""The runtime without TensorFlow: every head, and the tools that read packages, each in a fresh process."""

import json

from fixtures.commands import TOOLS, start_python

from sqb_tf.heads.registry import RESULT_NAMES

# Imported by a tool or `Runner`, these would be seconds of start and hundreds of MB.
HEAVY = ("tensorflow", "tensorflow_text", "tf_keras", "keras", "sentencepiece")
REPORT = f"print('heavy:', *sorted({set(HEAVY)} & set(sys.modules)))\n"
TEXT = "the film was not very good"


def run(script: str, *arguments: object) -> str:
    """What a fresh process printed; asserts that it imported nothing heavy."""
    process = start_python("-c", f"import sys\n{script}\n{REPORT}", *map(str, arguments))
    out, err = process.communicate()
    assert process.returncode == 0, err
    text, _, imported = out.rpartition("heavy:")
    assert not imported.split()
    return text


def test_a_text_is_classified(package):
    out = run(
        "from sqb_tflite.runtime.runner import Runner\n"
        "print(Runner(sys.argv[1]).classify([sys.argv[2]])[0].label)",
        package,
        TEXT,
    )
    assert out.strip() in ("bad", "fair", "good")


def test_every_head_gives_results(head_package, tmp_path):
    """Windows of contexts, positions of words and choices included."""
    for head in RESULT_NAMES:
        (tmp_path / f"{head}.tflite").write_bytes(head_package(head, "float32"))
    out = run(
        "from pathlib import Path\n"
        "from sqb_tflite.runtime.runner import Runner\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    runner = Runner(path)\n"
        "    pair = sys.argv[2] + '\\t' + sys.argv[2] if runner.paired else None\n"
        "    ((_, result),) = runner.stream([(sys.argv[2], pair)])\n"
        "    print(path.stem, type(result).__name__)",
        tmp_path,
        TEXT,
    )
    results = dict(line.split() for line in out.splitlines())
    assert results == {
        "classification": "Classification",
        "embedding": "Embedding",
        "multi_label": "MultiLabel",
        "multiple_choice": "Choice",
        "regression": "Classification",
        "span": "Answers",
        "token_classification": "Tagging",
    }


TOOL = """
import pathlib, runpy
del sys.argv[0]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


def run_tool(name: str, *arguments: object) -> str:
    return run(TOOL, TOOLS / f"{name}.py", *arguments)


def test_tools_that_read_packages(package, tmp_path):
    """predict, describe, benchmark on this machine, and the comparison of two measurements."""
    assert TEXT in run_tool("predict", "--package", package, TEXT)
    assert "FULLY_CONNECTED" in run_tool("describe", "--package", package)
    flags = ("--lengths", 8, "--runs", 2, "--json", tmp_path / "records.json")
    run_tool("benchmark", "--package", package, *flags)
    records = json.loads((tmp_path / "records.json").read_text())["records"]
    assert [record["seq_length"] for record in records] == [8]
    run_tool("benchmark", "compare", tmp_path / "records.json", tmp_path / "records.json")


def test_inputs_of_devices(package, tmp_path):
    """The files for a phone or a remote machine, before anything is sent there."""
    run(
        "from pathlib import Path\n"
        "from sqb_tflite.bench.devices import device_inputs, fleet, ios_params\n"
        "from sqb_tflite.bench.inputs import Text\n"
        "from sqb_tflite.package.info import PackageInfo\n"
        "package, folder = map(Path, sys.argv[1:])\n"
        "info = PackageInfo.read(package)\n"
        "prepared = device_inputs.prepare_package(info, Text.demo(), [16], folder)\n"
        "assert prepared.inputs[16].length == 16 and len(prepared.inputs[16].files) == 3\n"
        "assert ios_params.write_params(str(package), 16, 1, 5)",
        package,
        tmp_path,
    )
