"""The file of an unfinished benchmark: what it keeps comes back, a cut line goes, damage is one line."""

import json
import re

import pytest
from fixtures import reports

from sqb_tf.errors import InputError
from sqb_tflite.bench.devices.journal import FILE, Journal

START = {
    **dict.fromkeys(("min", "mean", "median", "p5", "p95"), 1.5),
    **{"count": 3, "std": 0.1, "delegated": None, "profile": None, "profiled": False},
    "states": [{"at": "2026-11-30T12:00:00+00:00", "throttled": []}],
}
REPEAT = json.dumps({"key": "a", "repeat": START}).encode() + b"\n"


def test_repeats_and_failures_come_back_without_a_cut_line(tmp_path):
    path = tmp_path / FILE
    (failure,) = reports.result().failures
    Journal(path).add_failure(failure)
    Journal(path).add_repeat("a", START)
    kept = path.read_bytes()
    path.write_bytes(kept + REPEAT[:-1])
    journal = Journal(path)
    assert (journal.failures, journal.repeats("a")) == ([failure], [START])
    assert path.read_bytes() == kept
    path.write_bytes(REPEAT[:9])
    assert Journal(path).repeats("a") == [] and path.read_bytes() == b""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe\n", "line 2: not JSON"),
        (b'{"key": "\xe4"}\n', "line 2: not JSON"),
        (b"\n", "line 2: not JSON"),
        (b"[]\n", "line 2: Expected object"),
        (b"{}\n", "neither a repeat nor a failure"),
        (b'{"key": 1, "repeat": {}}\n', "line 2: key: expected str"),
        (b'{"key": "a", "repeat": [1]}\n', "line 2: repeat: expected object"),
        (b'{"key": "a", "repeat": {}}\n', "line 2: repeat: Object missing required field count"),
        (REPEAT.replace(b"profiled", b"profilee"), "Object missing required field profiled"),
        (REPEAT.replace(b'"at"', b'"as"'), "object missing required field at"),
        (b'{"failure": {"device": "x"}}\n', "line 2: failure: object missing"),
        (b'{"key": "a", "repeat": ' + b"[" * 100_000 + b"\n", "line 2: objects or lists nested"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_damage_is_one_line_and_changes_nothing(tmp_path, line, reason):
    path = tmp_path / FILE
    path.write_bytes(REPEAT + line + REPEAT[:-1])
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: damaged: .*{reason}") as error:
        Journal(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == REPEAT + line + REPEAT[:-1]
