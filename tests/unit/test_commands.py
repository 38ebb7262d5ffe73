"""`sqb` and the page of commands: every tool is listed, found by name, and documented as it is."""

import re
import subprocess
import sys

import pytest
from fixtures.paths import REPOSITORY

from sqb_tools import __main__ as sqb
from sqb_tools import arguments, benchmark, commands_page, entry
from sqb_tools.shared_options import SavingOptions


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sqb_tools", *arguments], capture_output=True, text=True
    )


def test_every_tool_is_a_command():
    with_flags = {
        path.stem
        for path in (REPOSITORY / "tools").glob("*.py")
        if "\ndef flags(" in path.read_text()
    }
    assert set(sqb.NAMES) == with_flags


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_with_one_line(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sqb", *arguments])
    sqb.main()
    shown = capsys.readouterr().out
    for name in sqb.NAMES:
        assert f"\n  {name:<10} {sqb.summary(name)}\n" in shown
        assert sqb.summary(name).endswith(".")


def test_a_mistyped_command_is_code_2_and_one_line_with_the_nearest():
    done = run("convrt", "--model", "runs/demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown command 'convrt'; did you mean 'convert'?\n"


def test_version_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sqb", "--version"])
    sqb.main()
    assert re.fullmatch(r"squeezebert-mobile (\d\S+|\(not installed\))\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("convert", "tensorflow", "convert"),
        ("export_hf", "sentencepiece", "hf"),
        ("finetune", "keras", "train"),
        ("benchmark", "scipy", "bench"),
        ("predict", "tensorflow_text.core", "train"),
    ],
)
def test_a_missing_module_names_the_extra_that_the_command_needs(command, module, extra, capfd):
    def tool(args):
        raise ModuleNotFoundError(name=module)

    with pytest.raises(SystemExit) as exit:
        entry.run(
            tool,
            arguments.Parser(prog=f"sqb {command}").add_options(arguments.OutputOptions),
            ["--verbose"],
        )
    assert exit.value.code == 2
    assert f"pip install 'squeezebert-mobile[{extra}]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([SavingOptions], "interrupted: the same command with --resume continues"),
        ([], "interrupted"),
    ],
)
def test_an_interrupted_run_says_how_to_continue(options, line, capfd):
    def tool(args):
        raise KeyboardInterrupt

    parser = arguments.Parser(prog="sqb x").add_options(*options, arguments.OutputOptions)
    with pytest.raises(SystemExit) as exit:
        entry.run(tool, parser, ["--verbose"])
    assert exit.value.code == 130
    assert capfd.readouterr().err.splitlines()[-1] == line


def test_a_command_is_the_tool_of_its_name():
    script = subprocess.run(
        [sys.executable, REPOSITORY / "tools" / "import_hf.py", "--help"],
        capture_output=True,
        text=True,
    )
    for name in ("import_hf", "import-hf"):
        done = run(name, "--help")
        assert (done.returncode, done.stdout, done.stderr) == (0, script.stdout, "")
    missing = run("export_hf", "--output", "out")
    assert missing.returncode == 2
    assert missing.stderr == "error: the following arguments are required: --model\n"


def test_options_of_every_tool_may_stand_before_benchmarks_command():
    parser = benchmark.flags()
    args = parser.parse_args(["--json", "x.json", "--quiet", "compare", "old", "new"])
    assert (args.command, args.json, args.quiet, args.verbose) == ("compare", "x.json", True, False)
    assert parser.parse_args(["compare", "old", "new", "--json", "x.json"]).json == "x.json"
    assert parser.parse_args(["--package", "a", "b"]).command is None


def test_precision_is_the_older_name_of_confidence_width():
    parser = benchmark.flags()
    for flag in ("--precision", "--confidence-width"):
        assert parser.parse_args(["--package", "a", flag, "5%"]).confidence_width == "5%"


def test_page_of_commands_is_up_to_date():
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == commands_page.page(), "make docs writes it anew"
