"""Imports run one way: tools -> tflite -> sqb_tf; the model knows Keras only."""

import subprocess
import sys

import pytest
from fixtures.imports import importers, imports, sources
from fixtures.paths import REPOSITORY


def tools() -> list[str]:
    return ["tools", "sqb_tools", *(path.stem for path in sources("tools"))]


def test_model_and_training_import_neither_tflite_nor_tools():
    assert not importers("sqb_tf", "sqb_tflite", "tflite", *tools())


def test_mobile_side_imports_no_tool():
    assert not importers("tflite", *tools())
    assert importers("tflite", "sqb_tf")  # that the search finds imports at all


def test_tests_share_fixtures_not_one_another():
    modules = [path.stem for path in sources("tests") if path.stem.startswith("test_")]
    assert not importers("tests", *modules)
    assert importers("tests", "fixtures")


def test_only_the_runner_imports_an_interpreter():
    files = {
        file
        for folder in ("sqb_tf", "tflite", "tools")
        for file in importers(folder, "ai_edge_litert.interpreter", "tensorflow.lite")
    }
    assert files == {"tflite/runtime/runner.py"}


@pytest.mark.parametrize("module", ["attention", "elementwise", "layers", "backbone", "heads"])
def test_model_imports_no_tensorflow(module):
    names = list(imports(REPOSITORY / "sqb_tf" / "model" / f"{module}.py"))
    assert any(name.split(".")[0] == "keras" for name in names)
    assert not [name for name in names if name.startswith("tensorflow")]


def test_packages_import_without_tensorflow():
    """Every `--help` imports these: it must not take the seconds that TensorFlow does."""
    script = (
        "import sys, sqb_tf, sqb_tf.config, sqb_tf.data.task, sqb_tf.checkpoint.bundle\n"
        "import sqb_tflite, sqb_tflite.conversion.recipes\n"
        "print(*sorted({'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_tflite_is_no_name_of_ours(tmp_path):
    """PyPI has a package `tflite`: an editable install must not shadow it.

    In the repository's root itself Python finds the folder, as it finds any folder there.
    """
    script = (
        "from importlib.util import find_spec\n"
        "print([name for name in ('sqb_tf', 'sqb_tflite', 'sqb_tools', 'tflite') if find_spec(name)])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "['sqb_tf', 'sqb_tflite', 'sqb_tools']"
