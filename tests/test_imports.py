"""Imports run one way: tools -> tflite -> sqb_tf; the model knows Keras only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def sources(folder: str) -> list[Path]:
    found = sorted((REPOSITORY / folder).rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(folder: str, *modules: str) -> set[str]:
    """The files under a folder that import one of the modules or something in it."""
    return {
        str(path.relative_to(REPOSITORY))
        for path in sources(folder)
        for name in imports(path)
        if any(f"{name}.".startswith(f"{module}.") for module in modules)
    }


def tools() -> list[str]:
    return ["tools", *(path.stem for path in sources("tools"))]


def test_model_and_training_import_neither_tflite_nor_tools():
    assert not importers("sqb_tf", "tflite", *tools())


def test_mobile_side_imports_no_tool():
    assert not importers("tflite", *tools())
    assert importers("tflite", "sqb_tf")  # that the search finds imports at all


def test_only_the_runner_imports_an_interpreter():
    found = {
        file
        for folder in ("sqb_tf", "tflite", "tools")
        for file in importers(folder, "ai_edge_litert.interpreter", "tensorflow.lite")
    }
    assert found == {"tflite/runner.py"}


@pytest.mark.parametrize("module", ["layers", "backbone", "heads"])
def test_model_imports_no_tensorflow(module):
    names = list(imports(REPOSITORY / "sqb_tf" / f"{module}.py"))
    assert any(name.split(".")[0] == "keras" for name in names)
    assert not [name for name in names if name.startswith("tensorflow")]


def test_packages_import_without_tensorflow():
    """Every `--help` imports these: it must not take the seconds that TensorFlow does."""
    script = (
        "import sys, sqb_tf, sqb_tf.config, sqb_tf.tasks.task, sqb_tf.checkpoint.bundle\n"
        "import tflite, tflite.recipes\n"
        "print(*sorted({'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []
