"""Fixtures of tests that need a device: an adb server of their own, the stand-in tool."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device import adbd
from device.harness import mirror
from device.phone import Phone, tool


@dataclasses.dataclass(frozen=True)
class AdbServer:
    """A private adb server; `environment` makes the `adb` client use it."""

    port: int
    environment: dict[str, str]

    def __call__(self, *arguments: object, timeout: float = 30) -> subprocess.CompletedProcess:
        """Runs the adb client to its end, its outputs as text."""
        return subprocess.run(
            ["adb", *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )

    def state(self, address: str) -> str:
        """What `adb devices` says of a device; "" where it does not list it."""
        lines = self("devices").stdout.splitlines()[1:]
        found = dict(line.split("\t") for line in lines if line)
        return found.get(address, "")


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory) -> Iterator[AdbServer]:
    """An adb server on a port of its own, with keys of its own; ended after the tests."""
    if shutil.which("adb") is None:
        pytest.skip("needs adb: see tests/device/setup.sh")
    held, port = adbd.bound(adbd.PORTS)
    held.close()
    environment = {
        **os.environ,
        "HOME": str(tmp_path_factory.mktemp("adb")),  # which gets the keys
        "ANDROID_ADB_SERVER_PORT": str(port),
    }
    environment.pop("ANDROID_SERIAL", None)
    server = AdbServer(port, environment)
    started = server("start-server")
    if started.returncode:
        pytest.skip(f"adb does not start: {started.stderr.strip()}")
    yield server
    server("kill-server")


@pytest.fixture
def connected(adb_server, tmp_path) -> Iterator[Callable[..., Phone]]:
    """`connected(**options)`: a `Phone` that the adb server knows; options are `Phone`'s."""
    phones: list[Phone] = []

    def connect(**options) -> Phone:
        phone = Phone(tmp_path / f"phone{len(phones)}", **options).__enter__()
        phones.append(phone)
        assert adb_server("connect", phone.address).stdout.startswith("connected to")
        return phone

    yield connect
    for phone in phones:
        adb_server("disconnect", phone.address)
        phone.__exit__()


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """The stand-in for the benchmark tool, to be pushed."""
    return tool(tmp_path_factory.mktemp("tool"))


@pytest.fixture(scope="module")
def packages(converted, tmp_path_factory) -> list[str]:
    """A float32 and an int8 package of any length, and one of 16 tokens."""
    folder = tmp_path_factory.mktemp("packages")
    made = {"float32": ("float32",), "int8": ("int8",), "fixed": ("int8", 16)}
    for name, arguments in made.items():
        (folder / f"{name}.tflite").write_bytes(converted(*arguments))
    return [str(folder / f"{name}.tflite") for name in made]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Iterator[str]:
    """A mirror of the published tools, on loopback."""
    with mirror(tmp_path_factory.mktemp("mirror")) as url:
        yield url


@pytest.fixture
def surroundings(adb_server, published, monkeypatch, tmp_path) -> None:
    """The tests' own adb server, cache and mirror."""
    for name, value in adb_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SQB_TOOL_URL", published)
