"""What tests of the harness share: phones that adb knows, a mirror of the tool, a small plan."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

from device.phone import tool

from tflite.bench.devices.binaries import PUBLISHED


@contextlib.contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """The address of a server on loopback that has the stand-in under every published name."""
    for name in PUBLISHED.values():
        tool(folder, name)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
