"""JSON of strangers: what is refused, in which words, and that it costs next to nothing."""

import dataclasses
import json
import math
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from sqb_tf.errors import InputError
from sqb_tf.heads.classification import Classification
from sqb_tf.heads.embedding import Embedding
from sqb_tf.json_schema import MAX_DEPTH, Count, read_json, read_json_file
from sqb_tf.json_text import to_json
from sqb_tools.prediction_rows import InputRow
from sqb_tools.printers import JsonPrinter


@dataclasses.dataclass(frozen=True)
class Inner:
    size: Count
    share: float = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    inners: list[Inner]
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    anything: Any = None


BAD = {
    b"": "not JSON",
    b'{"inners": [': "not JSON: Input data was truncated",
    b"[1]": "Expected object, got array",
    b"{}": "Object missing required field inners",
    b'{"inners": null}': "inners: expected array, got null",
    b'{"inners": [{"size": 2}, {"size": "64"}]}': r"inners\[1\].size: expected int, got str",
    b'{"inners": [{"size": true}]}': "size: expected int, got bool",
    b'{"inners": [{"size": 3.0}]}': "size: expected int, got float",
    b'{"inners": [{"size": 0}]}': "size: expected int >= 1",
    b'{"inners": [{"size": 2147483648}]}': "size: expected int <= 2147483647",
    b'{"inners": [{"size": %s}]}' % (b"9" * 5000): r"size: integer value out of range",
    b'{"inners": [], "anything": %s}' % (b"9" * 5000): r"anything: integer value out of range",
    b'{"inners": [{"size": 1, "share": 1%s}]}' % (b"0" * 400): "share: number out of range",
    b'{"inners": [], "names": {"a": 5}}': r"names\[...\]: expected str, got int",
    b'{"inners": [], "anything": NaN}': "not JSON: invalid character",
    b'{"inners": [], "anything": Infinity}': "not JSON: invalid character",
    b'{"inners": [], "anything": "\\ud800"}': "not JSON",
    b'{"inners": [], "anything": "\xff"}': "not JSON: ",
    b'{"inners": [], "anything": %s' % (b"[" * 100_000): f"nested deeper than {MAX_DEPTH}",
    b'{"a":' * 100_000: f"nested deeper than {MAX_DEPTH}",
}


@pytest.mark.parametrize("source", BAD, ids=lambda source: repr(source[:60]))
def test_what_is_refused_in_one_line(source):
    for text in (source, source.decode("latin-1")) if b"\xff" not in source else (source,):
        with pytest.raises(InputError, match=f"^file.json: .*{BAD[source]}") as refused:
            read_json(text, Outer, "file.json")
        assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


def test_what_is_read():
    source = '{"inners": [{"size": 3, "share": 1, "later": []}], "anything": {"a": [1, null]}}'
    expected = Outer([Inner(3, 1.0)], {}, {"a": [1, None]})
    assert read_json(source, Outer, "x") == expected
    assert read_json(b"\xef\xbb\xbf" + source.encode(), Outer, "x") == expected
    assert read_json(source, dict[str, Any], "x") == json.loads(source)


def test_brackets_in_texts_are_no_depth():
    texts = ["[" * 50, '"{[\\', "\\", "]" * 9, "é{" * 40]
    value: Any = texts
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    for separators in ((",", ":"), (", ", ": ")):
        assert read_json(json.dumps(value, separators=separators), list[Any], "x") == value
    with pytest.raises(InputError, match="nested deeper"):
        read_json(json.dumps([value]), list[Any], "x")


def test_a_kilobyte_costs_little():
    sources = [b"[" * 1000, b"[]" * 500, b'"' + b"\\" * 999, b"9" * 1000, b"[" + b"{}," * 333]
    tracemalloc.start()
    start = time.perf_counter()
    for source in sources:
        with pytest.raises(InputError):
            read_json(source, dict[str, Any], "x")
    assert time.perf_counter() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_files(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(InputError, match=r"file.json: cannot be read: No such file"):
        read_json_file(path, list[int])
    path.write_text("[1, 2]")
    assert read_json_file(path, list[int]) == [1, 2]
    with pytest.raises(InputError, match=r"file.json: 6 bytes: expected JSON of at most 5"):
        read_json_file(path, list[int], max_bytes=5)
    path.write_text("[1, 2.5]")
    with pytest.raises(InputError, match=r"file.json: \[1\]: expected int, got float"):
        read_json_file(path, list[int])


@pytest.mark.parametrize("ascii", [False, True])
def test_what_is_written_is_json_whatever_the_numbers(ascii):
    value = {"a": [math.nan, 1.5, (math.inf, "é")], "b": {"c": -math.inf}}
    text = to_json(value, ascii=ascii)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [None, 1.5, [None, "é"]],
        "b": {"c": None},
    }
    assert text.isascii() is ascii
    assert read_json(text, dict[str, Any], "text") == json.loads(text)


def test_no_line_of_predict_has_a_number_that_json_lacks(capsys):
    """At ff36b52 `predict --jsonl` wrote NaN."""
    row = InputRow({"text": "a"}, ("a", None))
    JsonPrinter().print(row, Classification("good", {"good": math.nan, "bad": 0.5}))
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed["scores"] == {"good": None, "bad": 0.5}
    JsonPrinter().print(row, Embedding(np.array([np.nan, 1.0], np.float32)))
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["embedding"] == [
        None,
        1.0,
    ]
