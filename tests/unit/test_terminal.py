"""What people read: control characters of labels, recipes, serials and devices' answers are escapes."""

import ast
import io

import pytest
from fixtures import commands
from fixtures.imports import sources
from fixtures.paths import REPOSITORY
from rich.console import Console

from sqb_tf.terminal import printable, show
from sqb_tflite.bench.devices.live import LiveStatusTable
from sqb_tflite.bench.plan import Measurement
from sqb_tflite.bench.record import Failure

# Sets the title, clears the screen, rings; then an 8-bit CSI and a carriage return over what is there.
ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b2J\rERROR"
CONTROL = {*map(chr, (*range(32), *range(127, 160)))} - {"\t", "\n"}


def test_only_tabs_and_line_feeds_pass():
    assert printable(f"é\tb\n[/x]{ESCAPES}") == (
        "é\tb\n[/x]\\x1b]0;title\\x07\\x1b[2J\\x9b2J\\rERROR"
    )
    assert printable("".join(CONTROL)).isprintable() and printable("\ud800") == "\\ud800"
    stream = io.StringIO()
    show("a\x1bb", stream, end="\r")
    assert stream.getvalue() == "a\\x1bb\r"  # what the caller ends a line with is its own


def test_one_place_prints():
    """Else a label of some file reaches a terminal raw: JSON alone is written by itself."""
    printing = {
        str(path.relative_to(REPOSITORY))
        for folder in ("sqb_tf", "tflite", "tools")
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    }
    assert printing == {"sqb_tf/terminal.py"}


def test_errors_of_tools_have_no_escapes(tmp_path):
    missing = tmp_path / "\x1b[2Jmissing.tflite"
    assert "\\x1b[2Jmissing" in commands.error_line(commands.run("describe", "--package", missing))
    unknown = commands.run("describe", "--package", "x", "--pack\x1b[2J")
    assert "\x1b" not in unknown.stderr and unknown.returncode == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_names_of_devices_are_no_markup(monkeypatch, terminal, capsys):
    name = "emu[/x]-5554[bold]:smile:" + ESCAPES
    measurement = Measurement("a[/x].tflite", 1, 8, "xnnpack", None)
    setting = measurement.to_dict()
    failure = Failure(
        device=name, hardware_name=None, **setting, cause="failed", message=name, at=""
    )
    output = io.StringIO()
    status = LiveStatusTable([name], 1, 1)
    if terminal:
        console = Console(file=output, force_terminal=True, color_system=None, width=200)
        status._console = status._live.console = console
    with status:
        status.report(name, "measurement", measurement=measurement)
        status.report(name, "gone", message=name)
        status.report(name, "failed", measurement=measurement, failure=failure)
    shown = output.getvalue() if terminal else capsys.readouterr().err
    assert "emu[/x]-5554[bold]:smile:\\x1b]0;title" in shown
    assert "\x1b]0" not in shown and "\x1b[2J\x9b" not in shown and "\x07" not in shown
