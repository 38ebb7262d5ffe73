"""Files to and from a simulated device: the `sync:` service of adb."""

import contextlib
import itertools
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from simulators.adb_wire import Closed, Stream

SYNC = struct.Struct("<4sI")
SYNC_DATA = 64 << 10  # bytes in a DATA message at most
SLOW = 20_000  # bytes per second of a throttled push


class Files(Protocol):
    """The files of a device, and the faults of a push."""

    def path(self, remote: str) -> Path:
        """The path on this machine for a path of the device."""

    def pushing(self, remote: str) -> Mapping[str, float]:
        """Called when a push begins; returns its faults ("full", "slow", "unplug_push") with seconds."""

    def pushed(self, remote: str, size: int) -> None:
        """Called when a push is complete."""

    def unplug(self, seconds: float) -> None:
        """Disconnects the device for `seconds`."""


def serve(stream: Stream, device: Files) -> None:
    """Transfers files to and from the device, one request after the other."""
    while True:
        request, size = SYNC.unpack(stream.exactly(SYNC.size))
        name = stream.exactly(size).decode(errors="surrogateescape")
        if request == b"SEND":
            _receive_file(stream, device, *name.rpartition(",")[::2])
        elif request == b"RECV":
            _send_file(stream, device.path(name))
        elif request == b"STAT":
            stream.write(b"STAT" + _old_status(device.path(name)))
        elif request in (b"STA2", b"LST2"):
            status = _status(device.path(name), follow=request == b"STA2")
            stream.write(request + status)
        elif request == b"LIST":
            _list(stream, device.path(name))
        else:  # QUIT
            return


def _receive_file(stream: Stream, device: Files, remote: str, mode: str) -> None:
    faults = device.pushing(remote)
    path, size, length, reason = device.path(remote), 0, 0, ""

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
            device.unplug(faults["unplug_push"])
        raise Closed
    device.pushed(remote, size)
    stream.write(SYNC.pack(b"OKAY", 0))


def _send_file(stream: Stream, path: Path) -> None:
    try:
        file = path.open("rb")
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


def _list(stream: Stream, folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            name = os.fsencode(path.name)
            stream.write(b"DENT" + _old_status(path) + len(name).to_bytes(4, "little") + name)
    stream.write(b"DONE" + bytes(16))


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
