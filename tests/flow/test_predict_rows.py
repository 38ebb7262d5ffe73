"""sqb predict: each line or row of the input gives exactly one of the output; tables come back as tables."""

import csv
import io
import json
import sys

import pytest
from fixtures.commands import call, rejects, start_shell
from fixtures.models import LABELS

from sqb_tf.data.delimited import DelimitedFile
from sqb_tf.data.example import Columns
from sqb_tf.errors import InputError
from sqb_tools import arguments, predict


def rows_of(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_an_empty_line_among_many_is_an_error_record(package, tmp_path, capsys, caplog):
    path = tmp_path / "lines.txt"
    path.write_text("\n" + "a good film\n" * 70 + " \nthe end\n\n")
    assert call("predict", "--package", package, "--input", path, "--jsonl") == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ["", *["a good film"] * 70, " ", "the end", ""]
    assert rows[0] == {"text": "", "error": f"{path}:1: the text is empty"}
    assert [i for i, row in enumerate(rows) if "error" in row] == [0, 71, 73]
    assert f"3 rows have no result: {path}:1: the text is empty (--strict ends" in caplog.text
    assert (
        call("predict", "--package", package, "--input", path, "--json", tmp_path / "p.json") == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 74 and lines[71] == f"(error)\t{path}:72: the text is empty\t "
    assert json.loads((tmp_path / "p.json").read_text()) == {"predictions": rows}
    flags = ["--package", package, "--input", path, "--strict"]
    rejects(r"lines\.txt:1: the text is empty", "predict", *flags)
    assert capsys.readouterr().out == ""


def test_a_text_of_several_lines_is_one_line(package, capsys):
    text = "a good\nfilm\r\u2028the\x85end"
    assert call("predict", "--package", package, text) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("\ta good\\nfilm\\r\\u2028the\\x85end")


def test_csv_comes_back_with_two_more_columns(package, tmp_path, capsys):
    path = tmp_path / "reviews.CSV"
    path.write_text(
        'id,review,label\n1,"a ""good"" film,\nthe end",x\n2,,y\n3,the plot\n\n4,bad,"z, z"\n'
    )
    flags = ["--package", package, "--input", path, "--text-column", "review"]
    assert call("predict", *flags) == 0
    out = capsys.readouterr().out
    table = list(csv.DictReader(io.StringIO(out)))
    assert list(table[0]) == ["id", "review", "label", "predicted_label", "score"]
    assert [row["id"] for row in table] == ["1", "2", "3", "4"]
    assert table[0]["review"] == 'a "good" film,\nthe end' and table[3]["label"] == "z, z"
    assert (table[1]["predicted_label"], table[1]["score"], table[2]["label"]) == ("", "", "")
    texts = [table[i]["review"] for i in (0, 2, 3)]
    assert call("predict", "--package", package, "--jsonl", *texts) == 0
    for row, alone in zip(
        [table[i] for i in (0, 2, 3)], rows_of(capsys.readouterr().out), strict=True
    ):
        assert row["predicted_label"] == alone["label"] in LABELS
        assert row["score"] == f"{alone['scores'][alone['label']]:.4f}"
    (tmp_path / "out.csv").write_text(out)
    columns = Columns("id", None, "predicted_label")
    assert len(list(DelimitedFile(tmp_path / "out.csv", columns, skip=lambda _: None))) == 3
    assert call("predict", *flags, "--jsonl") == 0
    rows = rows_of(capsys.readouterr().out)
    assert rows[1] == {"id": "2", "review": "", "label": "y", "error": rows[1]["error"]}
    assert rows[3]["predicted_label"] == table[3]["predicted_label"] and set(rows[3]["scores"]) == {
        *LABELS
    }
    rejects(r"reviews\.CSV:4: 'review' is empty", "predict", *flags, "--strict")


def test_tsv_of_pairs_and_jsonl(paired_bundle_dir, package, tmp_path, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text('a\tb\tc\n"good\tthe end\t1\nfilm\t\t2\n')
    flags = ["--model", paired_bundle_dir, "--input", path, "--text-column", "a"]
    rejects(r"takes pairs of texts: name the column of the second one", "predict", *flags)
    assert call("predict", *flags, "--pair-column", "b") == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header == "a\tb\tc\tlabel\tscore" and first.startswith('"good\tthe end\t1\t')
    assert second == "film\t\t2\t\t"
    path = tmp_path / "rows.jsonl"
    path.write_text('{"body": "a film", "n": [1, null], "odd": "\\ud800"}\n{"n": 2}\n')
    assert call("predict", "--package", package, "--input", path, "--text-column", "body") == 0
    film, other = rows_of(capsys.readouterr().out)
    assert (film["n"], film["odd"]) == ([1, None], "\ud800") and film["label"] in LABELS
    assert other["n"] == 2 and other["error"].startswith(f"{path}:2: no column 'body'")


def test_columns_without_a_name_and_cells_of_several_lines_come_back(package, tmp_path, capsys):
    path, again = tmp_path / "t.csv", tmp_path / "again.csv"
    path.write_bytes(b'text,,,n\na film,b,c,1\n"a ""b"", c","d\re",,"f\ng"\n')
    flags = ["--text-column", "text"]
    assert call("predict", "--package", package, "--input", path, *flags) == 0
    again.write_bytes(capsys.readouterr().out.encode())
    header, *rows = csv.reader(io.StringIO(again.read_bytes().decode(), newline=""))
    assert header == ["text", "column 2", "column 3", "n", "label", "score"]
    assert [row[:4] for row in rows] == [
        ["a film", "b", "c", "1"],
        ['a "b", c', "d\re", "", "f\ng"],
    ]
    assert b'"d\re",,"f\ng",' in again.read_bytes()
    assert len(list(DelimitedFile(again, Columns("column 2", None, "label")))) == 2


def test_a_column_that_no_row_of_jsonl_has(package, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    flags = ["predict", "--package", package, "--input", path, "--text-column"]
    path.write_text('{"txet": "a film"}\n{"body": null}\n')
    rejects(r"rows\.jsonl:1: no column 'text'; found: txet; did you mean 'txet'", *flags, "text")
    assert capsys.readouterr().out == ""
    assert call(*flags, "body") == 0  # a row has it, if without a text
    assert [row["error"].partition(": ")[2] for row in rows_of(capsys.readouterr().out)] == [
        "no column 'body'; found: txet (--text-column, --pair-column and --label-column name the columns)",
        "'body' is null: expected text",
    ]
    path.write_text("")
    assert call(*flags, "text") == 0 and capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_data_is_utf_8_and_lines_for_people_have_escapes(name, package, tmp_path, monkeypatch):
    """On a terminal of another encoding, as that of Windows."""
    path = tmp_path / name
    path.write_text('{"text": "日"}\n' if name == "t.jsonl" else "text\n日\n", encoding="utf-8")
    for flags, shown in ((["--input", path, "--text-column", "text"], "日"), (["日"], "\\u65e5")):
        content = io.BytesIO()
        with monkeypatch.context() as patched:
            stream = io.TextIOWrapper(content, "cp1252", write_through=True)
            patched.setattr(sys, "stdout", stream)
            assert call("predict", "--package", package, *flags) == 0
        assert shown in content.getvalue().decode("utf-8")


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("x.csv", [], r"--input .*x\.csv: a table: name the column of its texts \(--text-column"),
        ("x.TSV", [], r"--input .*x\.TSV: a table"),
        ("x.jsonl", [], r"--input .*x\.jsonl: a table"),
        ("x.txt", ["--text-column", "text"], r"x\.txt: expected a file ending in \.tsv, \.csv"),
        ("x.csv", ["--text-column", "txet"], r"x\.csv:2: no column 'txet'; .*did you mean 'text'"),
        (
            "x.csv",
            ["--text-column", "text", "--pair-column", "y"],
            r"--pair-column y: .* single te",
        ),
        ("x.csv", ["--pair-column", "y"], r"--pair-column y: goes with --text-column"),
    ],
)
def test_a_table_needs_its_columns(name, flags, message, package, tmp_path):
    (tmp_path / name).write_text("text,y\na film,1\n")
    rejects(message, "predict", "--package", package, "--input", tmp_path / name, *flags)


def test_columns_go_with_a_file(package):
    rejects(
        "--text-column text: goes with --input",
        "predict",
        "--package",
        package,
        "--text-column",
        "text",
    )


def test_what_is_printed_to_a_closed_stream_is_in_no_file(package, tmp_path):
    """The first file that is opened would have the stream's descriptor."""
    command = f"-m sqb_tools describe --package {package} --json x.json <&- >&- 2>&-"
    process = start_shell(command, cwd=tmp_path)
    assert (process.communicate(), process.returncode) == (("", ""), 0)
    assert json.loads((tmp_path / "x.json").read_text())["package"] == str(package)


def test_a_file_whose_name_is_not_utf_8(package, tmp_path, monkeypatch, capsysbinary):
    """In a folder whose name is none either."""
    folder = tmp_path / "d\udcff"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "p\udcff.tflite").write_bytes(package.read_bytes())
    (folder / "t\udcff.csv").write_text("text\na film\n")
    flags = ["--package", "p\udcff.tflite", "--input=t\udcff.csv", "--text-column", "text"]
    arguments.check_characters(flags, predict.flags().parse_args(flags), predict.flags())
    assert call("predict", *flags, "--json", "x.json") == 0
    assert capsysbinary.readouterr().out.startswith(b"text,label,score\na film,")
    assert call("describe", *flags[:2], "--json", "d.json") == 0
    assert json.loads((folder / "d.json").read_text())["package"] == "p\udcff.tflite"
    for more in (["--output", "v.npy"], ["--json", "\udcff"], ["--context", "gone\udcff"]):
        with pytest.raises(InputError, match=r"argument '.*\\udcff.*': not UTF-8"):
            args = predict.flags().parse_args([*flags, *more])
            arguments.check_characters([*flags, *more], args, predict.flags())
