"""What tests of the harness share: a mirror of the tool, a small plan, measuring one phone."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

from simulators.phone import Phone, tool

from sqb_tflite.bench.devices import fleet
from sqb_tflite.bench.devices.binaries import PUBLISHED
from sqb_tflite.bench.devices.journal import Journal
from sqb_tflite.bench.devices.targets import Target
from sqb_tflite.bench.inputs import Text
from sqb_tflite.bench.plan import Plan

TEXT = Text([("a b c", None), ("a b c d e f", None)], "two texts")


@contextlib.contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """The address of a server on loopback that offers the stand-in under every published name."""
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


def quick(packages: list[str], **settings) -> Plan:
    """A plan whose runs take little longer than the tool's start."""
    defaults = dict(threads=[1], lengths=[8], runs=2, text=TEXT, repeats=1, min_seconds=0.01)
    defaults |= dict(timeout_s=6.0, cool_down_s=1.0, reconnect_s=20.0)
    return Plan(packages, **(defaults | settings))


def measure(phone: Phone, plan: Plan, journal: Journal | None = None, **options) -> dict:
    """The result on one phone, as JSON."""
    connection = fleet.ConnectionOptions(**options)
    return fleet.measure([Target("adb", phone.address)], plan, connection, journal).to_json()
