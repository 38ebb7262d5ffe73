"""The standard streams: what people read has escapes for control characters and for what an encoding cannot
hold; streams that are closed or full."""

import ast
import io
import sys

import pytest
from fixtures import commands
from fixtures.imports import sources
from fixtures.paths import REPOSITORY
from rich.console import Console

from sqb_tf.terminal import data_output, printable, show
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


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("cp1252", b"\xe9 \\u65e5\\x1b"),
        ("ascii", b"\\xe9 \\u65e5\\x1b"),
        ("utf-8", "é 日\\x1b".encode()),
    ],
)
def test_what_an_encoding_cannot_hold_is_an_escape(encoding, shown):
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding, write_through=True)
    show("é 日\x1b", stream, end="")
    assert content.getvalue() == shown


def test_data_is_utf_8(monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, "latin-1", write_through=True))
    show("é", end="")
    data_output().write("é 日")
    assert content.getvalue() == b"\xe9" + "é 日".encode()
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # a stream of somebody else's
    assert data_output() is sys.stdout


# Redirections of a shell, a command, and what it ends with: code, standard output and error.
STREAMS = {
    "no input": (
        "<&-",
        "predict --package gone.tflite",
        2,
        "",
        "standard input is closed: give te",
    ),
    "no query": (
        "<&-",
        "search --package x --corpus y",
        2,
        "",
        "standard input is closed: give te",
    ),
    "no output": (">&-", "describe --package gone.tflite", 2, "", "gone.tflite: No such file"),
    "no error": ("2>&-", "describe --package gone.tflite", 2, "", ""),
    "no error for a flag": ("2>&-", "describe --packag gone.tflite --x", 2, "", ""),
    "nothing": ("<&- >&- 2>&-", "predict --package gone.tflite x", 2, "", ""),
    "full output": (">/dev/full", "describe --help", 2, "", "standard output or error: No space"),
    "full error": ("2>/dev/full", "describe --package gone.tflite", 2, "", ""),
    "full error for a flag": ("2>/dev/full", "convrt", 2, "", ""),
}


@pytest.mark.parametrize("case", STREAMS)
def test_streams_that_are_closed_or_full(case, tmp_path):
    redirection, command, code, out, error = STREAMS[case]
    process = commands.start_shell(f"-m sqb_tools {command} {redirection}", cwd=tmp_path)
    shown = process.communicate()
    assert (process.returncode, shown[0]) == (code, out)
    assert shown[1].startswith(f"error: {error}") if error else not shown[1]
    assert shown[1].count("\n") == bool(error)
