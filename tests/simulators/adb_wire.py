"""Messages of adb's wire protocol: a client's connection and the byte streams that it carries."""

import contextlib
import itertools
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

# The header of a message: six little-endian words.
HEADER = struct.Struct("<4s5I")
VERSION_CHECKED = 0x01000000  # every payload has a checksum
VERSION = 0x01000001  # no checksums
MAX_PAYLOAD_CHECKED = 4096  # of Android 6 and earlier
MAX_PAYLOAD = 1 << 20
AUTH_TOKEN = 1
# Up to this many unread bytes each message is acknowledged at once: a fast sender need not wait.
WINDOW = 8 << 20


class Endpoint(Protocol):
    """What a connection asks of the daemon that accepted it."""

    version: int
    max_payload: int
    banner: bytes
    authorized: bool
    mute: bool

    def service(self, name: str) -> Callable[["Stream"], None] | None:
        """The function that serves a stream opened under `name`; None: there is no such service."""

    def forget(self, connection: "Connection") -> None:
        """Called when a connection has ended."""


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

    def __init__(self, daemon: Endpoint, peer: socket.socket) -> None:
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
