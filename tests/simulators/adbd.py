"""A device daemon that speaks adb's wire protocol on loopback, for the real `adb` client to connect to.

It implements the services that the tests need: shells, `exec:`, `sync:` and `reboot:`. A `Device` runs the
commands and maps the paths; see phone.py.
"""

import contextlib
import itertools
import os
import selectors
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

# The header of a message: six little-endian words.
HEADER = struct.Struct("<4s5I")
VERSION_CHECKED = 0x01000000  # every payload has a checksum
VERSION = 0x01000001  # no checksums
MAX_PAYLOAD_CHECKED = 4096  # of Android 6 and earlier
MAX_PAYLOAD = 1 << 20
AUTH_TOKEN = 1
# So many bytes that have arrived but are not yet read are acknowledged at once: a fast sender need not wait.
WINDOW = 8 << 20
# The packets of shell_v2: one of these bytes, a length, the data.
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
PACKET = struct.Struct("<BI")
SYNC = struct.Struct("<4sI")
SYNC_DATA = 64 << 10  # bytes in a DATA message at most
SLOW = 20_000  # bytes per second of a throttled push
# Below the kernel's range for clients, and above the emulators' ports, which begin at 5554.
PORTS = range(20000, 32000)


class Device(Protocol):
    """The device that a daemon serves."""

    def start(self, command: str, apart: bool) -> subprocess.Popen:
        """Starts a shell command with its input and outputs in pipes; `apart`: standard error in its own."""

    def shown(self, output: bytes) -> bytes:
        """A command's output with the device's own paths."""

    def path(self, remote: str) -> Path:
        """The path on this machine for a path of the device."""

    def pushing(self, remote: str) -> Mapping[str, float]:
        """Called when a push begins; returns its faults ("full", "slow", "unplug_push") with seconds."""

    def pushed(self, remote: str, size: int) -> None:
        """Called when a push is complete."""

    def unplug(self, seconds: float) -> None:
        """Disconnects the device for `seconds`."""

    def reboot(self) -> None:
        """Reboots the device, which drops this connection."""


class Closed(Exception):
    """The stream or its connection is closed."""


class Stream:
    """The byte stream of one service in both directions; a connection carries several."""

    def __init__(self, connection: "Connection", local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.window = WINDOW
        self._condition = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._waiting = 0  # bytes in the chunks
        self._owed = 0  # messages not yet acknowledged
        self._ready = True  # the peer has acknowledged our last message
        self._closed = False
        self._rest = memoryview(b"")

    def arrived(self, data: bytes) -> None:
        """Called by the connection's reader with a message."""
        with self._condition:
            self._chunks.append(data)
            self._waiting += len(data)
            self._owed += 1
            acknowledge = self._waiting <= self.window
            self._owed -= acknowledge
            self._condition.notify_all()
        if acknowledge:
            self.connection.send(b"OKAY", self.local, self.remote)

    def acknowledged(self) -> None:
        with self._condition:
            self._ready = True
            self._condition.notify_all()

    def hang_up(self) -> None:
        """Ends both directions: the peer closed, or the connection broke."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def read(self) -> memoryview:
        """The bytes that have arrived, at least one.

        Raises:
            Closed: nothing is left and no more will come.
        """
        if self._rest:
            rest, self._rest = self._rest, memoryview(b"")
            return rest
        with self._condition:
            while not self._chunks:
                if self._closed:
                    raise Closed
                self._condition.wait()
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk)
            acknowledge = self._owed and self._waiting <= self.window
            self._owed -= bool(acknowledge)
        if acknowledge:
            self.connection.send(b"OKAY", self.local, self.remote)
        return memoryview(chunk) if chunk else self.read()

    def take(self, size: int, into: Callable[[memoryview], object]) -> None:
        """Passes the next `size` bytes to `into`, in pieces as they arrived."""
        while size:
            piece = self.read()
            into(piece[:size])
            self._rest = piece[size:]
            size -= min(size, len(piece))

    def exactly(self, size: int) -> bytes:
        pieces: list[memoryview] = []
        self.take(size, pieces.append)
        return b"".join(pieces)

    def write(self, data: bytes | memoryview) -> None:
        """Sends all of `data`, one message at a time.

        Raises:
            Closed: it cannot arrive.
        """
        view = memoryview(data)
        largest = self.connection.max_payload
        for start in range(0, len(view), largest):
            with self._condition:
                while not self._ready and not self._closed:
                    self._condition.wait()
                if self._closed:
                    raise Closed
                self._ready = False
            self.connection.send(b"WRTE", self.local, self.remote, view[start : start + largest])

    def close(self) -> None:
        with self._condition:
            was_closed, self._closed = self._closed, True
            # The last message is lost if the stream is closed before the peer reads it.
            self._condition.wait_for(lambda: self._ready, timeout=0 if was_closed else 10)
        self.connection.forget(self)
        if not was_closed:
            self.connection.send(b"CLSE", self.local, self.remote)


class Connection:
    """The connection of one client, which is the adb server of a host."""

    def __init__(self, daemon: "Daemon", peer: socket.socket) -> None:
        self.daemon, self.peer = daemon, peer
        self.max_payload = MAX_PAYLOAD_CHECKED
        self._checked = True
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(
        self, command: bytes, first: int, second: int, payload: bytes | memoryview = b""
    ) -> None:
        """Sends a message; dropped if the connection is broken or the device hangs."""
        if self.daemon.mute:
            return
        word = int.from_bytes(command, "little")
        checksum = sum(payload) & 0xFFFFFFFF if self._checked else 0
        header = HEADER.pack(command, first, second, len(payload), checksum, word ^ 0xFFFFFFFF)
        with self._sending, contextlib.suppress(OSError):
            self.peer.sendall(header)
            if len(payload):
                self.peer.sendall(payload)

    def serve(self) -> None:
        """Reads messages until the connection ends."""
        try:
            while message := self._receive():
                if not self.daemon.mute:
                    self._handle(*message)
        except OSError:
            pass
        self.drop()

    def drop(self) -> None:
        """Closes the connection from this side, immediately."""
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)
        self.peer.close()
        for stream in list(self._streams.values()):
            stream.hang_up()
        self.daemon.forget(self)

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.local, None)

    def _receive(self) -> tuple[bytes, int, int, bytes] | None:
        header = self.peer.recv(HEADER.size, socket.MSG_WAITALL)
        if len(header) < HEADER.size:
            return None
        command, first, second, size, _, _ = HEADER.unpack(header)
        payload = self.peer.recv(size, socket.MSG_WAITALL) if size else b""
        return (command, first, second, payload) if len(payload) == size else None

    def _handle(self, command: bytes, first: int, second: int, payload: bytes) -> None:
        if command == b"CNXN":
            if not self.daemon.authorized:
                return self.send(b"AUTH", AUTH_TOKEN, 0, os.urandom(20))
            version = min(first, self.daemon.version)
            largest = self.daemon.max_payload
            self.send(b"CNXN", self.daemon.version, largest, self.daemon.banner)
            # Checksums may be omitted only from here on: the peer does not know our version yet.
            self._checked = version < VERSION
            self.max_payload = min(second, largest)
        elif (
            command == b"AUTH" and first != 3
        ):  # 3: a public key, which a person would have to accept
            self.send(b"AUTH", AUTH_TOKEN, 0, os.urandom(20))
        elif command == b"OPEN":
            self._open(first, payload.rstrip(b"\0").decode(errors="replace"))
        elif stream := self._streams.get(second):
            if command == b"WRTE":
                stream.arrived(payload)
            elif command == b"OKAY":
                stream.acknowledged()
            elif command == b"CLSE":
                stream.hang_up()
        elif command == b"WRTE":
            self.send(b"CLSE", 0, first)

    def _open(self, remote: int, name: str) -> None:
        service = self.daemon.service(name)
        if service is None:
            return self.send(b"CLSE", 0, remote)
        stream = Stream(self, next(self._numbers), remote)
        self._streams[stream.local] = stream
        self.send(b"OKAY", stream.local, remote)

        def run() -> None:
            with contextlib.suppress(Closed):
                service(stream)
            stream.close()

        threading.Thread(target=run, daemon=True).start()


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
            return self._sync
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

    def _sync(self, stream: Stream) -> None:
        """Transfers files to and from the device, one request after the other."""
        while True:
            request, size = SYNC.unpack(stream.exactly(SYNC.size))
            name = stream.exactly(size).decode(errors="surrogateescape")
            if request == b"SEND":
                self._receive_file(stream, *name.rpartition(",")[::2])
            elif request == b"RECV":
                self._send_file(stream, name)
            elif request == b"STAT":
                stream.write(b"STAT" + _old_status(self.device.path(name)))
            elif request in (b"STA2", b"LST2"):
                status = _status(self.device.path(name), follow=request == b"STA2")
                stream.write(request + status)
            elif request == b"LIST":
                self._list(stream, self.device.path(name))
            else:  # QUIT
                return

    def _receive_file(self, stream: Stream, remote: str, mode: str) -> None:
        faults = self.device.pushing(remote)
        path, size, length, reason = self.device.path(remote), 0, 0, ""

        def put(piece: memoryview) -> None:
            nonlocal reason
            try:
                if not reason:
                    file.write(piece)
            except OSError as error:
                reason = f"write failed: {error.strerror}"
                _fail(stream, reason)

        if "slow" in faults:
            stream.window = 0
        if "full" in faults:
            reason = "write failed: No space left on device"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            file = path.open("wb", buffering=0)
        except OSError as error:
            reason, file = f"couldn't create file: {error.strerror}", None
        try:
            if reason:
                _fail(stream, reason)
            while True:
                kind, length = SYNC.unpack(stream.exactly(SYNC.size))
                if kind != b"DATA":
                    break  # DONE, whose length field holds the time of modification
                # After a failure too: clients read an answer once they have sent everything.
                stream.take(length, put)
                size += length
                if "slow" in faults:
                    time.sleep(length / SLOW)
                if "unplug_push" in faults:
                    break
            if "unplug_push" in faults:
                reason = "unplugged"
        except Closed:
            reason = "closed"
        if file:
            # By descriptor, as adbd does: a client that reconnected may have removed the file by now.
            bits = int(mode or "0644") & 0o777
            os.fchmod(file.fileno(), bits | (bits >> 3 & 0o070) | (bits >> 3 & 0o007))
            os.utime(file.fileno(), (length, length))
            file.close()
        if reason:
            path.unlink(missing_ok=True)
            if "unplug_push" in faults:
                self.device.unplug(faults["unplug_push"])
            raise Closed
        self.device.pushed(remote, size)
        stream.write(SYNC.pack(b"OKAY", 0))

    def _send_file(self, stream: Stream, name: str) -> None:
        try:
            file = self.device.path(name).open("rb")
        except OSError as error:
            _fail(stream, f"open failed: {error.strerror}")
            return
        with file:
            while data := file.read(15 * SYNC_DATA):
                view = memoryview(data)
                pieces = [view[at : at + SYNC_DATA] for at in range(0, len(view), SYNC_DATA)]
                parts = ((SYNC.pack(b"DATA", len(piece)), piece) for piece in pieces)
                stream.write(b"".join(itertools.chain.from_iterable(parts)))
        stream.write(SYNC.pack(b"DONE", 0))

    def _list(self, stream: Stream, folder: Path) -> None:
        with contextlib.suppress(OSError):
            for path in sorted(folder.iterdir()):
                name = os.fsencode(path.name)
                stream.write(b"DENT" + _old_status(path) + len(name).to_bytes(4, "little") + name)
        stream.write(b"DONE" + bytes(16))


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


def _fail(stream: Stream, reason: str) -> None:
    stream.write(SYNC.pack(b"FAIL", len(reason)) + reason.encode())


def _old_status(path: Path) -> bytes:
    """Mode, size and time of modification in 32 bits each; zeros if there is no file."""
    try:
        status = path.lstat()
    except OSError:
        return bytes(12)
    return struct.pack("<3I", status.st_mode, status.st_size & 0xFFFFFFFF, int(status.st_mtime))


def _status(path: Path, follow: bool) -> bytes:
    try:
        s = path.stat() if follow else path.lstat()
    except OSError as error:
        return struct.pack("<I", error.errno) + bytes(64)
    return struct.pack(
        "<I2Q4IQ3q",
        *(0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size),
        *(int(s.st_atime), int(s.st_mtime), int(s.st_ctime)),
    )
