"""A device daemon that speaks adb's wire protocol on loopback, for the real `adb` client to connect to.

It implements the services that the tests need: shells, `exec:`, `sync:` (adb_sync.py) and `reboot:`.
A `Device` runs the commands and maps the paths (phone.py). Messages and streams are in adb_wire.py.
"""

import contextlib
import itertools
import os
import selectors
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Protocol

from simulators import adb_sync
from simulators.adb_wire import (
    MAX_PAYLOAD,
    MAX_PAYLOAD_CHECKED,
    VERSION,
    VERSION_CHECKED,
    Closed,
    Connection,
    Stream,
)

# The packets of shell_v2: one of these bytes, a length, the data.
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
PACKET = struct.Struct("<BI")
# Below the kernel's range for clients, and above the emulators' ports, which begin at 5554.
PORTS = range(20000, 32000)


class Device(adb_sync.Files, Protocol):
    """The device that a daemon serves."""

    def start(self, command: str, apart: bool) -> subprocess.Popen:
        """Starts a shell command with its input and outputs in pipes; `apart`: standard error in its own."""

    def shown(self, output: bytes) -> bytes:
        """A command's output with the device's own paths."""

    def reboot(self) -> None:
        """Reboots the device, which drops this connection."""


class Daemon:
    """Listens on loopback, from construction until `stop`.

    `shell_v2` says whether the device has the features of Android 7 and later; without, it is as Android 6:
    no features, sums over payloads, no exit codes, and lines that end in CR LF. `identity` is the middle of
    the banner, `ro.product.name=...;ro.product.model=...;ro.product.device=...;`.
    """

    def __init__(self, device: Device, identity: str, shell_v2: bool = True) -> None:
        self.device, self.shell_v2 = device, shell_v2
        self.version = VERSION if shell_v2 else VERSION_CHECKED
        self.max_payload = MAX_PAYLOAD if shell_v2 else MAX_PAYLOAD_CHECKED
        features = "features=shell_v2,cmd,stat_v2" if shell_v2 else ""
        self.banner = f"device::{identity}{features}".encode()
        self.authorized = (
            True  # False: new connections must authorize themselves, and never succeed
        )
        self.mute = False  # True: connections stay open without any answer
        self._connections: set[Connection] = set()
        self._listener, self.port = bound(PORTS)
        self.listen()

    def listen(self) -> None:
        """Accepts connections, at first or after `refuse`."""
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Drops every connection and refuses new ones; the port stays ours."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener, _ = bound([self.port])
        self.drop()

    def drop(self) -> None:
        """Drops every connection."""
        for connection in list(self._connections):
            connection.drop()

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # it may not be listening
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = Connection(self, listener.accept()[0])
                self._connections.add(connection)
                threading.Thread(target=connection.serve, daemon=True).start()

    def service(self, name: str) -> Callable[[Stream], None] | None:
        """The function that serves a stream opened under `name`; None: there is no such service."""
        kind, _, argument = name.partition(":")
        kind, *options = kind.split(",")
        if kind == "sync":
            return lambda stream: adb_sync.serve(stream, self.device)
        if kind == "reboot":
            return lambda stream: self.device.reboot()
        if kind == "exec" or (kind == "shell" and "v2" not in options):
            line_end = b"\n" if self.shell_v2 or kind == "exec" else b"\r\n"
            return lambda stream: self._plain_shell(stream, argument, line_end)
        if kind == "shell" and self.shell_v2:
            return lambda stream: self._shell_v2(stream, argument)
        return None

    def _plain_shell(self, stream: Stream, command: str, line_end: bytes) -> None:
        """Both outputs merged, no exit code."""
        process = self.device.start(command, apart=False)

        def feed() -> None:
            while True:
                process.stdin.write(stream.read())

        _feed(process, feed)

        def put(output: int, data: bytes) -> None:
            data = self.device.shown(data)
            stream.write(data if line_end == b"\n" else data.replace(b"\n", line_end))

        _pump(process, put)

    def _shell_v2(self, stream: Stream, command: str) -> None:
        """Packets that separate the outputs, with the exit code last."""
        process = self.device.start(command, apart=True)

        def feed() -> None:
            while True:
                kind, size = PACKET.unpack(stream.exactly(PACKET.size))
                data = stream.exactly(size)
                if kind == STDIN:
                    process.stdin.write(data)
                elif kind == CLOSE_STDIN:
                    return

        _feed(process, feed)

        def put(output: int, data: bytes) -> None:
            data = self.device.shown(data)
            stream.write(PACKET.pack(output, len(data)) + data)

        code = _pump(process, put)
        put(EXIT, bytes([code if code >= 0 else 0x80 | -code]))


def bound(ports: range | list[int]) -> tuple[socket.socket, int]:
    """A socket bound to the first of `ports` that is free, and the port."""
    # Starting at a port that depends on the process, so that parallel tests rarely collide.
    start = os.getpid() * 7 % len(ports)
    for port in itertools.chain(ports[start:], ports[:start]):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            return listener, port
        except OSError:
            listener.close()
    raise OSError("no free port")


def _feed(process: subprocess.Popen, feed: Callable[[], None]) -> None:
    """Runs `feed` in a thread of its own; closes the command's input at its end."""

    def run() -> None:
        with contextlib.suppress(Closed, OSError, ValueError):
            feed()
        with contextlib.suppress(OSError):
            process.stdin.close()

    threading.Thread(target=run, daemon=True).start()


def _pump(process: subprocess.Popen, put: Callable[[int, bytes], None]) -> int:
    """Passes a command's outputs to `put` until both are closed; returns its exit code.

    When nobody listens any more the pipes are closed, and the command learns of it as it next writes:
    Android ends no command because its client left.
    """
    with selectors.DefaultSelector() as selector:
        for output, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr)):
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, output)
        try:
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 1 << 18)
                    if data:
                        put(key.data, data)
                    else:
                        selector.unregister(key.fileobj)
        finally:
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
    return process.wait()
