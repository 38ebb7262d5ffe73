"""The `sqb` command: `sqb NAME ...` runs the tool of that name, as `python tools/NAME.py ...` does."""

import ast
import importlib
import sys
from importlib import metadata
from pathlib import Path

from sqb_tf.errors import suggest
from sqb_tf.terminal import open_closed_streams, show
from sqb_tools import entry
from sqb_tools.arguments import BAD_INPUT

# In the order of use.
NAMES = (
    *("survey", "pretrain", "squeeze", "finetune", "distill", "evaluate"),
    *("convert", "compile", "verify", "describe", "predict", "search", "benchmark"),
    *("import_hf", "export_hf", "share"),
)


def main() -> None:
    """Runs the tool that the first argument names, with the others."""
    open_closed_streams()
    name, *arguments = sys.argv[1:] or ["--help"]
    tool = name.replace("-", "_")
    with entry.written_output():
        if name in ("-h", "--help"):
            show(usage())
            return
        if name == "--version":
            show(f"squeezebert-mobile {version()}")
            return
        if tool not in NAMES:
            hint = suggest(name, NAMES) or "; see sqb --help"
            show(f"error: unknown command {name!r}{hint}", sys.stderr)
            sys.exit(BAD_INPUT)
    module = importlib.import_module(f"sqb_tools.{tool}")
    entry.run(module.main, module.flags(), arguments)


def usage() -> str:
    """The commands, with one line each."""
    lines = [f"  {name:<10} {summary(name)}" for name in NAMES]
    return "\n".join(
        [
            "usage: sqb NAME [option ...]",
            "",
            "SqueezeBERT from text to a measured .tflite. In a checkout: `python tools/NAME.py`.",
            "",
            *lines,
            "",
            "sqb NAME --help shows the options of a command, sqb --version the version.",
        ]
    )


def version() -> str:
    """That of the installed package; a checkout that is not installed has none."""
    try:
        return metadata.version("squeezebert-mobile")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def summary(name: str) -> str:
    """The first line of a tool's docstring, read without importing it."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
