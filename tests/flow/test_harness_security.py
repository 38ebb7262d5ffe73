"""The harness against hostile files, folders and answers, and against being killed."""

import ast
import functools
import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures import commands, hostile
from fixtures.devices import wait
from fixtures.imports import sources
from simulators import ssh
from simulators.harness import quick
from simulators.phone import tool

from sqb_tf.errors import InputError
from sqb_tf.terminal import printable
from sqb_tflite.bench.devices import binaries, fleet, targets
from sqb_tflite.bench.devices.adb import AdbShell
from sqb_tflite.bench.devices.device_files import DeviceFiles
from sqb_tflite.bench.devices.scratch_folder import scratch_folder
from sqb_tflite.bench.devices.shells import DeviceError, LocalShell, Shell, SshShell
from sqb_tflite.bench.devices.targets import Target

pytestmark = [pytest.mark.device]

# What a shell would run, split, expand or take for a flag, and all that it must not touch.
WORDS = (
    *(
        "$(touch PWNED)",
        "`touch PWNED`",
        "a;touch PWNED;echo",
        "a'; touch PWNED; '",
        '"; touch PWNED; "',
    ),
    *(
        "a && touch PWNED",
        "a | touch PWNED",
        "a\ntouch PWNED\n",
        "> PWNED",
        "$HOME",
        "~",
        "*",
        "#",
        "\\",
    ),
    *("-n", "--", "", " ", "two  words", "é"),
)
ODD_FOLDER = "q $(touch PWNED); touch PWNED 'x' \"y\",a:b"
BRIEF = ["--lengths", 8, "--runs", 2, "--repeats", 1, "--min-seconds", 0.01]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Callable[[], bool]:
    """Works in a folder of its own; `here()`: whether a command of a hostile name ran anywhere below."""
    monkeypatch.chdir(tmp_path)
    return lambda: bool(list(tmp_path.rglob("*PWNED"))) or Path("PWNED").exists()


@pytest.fixture(params=["local", "adb", "ssh"])
def shell(request, tmp_path, here) -> Iterator[Shell]:
    """A shell of each kind, in a folder with a hostile name."""
    stop = threading.Event()
    if request.param == "local":
        yield LocalShell(stop, tmp_path / ODD_FOLDER)
    elif request.param == "adb":
        request.getfixturevalue("surroundings")
        shell = AdbShell(stop, request.getfixturevalue("connected")().address)
        shell.folder = f"{AdbShell.folder}/{ODD_FOLDER}"
        yield shell
    else:
        with ssh.server(tmp_path / "ssh") as (name, config), scratch_folder() as sockets:
            shell = SshShell(stop, *targets.ssh_address(name), config, sockets)
            shell.folder = str(tmp_path / ODD_FOLDER)
            yield shell


def test_every_argument_is_one_word_on_every_device(shell, here):
    answer = shell.run('for word in "$@"; do printf "%s|" "$word"; done', *WORDS)
    assert answer.text == "|".join([*WORDS, ""])
    assert not here()


def test_scripts_are_constants():
    """A value in a script would be read by a shell: values are arguments."""
    calls = [
        node
        for path in sources("tflite/bench")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and re.fullmatch(r"(.*shell|self)\.run", ast.unparse(node.func))
    ]
    scripts = {ast.unparse(call.args[0]) for call in calls}
    assert len(scripts) >= 15
    constant = r"'[^{}]*'|_[A-Z_]+|self\._shell\.make_folder"
    assert not [script for script in scripts if not re.fullmatch(constant, script)]


def test_copies_are_whole_whatever_names_are(shell, here):
    """The folder's name, and names that cp, adb and scp would take for a flag or a host."""
    reports: list[str] = []
    files = DeviceFiles(shell, lambda event, path: reports.append(path.name))
    files.refresh()
    names = ("-r", "host:x.tflite", "$(touch PWNED).tflite", "a b.tflite")
    for index, name in enumerate(names):
        Path(name).write_bytes(content := name.encode() * 1000)
        files.copy(Path(name), f"{index}.tflite")
        where = shell.run('cat "$1/$2"', shell.folder, f"{index}.tflite")
        assert where.text.encode() == content
    assert reports == list(names) and not here()
    # Of the right size and name, and other content: as after a power loss.
    shell.run('cd "$1" && tr a b <3.tflite >x && mv x 3.tflite', shell.folder)
    files.copy(Path("a b.tflite"), "3.tflite")  # looked at once in a connection
    assert reports == list(names)
    files.refresh()
    files.copy(Path("-r"), "0.tflite")
    files.copy(Path("a b.tflite"), "3.tflite")
    assert reports == [*names, "a b.tflite"]
    mode = shell.run('ls -ld "$1"', shell.folder).text[:10]
    assert mode == ("drwxr-xr-x" if isinstance(shell, AdbShell) else "drwx------")


def test_a_folder_of_somebody_else_is_not_used(tmp_path):
    shell = LocalShell(threading.Event(), tmp_path / "ours")
    files = DeviceFiles(shell, lambda *_, **__: None)
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    shell.folder = str(tmp_path / "link")
    with pytest.raises(
        DeviceError, match="link: it belongs to another user, or is a link"
    ) as caught:
        files.refresh()
    assert caught.value.cause == "no folder"
    if os.getuid() == 0:
        os.chown(tmp_path / "ours", 12345, 12345)
        shell.folder = str(tmp_path / "ours")
        with pytest.raises(DeviceError, match="ours: it belongs to another user"):
            files.refresh()
    (tmp_path / "file").touch()
    shell.folder = str(tmp_path / "file" / "folder")
    with pytest.raises(DeviceError, match=r"folder: .*Not a directory"):
        files.refresh()


@pytest.mark.parametrize("change", [hostile.with_signature, hostile.with_input])
@pytest.mark.parametrize("name", ["a;touch PWNED;echo", "$(touch PWNED)", "two words", ""])
def test_names_that_are_no_flags_value_are_refused(converted, here, tmp_path, change, name):
    path = hostile.write(tmp_path, change(converted("int8"), name))
    plan = quick([str(path)])
    options = fleet.ConnectionOptions([str(tool(tmp_path))])
    with pytest.raises(InputError, match=re.escape(f"evil.tflite: the name {name!r}")) as caught:
        fleet.measure([Target("local", "local")], plan, options)
    assert "\n" not in str(caught.value) and not here()


def test_the_commands_error_is_one_line(converted, here, tmp_path):
    path = hostile.write(
        tmp_path, hostile.with_signature(converted("int8"), "a;touch PWNED;echo\x1b[2J")
    )
    flags = ["--package", path, "--device", "local", "--tool", tool(tmp_path), *BRIEF]
    line = commands.error_line(commands.run("benchmark", *flags))
    assert "evil.tflite" in line and "a;touch PWNED" in line and not here()


def test_a_cache_of_any_name_works(packages, here, tmp_path, monkeypatch):
    """`/Users/Ann Lee` has a space, and a folder's name may hold a command."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ODD_FOLDER))
    options = fleet.ConnectionOptions([str(tool(tmp_path))])
    result = fleet.measure([Target("local", "local")], quick(packages[:1]), options)
    assert len(result.records) == 1 and not result.failures
    assert not here()


@pytest.mark.parametrize(
    "name", ["ssh:-oProxyCommand", "ssh:-F@board", "ssh:a@-F", "ssh:a b", "ssh:$(x)"]
)
def test_addresses_are_no_flags_of_ssh(name):
    with pytest.raises(InputError, match="expected ssh:user@host"):
        targets.find_targets([name])


@pytest.fixture
def nightly(surroundings, tmp_path) -> tuple[Path, Path]:
    """A download in the cache, and its record."""
    path = binaries.find_binary([], "linux", ["x86_64"]).path
    return path, path.with_name(f"{path.name}.json")


@pytest.mark.parametrize("record", [None, "[]", '{"sha256": "0"}', "[" * 100_000])
def test_a_download_that_changed_does_not_run(nightly, record):
    """Another file in the cache, or another record than that of the download."""
    path, sums = nightly
    if record is None:
        path.write_text("#!/bin/sh\ntouch PWNED\n")
    else:
        sums.write_text(record)
    with pytest.raises(InputError, match="its sha256 is not that of the download") as caught:
        binaries.find_binary([], "linux", ["x86_64"])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_changed_nightly_is_said(nightly, caplog):
    path, sums = nightly
    before = json.loads(sums.read_text())["sha256"]
    path.unlink()
    assert binaries.find_binary([], "linux", ["x86_64"]).sha256 == before
    assert "another build" not in caplog.text
    sums.write_text(json.dumps({"sha256": "0" * 64}))
    path.unlink()
    assert binaries.find_binary([], "linux", ["x86_64"]).sha256 == before
    assert "is another build than the one of" in caplog.text and "0" * 64 in caplog.text


@pytest.mark.parametrize(
    "url", ["file:///bin", "http://example.org", "http://127.0.0.1.example.org", "/bin", "x"]
)
def test_only_addresses_that_nobody_else_answers_for(url, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SQB_TOOL_URL", url)
    with pytest.raises(InputError, match="expected an address of https"):
        binaries.find_binary([], "linux", ["x86_64"])
    assert not list(tmp_path.rglob("linux*"))


def test_nor_are_redirections_followed_to_others(monkeypatch, tmp_path):
    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://example.org/benchmark_model")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SQB_TOOL_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(InputError, match=r"http://example.org.*: expected an address of https"):
            binaries.find_binary([], "linux", ["x86_64"])
        server.shutdown()


def test_an_odd_device_stops_no_other(surroundings, connected, packages):
    """One whose answers are of another form, beside one that works."""
    odd, good = connected(), connected()
    (odd.folder / "bin" / "getprop").write_text(
        "#!/bin/sh\nprintf 'a\\n@@\\n[/x]\\n@@\\n\\033[2J\\n'\n"
    )
    (odd.folder / "bin" / "getprop").chmod(0o755)
    devices = [Target("adb", odd.address), Target("adb", good.address)]
    result = fleet.measure(devices, quick(packages[:1]), fleet.ConnectionOptions())
    assert [record.device for record in result.records] == [good.address]
    (failure,) = result.failures
    assert (failure.device, failure.cause) == (odd.address, "unreadable")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_tool_ends_with_the_harness(packages, tmp_path, monkeypatch, sent):
    """And what it leaves in the temporary folder is gone after the next start."""
    binary = tmp_path / "benchmark_model"
    head, rest = tool(tmp_path).read_text().split("\n", 1)
    slow = "import sys, time\nif '--help' not in sys.argv: time.sleep(120)\n"
    binary.write_text(f"{head}\n{slow}{rest}")
    name = f"benchmark_model-{hashlib.sha256(binary.read_bytes()).hexdigest()[:16]}"
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = ["--package", packages[0], "--device", "local", "--tool", binary, *BRIEF]
    # As from a shell: whoever runs the tests may ignore the signal (nohup does), and children inherit that.
    default = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    harness = commands.start("benchmark", *flags, preexec_fn=default)
    wait(lambda: harness.poll() is not None or running(name), 60)
    assert harness.poll() is None, harness.communicate()
    harness.send_signal(sent)
    harness.communicate()
    wait(lambda: not running(name), 5)
    folders = list((tmp_path / "tmp").glob("*sqb-inputs-*"))
    assert len(folders) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with scratch_folder() as ours:
        assert not folders[0].exists()
        with scratch_folder() as theirs:  # as of another process
            assert ours.is_dir() and theirs.is_dir() and ours != theirs
    assert not list((tmp_path / "tmp").glob("*sqb-inputs-*"))


def running(name: str) -> bool:
    """Whether a tool of this name measures; by its interpreter, as its shells have the name too."""
    pattern = f"[{name[0]}]{name[1:]}.*--graph"
    listed = subprocess.run(["pgrep", "-af", pattern], capture_output=True, text=True)
    return any("python" in line.split()[1] for line in listed.stdout.splitlines() if " " in line)


# Sets the title, clears the screen, and an 8-bit CSI.
ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b2J"


def test_labels_and_recipes_are_shown_without_their_escapes(converted, tmp_path):
    content = hostile.with_parts(converted("int8"), {"labels.txt": f"bad\nfair\n{ESCAPES}\n"})
    properties = json.loads(hostile.parts(content)["sqb.json"]) | {"recipe": ESCAPES}
    content = hostile.with_parts(content, {"sqb.json": json.dumps(properties)})
    path = hostile.write(tmp_path, content)
    described = commands.run("describe", "--package", path)
    texts = ("the film was good", "not a bad end", "a plot", "the very good story", "b", "was")
    predicted = commands.run("predict", "--package", path, *texts)
    for finished in (described, predicted):
        assert finished.returncode == 0, finished.stderr
        for text in (finished.stdout, finished.stderr):
            assert printable(text) == text
    assert printable(ESCAPES) in described.stdout and predicted.stdout.count("\t") >= len(texts)
    # JSON has every character, by its own escapes.
    as_json = commands.run("describe", "--package", path, "--json", "-")
    assert json.dumps(ESCAPES, ensure_ascii=False) in as_json.stdout and json.loads(as_json.stdout)
