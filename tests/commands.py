"""Running the command-line tools from tests: in this process, or in one of their own."""

import contextlib
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqb_tf.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
NAMES = sorted(path.stem for path in TOOLS.glob("*.py") if path.stem != "cli")

if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))


def call(tool: str, *arguments: object) -> int:
    """The exit code of a tool's `main`, called in this process; errors are raised."""
    module = importlib.import_module(tool)
    return module.main(module.flags().parse_args([str(a) for a in arguments]))


def start(tool: str, *arguments: object, **options) -> subprocess.Popen:
    """A tool in a process of its own, its output in pipes."""
    command = [sys.executable, TOOLS / f"{tool}.py", *arguments]
    return start_python(*map(str, command[1:]), **options)


def start_python(*arguments: str, **options) -> subprocess.Popen:
    """Python in a process of its own, its output in pipes."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([sys.executable, *arguments], **options)


def run(tool: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """A tool in a process of its own, to its end."""
    given = options.pop("input", None)
    if given is not None:
        options["stdin"] = subprocess.PIPE
    process = start(tool, *arguments, **options)
    out, err = process.communicate(given)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def error_line(finished: subprocess.CompletedProcess) -> str:
    """The message of a tool that ended with bad input: the last line of standard error, alone."""
    assert finished.returncode == 2, finished.stderr
    lines = finished.stderr.splitlines()
    assert "Traceback" not in finished.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], finished.stderr
    return lines[-1].removeprefix("error: ")


def fingerprint(path: Path) -> dict[str, str]:
    """Every file of a folder (or the file itself) with a hash of its bytes."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def listing(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too: what a failure may have left behind."""
    return sorted(os.listdir(folder))


def rejects(match: str, tool: str, *arguments: object) -> None:
    """The tool's `main` raises an `InputError` of one line that matches."""
    with pytest.raises(InputError, match=match) as caught:
        call(tool, *arguments)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Nothing in `folder` is changed, added or removed, hidden files included."""
    before = fingerprint(folder), listing(folder)
    yield
    assert (fingerprint(folder), listing(folder)) == before


def fill(disk: Path, leave: int = 0) -> None:
    """Fills a small disk but for `leave` bytes."""
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(max(0, free - leave)))
