"""sqb_tf.data.delimited: TSV, CSV and JSONL as they are, streamed, with errors that name the line."""

import itertools
import json

import pytest

from sqb_tf.data.delimited import DelimitedFile, find_split
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.lines import numbered_lines
from sqb_tf.errors import InputError


def read(folder, name: str, content: str | bytes, columns: Columns | None = None) -> list[Example]:
    """The examples of a file with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(DelimitedFile(path, columns or Columns()))


def test_tsv_keeps_quotes_and_everything_but_tabs(tmp_path):
    rows = ['"quoted" in "part"\t0', '"\t1', "it's, a\u2028line\x85\t0", " spaces \t1"]
    examples = read(tmp_path, "a.tsv", "text\tlabel\n" + "\n".join(rows) + "\n")
    assert examples == [
        Example('"quoted" in "part"', label="0"),
        Example('"', label="1"),
        Example("it's, a\u2028line\x85", label="0"),
        Example(" spaces ", label="1"),
    ]


def test_csv_cells_may_hold_commas_quotes_and_lines(tmp_path):
    content = 'label,text\n1,"a, ""b""\nand c"\n0,plain\n'
    assert read(tmp_path, "a.csv", content) == [
        Example('a, "b"\nand c', label="1"),
        Example("plain", label="0"),
    ]


def test_jsonl_takes_numbers_and_escapes(tmp_path):
    lines = [{"text": "tab\t\u00e9", "label": 1}, {"label": 2.5, "text": "b", "more": None}]
    content = "\n\n".join(json.dumps(line) for line in lines)
    assert read(tmp_path, "a.jsonl", content) == [
        Example("tab\té", label="1"),
        Example("b", label="2.5"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tlabel\r\nbad\t0\r\n"),
        ("a.csv", "text,label\r\nbad,0\r\n"),
        ("a.jsonl", '{"text": "bad", "label": "0"}\r\n'),
    ],
)
def test_byte_order_mark_and_windows_lines_are_not_data(tmp_path, name, content):
    assert read(tmp_path, name, b"\xef\xbb\xbf" + content.encode()) == [Example("bad", label="0")]


def test_columns_are_found_by_name_in_any_order(tmp_path):
    content = "index\ty\ts2\ts1\n0\tno\tb\ta\n"
    assert read(tmp_path, "a.tsv", content, Columns("s1", "s2", "y")) == [Example("a", "b", "no")]
    assert read(tmp_path, "a.tsv", content, Columns("s2", None, None)) == [Example("b")]


def test_blank_lines_are_skipped(tmp_path):
    assert len(read(tmp_path, "a.tsv", "text\tlabel\n\na\t0\n\nb\t1\n\n")) == 2
    assert len(read(tmp_path, "a.csv", "text,label\n\na,0\n\nb,1\n\n")) == 2
    assert len(read(tmp_path, "a.jsonl", '\n{"text": "a", "label": 0}\n\n')) == 1


def test_file_can_be_iterated_again_and_by_two_at_once(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\na\t0\nb\t1\n")
    file = DelimitedFile(path)
    assert [e.text for e in file] == [e.text for e in file] == ["a", "b"]
    assert [(x.text, y.text) for x, y in zip(file, file, strict=True)] == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.tsv", "text\tlabel\na\t0\n"),
        ("a.csv", "text,label\na,0\n"),
        ("a.jsonl", '{"text": "a", "label": 0}\n'),
    ],
)
def test_rows_are_read_on_demand(tmp_path, name, start):
    path = tmp_path / name
    path.write_text(start)
    with open(path, "r+b") as file:
        file.truncate(2**42)  # 4 TB of holes: reading the file or its second row cannot end well
    assert list(itertools.islice(DelimitedFile(path), 1)) == [Example("a", label="0")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "sentence\tlabel\na\t0\n", r"a\.tsv:2: no column 'text'; found: sentence, label"),
        ("a.tsv", "text\tlabel\na\t0\n \t1\n", r"a\.tsv:3: 'text' is empty"),
        ("a.tsv", "text\tlabel\na\t\n", r"a\.tsv:2: 'label' is empty"),
        ("a.tsv", b"text\tlabel\na\t0\n\xe9t\xe9\t1\n", r"a\.tsv:3: not UTF-8 \(byte 1 "),
        ("a.csv", "text;label\na;0\n", r"separate columns by commas, this one by ';'"),
        ("a.tsv", "text,label\na,0\n", r"separate columns by tabs, this one by ','"),
        ("a.jsonl", '{"text": "a", "label": 0}\n{"text": \n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", '["a", 0]\n', r"a\.jsonl:1: expected a JSON object"),
        ("a.jsonl", '{"text": "a"}\n', r"a\.jsonl:1: no column 'label'; found: text"),
    ],
)
def test_bad_row_error_names_file_and_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, name, content)


def test_rows_before_a_bad_one_are_yielded(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\na\t0\nb\n")
    rows = iter(DelimitedFile(path))
    assert next(rows).text == "a"
    with pytest.raises(InputError):
        next(rows)


def test_file_of_another_type_or_missing_raises_error(tmp_path):
    with pytest.raises(InputError, match=r"\.jsonl; SQuAD's \.json goes with --task squad"):
        read(tmp_path, "a.json", "{}")
    with pytest.raises(InputError, match=r"a\.txt: expected a file ending in \.tsv"):
        DelimitedFile(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"a\.tsv: no such file"):
        DelimitedFile(tmp_path / "a.tsv")


def test_split_is_found_by_any_suffix(tmp_path):
    (tmp_path / "train.csv").touch()
    (tmp_path / "dev.jsonl").touch()
    assert find_split(tmp_path, "train").name == "train.csv"
    assert find_split(tmp_path, "dev").name == "dev.jsonl"
    with pytest.raises(InputError, match=r"no test\.tsv, test\.csv or test\.jsonl"):
        find_split(tmp_path, "test")
    with pytest.raises(InputError, match="no such file or folder"):
        find_split(tmp_path / "absent", "test")


def test_lines_are_numbered_and_end_at_line_feeds_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\u2028still\n\ufefftwo\r\nthree".encode())
    assert list(numbered_lines(path)) == [
        (1, "one\u2028still\n"),
        (2, "\ufefftwo\r\n"),
        (3, "three"),
    ]
