"""Imports run one way: tools -> tflite -> sqb_tf; the model knows Keras only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.paths import REPOSITORY


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
            module = absolute(path, node)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The module of a `from` import; relative ones are for `tflite/`, whose import name differs."""
    if node.level == 0:
        return node.module
    folder, *parts = path.relative_to(REPOSITORY).parent.parts
    assert folder == "tflite", f"{path}: a relative import"
    package = ["sqb_tflite", *parts][: len(parts) + 2 - node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def importers(folder: str, *modules: str) -> set[str]:
    """The files under a folder that import one of the modules or something in it."""
    return {
        str(path.relative_to(REPOSITORY))
        for path in sources(folder)
        for name in imports(path)
        if any(f"{name}.".startswith(f"{module}.") for module in modules)
    }


def tools() -> list[str]:
    return ["tools", "sqb_tools", *(path.stem for path in sources("tools"))]


def test_model_and_training_import_neither_tflite_nor_tools():
    assert not importers("sqb_tf", "sqb_tflite", "tflite", *tools())


def test_mobile_side_imports_no_tool():
    assert not importers("tflite", *tools())
    assert importers("tflite", "sqb_tf")  # that the search finds imports at all


def test_only_the_runner_imports_an_interpreter():
    found = {
        file
        for folder in ("sqb_tf", "tflite", "tools")
        for file in importers(folder, "ai_edge_litert.interpreter", "tensorflow.lite")
    }
    assert found == {"tflite/runtime/runner.py"}


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
