"""What each form of input gives: the examples, or an error of one line that names the line at fault.

A text that swallows rows is in tests/unit/test_survey.py, folders of other libraries in
tests/unit/test_checkpoint_inputs.py.
"""

import re
import subprocess
import sys

import numpy as np
import pytest
from fixtures.commands import TOOLS
from fixtures.models import VOCABULARY

from sqb_tf.checkpoint import model_garden, transformers_folder
from sqb_tf.data.conll import ConllFile
from sqb_tf.data.delimited import DelimitedFile, find_split
from sqb_tf.data.example import Columns
from sqb_tf.data.rows import MOST_CELL
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.survey.survey import survey
from sqb_tf.text.encoder import TextEncoder

LONG = "word " * 40_000  # 200,000 characters; Python's csv takes 131,072

# name, suffix, content, and the (text, label) of each row or the pattern of the error.
INPUTS = [
    # --- Cells, and columns ---
    (
        "a comma without quotes",
        ".csv",
        "text,label\nfine,pos\nwell, it was lovely,pos\n",
        r":3: 3 cells, but 2 columns: a cell with a comma in it is written in quotes$",
    ),
    ("a tab too many", ".tsv", "text\tlabel\na\tb\tpos\n", r":2: 3 cells, but 2 columns$"),
    (
        "a row that is too short",
        ".csv",
        "text,label\nfine\n",
        r":2: 'label' is missing: the row has 1 cell, the header 2$",
    ),
    (
        "one that has the text last",
        ".tsv",
        "id\tlabel\ttext\n1\tpos\n",
        r":2: 'text' is missing: the row has 2 cells, the header 3$",
    ),
    ("null", ".jsonl", '{"text": null, "label": "pos"}\n', r":1: 'text' is null: expected text$"),
    ("no such key", ".jsonl", '{"text": "fine"}\n', r":1: no column 'label'; found: text "),
    ("two columns, CSV", ".csv", "text,label,text\na,b,c\n", r":1: two columns are called 'text'"),
    ("two columns, TSV", ".tsv", "label\tlabel\ttext\n", r":1: two columns are called 'label'"),
    ("two keys", ".jsonl", '{"text": "a", "text": "b"}\n', r":1: two values are called 'text'"),
    ("columns without a name", ".csv", "text,label,,\nfine,pos,,\n", [("fine", "pos")]),
    (
        "semicolons",
        ".csv",
        "text;y\nwell, fine;pos\n",
        r":2: 2 cells, .*; .csv files separate columns by commas, this one by ';'$",
    ),
    ("semicolons alone", ".csv", "text;y\nfine;pos\n", r"found: text;y; .* this one by ';' "),
    ("semicolons and quotes", ".csv", '"text";"label"\n"a";"pos"\n', r":1: .* this one by ';'$"),
    ("semicolons, quoted text", ".csv", 'text;label\n"a, b";pos\n', r":2: .* this one by ';'$"),
    ("capitals", ".CSV", "text,label\nfine,pos\n", [("fine", "pos")]),
    ("more capitals", ".JsonL", '{"text": "fine", "label": "pos"}\n', [("fine", "pos")]),
    # --- Quotes ---
    (
        "quotes inside a cell without",
        ".csv",
        'text,label\nshe said "wow",pos\n',
        [('she said "wow"', "pos")],
    ),
    ("quotes in TSV", ".tsv", 'text\tlabel\n"wow\tpos\n', [('"wow', "pos")]),
    (
        "text after the closing quote",
        ".csv",
        'text,label\nfine,pos\n"Great" she said "wow",pos\n',
        r':3: not CSV: text after the closing quote of a cell: .* as "She said ""wow"""$',
    ),
    (
        "the same in a cell of several lines, after another one",
        ".csv",
        'text,label\n"two\nlines","a\nb" c\n',
        r":3: not CSV: text after the closing quote",
    ),
    (
        "a quote that is never closed",
        ".csv",
        'text,label\nfine,pos\n"bad film,neg\n' + "good,pos\n" * 9,
        r":3: not CSV: the quote that opens this cell is not closed within 16,777,216 characters",
    ),
    (
        "the same in the last cell",
        ".csv",
        'text,label\n"two\nlines","pos\n' + "good,pos\n" * 9,
        r":3: not CSV: the quote that opens this cell",
    ),
    ("a header that is never closed", ".csv", '"text,label\nfine,pos\n', r":1: not CSV: the quote"),
    ("carriage returns alone", ".csv", "text,label\rfine,pos\r", r":1: not CSV: new-line charac"),
    ("a long cell", ".csv", f'text,label\n"{LONG}",pos\n', [(LONG, "pos")]),
    (
        "one without end",
        ".csv",
        f"text,label\n{'a' * (MOST_CELL + 1)},pos\n",
        r":2: not CSV: field larger than field limit",
    ),
    # --- Values of JSON ---
    (
        "whole numbers",
        ".jsonl",
        '{"text": 5, "label": 1}\n{"text": "a", "label": 1.0}\n{"text": "b", "label": -0.0}\n',
        [("5", "1"), ("a", "1"), ("b", "0")],
    ),
    ("a fraction", ".jsonl", '{"text": "a", "label": 1.5}\n', [("a", "1.5")]),
    (
        "a list",
        ".jsonl",
        '{"text": "a", "label": ["pos", "neg"]}\n',
        r""":1: 'label' is \["pos", "neg"\]: expected text or a finite number$""",
    ),
    ("no number", ".jsonl", '{"text": "a", "label": NaN}\n', r":1: 'label' is NaN: expected text"),
    ("infinity", ".jsonl", '{"text": "a", "label": 1e999}\n', r":1: 'label' is Infinity: expec"),
    ("an object", ".jsonl", '{"text": {"a": 1}, "label": 1}\n', r""":1: 'text' is \{"a": 1\}: """),
    ("true", ".jsonl", '{"text": "a", "label": true}\n', r":1: 'label' is true: expected text or"),
    ("half a character", ".jsonl", '{"text": "a\\ud800", "label": 1}\n', r":1: 'text' holds half"),
    ("half a label", ".jsonl", '{"text": "a", "label": "\\udc00"}\n', r":1: 'label' holds half a"),
    ("nested without end", ".jsonl", "[" * 100_000 + "\n", r":1: not JSON .*: nested too deeply$"),
    ("a number without end", ".jsonl", '{"label": ' + "1" * 5000 + "}\n", r":1: not JSON: Exceed"),
    # --- Labels ---
    ("spaces around a label", ".csv", "text,label\na, pos\nb,pos \n", [("a", "pos"), ("b", "pos")]),
    ("the same, TSV", ".tsv", "text\tlabel\n a \t\u00a0pos \n", [(" a ", "pos")]),
    (
        "a line feed in a label",
        ".csv",
        'text,label\na,"x\ny"\n',
        r":2: label 'x\\ny': expected tex",
    ),
    (
        "a line feed behind it",
        ".csv",
        'text,label\na,"x\n"\n',
        r":2: label 'x\\n': expected text of",
    ),
    ("a carriage return", ".tsv", "text\tlabel\na\tx\ry\n", r":2: label 'x\\ry': expected text of"),
    *(
        (
            f"a label with U+{ord(mark):04X}",
            ".jsonl",
            f'{{"text": "a", "label": "x\\u{ord(mark):04x}y"}}\n',
            r":1: label 'x\\.*y': expected text of one line: remove the line break in it$",
        )
        for mark in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    ),
    # --- Lines ---
    ("empty lines", ".csv", "text,label\n\nfine,pos\r\n\r\n", [("fine", "pos")]),
    ("a line of spaces", ".tsv", "text\tlabel\n \n", r":2: 'text' is empty: expected text$"),
    ("an empty line first", ".csv", "\ntext,label\nfine,pos\n", [("fine", "pos")]),
    ("the same, TSV", ".tsv", "\r\ntext\tlabel\nfine\tpos\n", [("fine", "pos")]),
]


def check(read, expected, where: str) -> None:
    """`read()` gives the expected rows, or raises an error of one line that begins with `where`."""
    if not isinstance(expected, str):
        assert read() == expected
        return
    with pytest.raises(InputError, match=expected) as caught:
        read()
    assert str(caught.value).startswith(where) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "content", "expected"), [row[1:] for row in INPUTS], ids=[row[0] for row in INPUTS]
)
def test_a_table_gives(suffix, content, expected, tmp_path):
    path = tmp_path / f"data{suffix}"
    path.write_text(content, encoding="utf-8", newline="")
    check(lambda: [(e.text, e.label) for e in DelimitedFile(path)], expected, f"{path}:")


def test_a_folder_may_have_suffixes_in_capitals(tmp_path):
    (tmp_path / "train.TSV").touch()
    assert find_split(tmp_path, "train").name == "train.TSV"


def test_rows_after_a_bad_one_are_read(tmp_path):
    """`sqb survey` counts the bad ones."""
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"a" b,pos\nc, d,pos\nfine,pos\n"e,neg\n')
    errors: list[InputError] = []
    assert [e.text for e in DelimitedFile(path, Columns(), skip=errors.append)] == ["fine"]
    assert [str(error).partition(": ")[0][-1] for error in errors] == ["2", "3", "5"]


# name, the labels of single rows that stand in no class of many, and the order of all labels.
LABELS = [
    ("numbers", ["10", "2", "-3", "1.5"], ["-3", "1.5", "2", "10", "neg", "pos"]),
    ("names", ["zero", "Zero"], ["Zero", "neg", "pos", "zero"]),
    ("no numbers", ["1e", "nan"], ["1e", "nan", "neg", "pos"]),
]


@pytest.mark.parametrize(
    ("rare", "order"), [row[1:] for row in LABELS], ids=[row[0] for row in LABELS]
)
def test_labels_of_one_file_are_ordered_and_rare_ones_stay_in_train(rare, order, tmp_path):
    """Also those of a single row: at ff36b52 dev had `labels that rare.csv lacks`."""
    path = tmp_path / "rare.csv"
    rows = [f"film {i},{label}" for i in range(40) for label in ("pos", "neg")]
    rows += [f"rare film {label},{label}" for label in rare]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    found = survey(Task("classification", path))
    assert found.labels == order
    assert found.dev.labels.keys() == {"pos", "neg"}


TAGGED = [
    ("spaces", "Anna  NNP B-PER\nlives VBZ  O\n", [("Anna lives", "B-PER O")]),
    ("a no-break space", "10\u00a0000 CD O\neuros NNS O\n", [("10\u00a0000 euros", "O O")]),
    ("the same, tabs", "10\u00a0000\tO\n", [("10\u00a0000", "O")]),
    ("spaces around", " Anna \t B-PER \n", [("Anna", "B-PER")]),
    (
        "a line break in a tag",
        "Anna\tB-\u2028PER\n",
        r":1: label 'B-\\u2028PER': expected text of one",
    ),
    ("the same, spaces", "Anna O\nlives B-\x0bX\n", r":2: label 'B-\\x0bX': expected text of one"),
]


@pytest.mark.parametrize(
    ("content", "expected"), [row[1:] for row in TAGGED], ids=[row[0] for row in TAGGED]
)
def test_tagged_words_give(content, expected, tmp_path):
    path = tmp_path / "data.conll"
    path.write_text(content, encoding="utf-8", newline="")
    check(lambda: [(e.text, e.label) for e in ConllFile(path)], expected, f"{path}:")


def test_two_spaces_between_words_are_one():
    head = registry.get("token_classification")(["O", "B-X"])
    row = (" the  film ", None)
    ((window,),) = head.encode([row], TextEncoder(VOCABULARY, True, 16))
    scores = np.tile([0.1, 0.9], (len(window), 1))
    result = head.decode(row, [window], [{"probabilities": scores}])
    assert (result.words, result.tags) == (("the", "film"), ("B-X", "B-X"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, r"q\.jsonl:7: objects or lists nested deeper than 64"),
        (
            '{"question": "\\ud800?", "context": "a"}',
            r"q\.jsonl:7: not JSON: .*surrogate",
        ),
    ],
)
def test_questions_that_cannot_be_read(line, message):
    with pytest.raises(InputError, match=message):
        registry.get("span")().parse_line(line, "q.jsonl:7", None)


@pytest.mark.parametrize(
    "flags", [["predict", b"a \xff film"], ["survey", "--data", "x", "--text-column", b"\xff"]]
)
def test_an_argument_that_is_not_utf_8(flags, tmp_path):
    command = [sys.executable, str(TOOLS / f"{flags[0]}.py"), *flags[1:]]
    finished = subprocess.run(command, capture_output=True, cwd=tmp_path)
    assert finished.returncode == 2
    assert re.fullmatch(rb"error: argument '.*\\udcff.*': not UTF-8.*\n", finished.stderr)


@pytest.mark.parametrize("name", ["x\u2028y", "x\ry", "x\x85y", "x\ud800y", " "])
def test_label_names_of_other_libraries(name, tmp_path):
    settings = {"id2label": {"0": name, "1": " b "}}
    folder = transformers_folder.Folder(
        tmp_path, settings, {transformers_folder.CLASSIFIER: (2, 8)}, None, None, None
    )
    with pytest.raises(InputError, match=r"config\.json: id2label .* each of one line"):
        folder.labels("classification")
    settings["id2label"]["0"] = "a"
    assert folder.labels("classification") == ["a", "b"]


def test_label_names_of_model_garden(tmp_path):
    params = model_garden._Params("params.yaml", {"task": {"model": {"num_classes": 2}}})
    (tmp_path / "labels.txt").write_bytes(b"a\r\nb\r\n")
    assert model_garden._read_labels(tmp_path / "labels.txt", params) == ["a", "b"]
    (tmp_path / "labels.txt").write_bytes("a\nb\u2028c\n".encode())
    with pytest.raises(InputError, match=r"labels\.txt: label 'b\\u2028c': expected text of one"):
        model_garden._read_labels(tmp_path / "labels.txt", params)
