"""The tools' contract: help, results as text and JSON, streams, exit codes, signals."""

import hashlib
import importlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import (
    NAMES,
    call,
    fingerprint,
    listing,
    rejects,
    run,
    start,
    start_python,
)
from fixtures.models import LABELS, random_texts

from sqb_tf.training import demo
from sqb_tflite.conversion.recipes import Bounds, Recipe
from sqb_tflite.package.container import unpack

CONVERT = "sqb_tflite.conversion.converter.convert_request"


@pytest.fixture
def instant(converted, monkeypatch) -> None:
    """Conversion to int8 without the wait: the tool gets the package that `converted` holds."""
    content = converted("int8")
    monkeypatch.setattr(CONVERT, lambda _: content)


@pytest.fixture
def unreachable(monkeypatch) -> None:
    """Bounds of int8 that no package keeps."""
    monkeypatch.setattr(Recipe.INT8, "bounds", Bounds(0.0, 1.0, 1000.0, "none keeps it"))


def texts_file(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


# --- Help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", NAMES)
def test_help(tool):
    """Within a second: of CPU, so that a busy machine fails nothing. TensorFlow alone takes 5 s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = run(tool, "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert finished.returncode == 0 and finished.stderr == ""
    for flag in ("--help", "--json FILE", "--verbose", "--quiet"):
        assert flag in finished.stdout


@pytest.mark.parametrize("tool", NAMES)
def test_help_shows_every_flag_with_its_meaning(tool):
    """And the default of each that has one."""
    parser = importlib.import_module(f"sqb_tools.{tool}").flags()
    for command in [parser, *parser.commands.values()]:
        shown = re.sub(r"\s+", "", command.format_help())  # lines are broken at hyphens too
        for action in command._actions:
            assert action.help or action.dest == "command", action.dest
            if action.option_strings and action.default not in (None, (), "", "==SUPPRESS=="):
                default = str(action.default).replace(" ", "")
                assert action.nargs == 0 or f"default:{default})" in shown, action.dest


def test_help_imports_nothing_slow():
    """`--help` and usage errors answer in 0.2 s where TensorFlow alone takes 5 s to import."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(f'sqb_tools.{name}').flags()\n"
        "slow = {'tensorflow', 'keras', 'ai_edge_litert', 'matplotlib', 'scipy', 'sklearn'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    process = start_python("-c", code, *NAMES)
    out, err = process.communicate()
    assert (process.returncode, out.strip(), err) == (0, "[]", "")


@pytest.mark.parametrize("setting", [None, "0"])
def test_tensorflow_multiplies_by_onednn_by_default(setting):
    code = (
        "import os; from sqb_tools import arguments, entry;"
        "show = lambda _: print(os.environ['TF_ENABLE_ONEDNN_OPTS']) or 0;"
        "entry.run(show, arguments.parser('show', '', ''))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {} if setting is None else {"TF_ENABLE_ONEDNN_OPTS": setting}
    out, error = start_python("-c", code, env=environment).communicate()
    assert (out, error) == (f"{setting or 1}\n", "")


@pytest.mark.parametrize("backend", ["torch", "nonsense", None])
def test_keras_is_as_the_tools_need_it(backend, tmp_path):
    """What Keras would read of the user's settings: its own module, alone."""
    code = (
        "import importlib.util, pathlib, runpy, sys, unittest.mock\n"
        "from sqb_tools import arguments, entry\n"
        "def tool(_):\n"
        "    keras = pathlib.Path(importlib.util.find_spec('keras').origin).parent\n"
        "    stub = unittest.mock.MagicMock()\n"
        "    stub.keras_export = lambda *_: lambda function: function\n"
        "    names = ('', '.src', '.src.api_export', '.src.backend', '.src.backend.common')\n"
        "    sys.modules.update({f'keras{name}': stub for name in names})\n"
        "    config = runpy.run_path(str(keras / 'src' / 'backend' / 'config.py'))\n"
        "    print(config['backend'](), config['image_data_format'](), config['floatx']())\n"
        "    return 0\n"
        "entry.run(tool, arguments.parser('show', '', ''))"
    )
    settings = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environment |= {"KERAS_HOME": str(tmp_path)} | ({"KERAS_BACKEND": backend} if backend else {})
    out, error = start_python("-c", code, env=environment).communicate()
    assert (out, error) == ("tensorflow channels_last float32\n", "")


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ([], ["ours", "warning: mind", "theirs failed", "step 1/1 100% 0:00 left"]),
        (
            ["--verbose"],
            ["ours", "warning: mind", "theirs", "theirs failed", "step 1/1 100% 0:00 left"],
        ),
        (["--quiet"], ["theirs failed"]),
    ],
)
def test_verbose_and_quiet_set_what_is_logged(flags, shown):
    """Our messages as plain lines; other packages' only if they failed, or with --verbose."""
    code = (
        "from sqb_tools import arguments, entry\n"
        "def tool(_):\n"
        "    from absl import logging\n"
        "    from sqb_tf.progress import Progress, log, warn\n"
        "    log('ours'); warn('mind'); logging.info('theirs'); logging.error('theirs failed')\n"
        "    Progress('step', 1).update(1)\n"
        "    return 0\n"
        "entry.run(tool, arguments.parser('show', '', ''))"
    )
    out, error = start_python("-c", code, *flags).communicate()
    assert out == ""
    assert error.splitlines() == shown


def test_library_user_sees_no_start_up_lines_and_sets_the_log_level():
    code = (
        "import sqb_tflite; sqb_tflite.convert\n"
        "from absl import logging\n"
        "from sqb_tf.progress import log\n"
        "log('hidden'); logging.set_verbosity('info'); log('shown')"
    )
    out, error = start_python("-c", code).communicate()
    assert (out, error) == ("", "INFO:absl:shown\n")


# --- convert and verify --------------------------------------------------------------------------

REPORT = {"examples", "metric", "agreement", "max_abs_error", "sqnr_db", "size_bytes"}


def test_convert_writes_package_manifest_and_result(bundle_dir, instant, tmp_path, capsys):
    output = tmp_path / "new" / "x.tflite"
    arguments = ["--model", bundle_dir, "--output", output, "--json", tmp_path / "r.json"]
    assert call("convert", *arguments) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result == json.loads(output.with_suffix(".json").read_text())
    content = output.read_bytes()
    assert result["sha256"] == hashlib.sha256(content).hexdigest()
    assert result["package"] == str(output)
    assert result["recipe"] == "int8"
    assert result["signatures"]["serving_default"]["seq_length"] is None
    assert set(result["verification"]) >= REPORT
    assert result["verification"]["size_bytes"] == len(content)
    assert unpack(output).labels == LABELS
    out = capsys.readouterr().out
    assert "within bounds" in out and f"package {output}" in out
    assert listing(tmp_path) == ["new", "r.json"] and listing(output.parent) == [
        "x.json",
        "x.tflite",
    ]


def test_convert_as_a_process(bundle_dir, tmp_path):
    """From any folder; the report alone on standard output, progress alone on standard error."""
    bundle = Path(shutil.copytree(bundle_dir, tmp_path / "mine"))
    finished = run("convert", "--model", bundle, "--limit", 5, cwd=tmp_path / "mine")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == f"manifest {tmp_path}/mine-int8.json"
    for line in finished.stderr.splitlines():
        assert re.match(
            r"(warning: 5|converting|lowering|verifying on|calibration text|rounding|Keras model|verify) ",
            line,
        )
    assert listing(tmp_path) == ["mine", "mine-int8.json", "mine-int8.tflite"]


def test_convert_names_the_package_after_the_bundle(bundle_dir, instant, tmp_path, monkeypatch):
    bundle = Path(shutil.copytree(bundle_dir, tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    assert call("convert", "--model", "mine/") == 0
    assert listing(tmp_path) == ["mine", "mine-int8.json", "mine-int8.tflite"]
    monkeypatch.chdir(bundle)
    assert call("convert", "--model", ".") == 0
    assert listing(tmp_path) == ["mine", "mine-int8.json", "mine-int8.tflite"]


def test_convert_that_misses_its_bounds_writes_nothing(
    bundle_dir, instant, unreachable, tmp_path, capsys
):
    output = tmp_path / "x.tflite"
    output.write_text("earlier")
    output.with_suffix(".json").write_text("{}")
    before = fingerprint(tmp_path)
    flags = ["--model", bundle_dir, "--output", output, "--overwrite"]
    assert call("convert", *flags, "--json", "-") == 1
    assert fingerprint(tmp_path) == before
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["package"] is None
    assert any("dB < 1000 dB" in miss for miss in result["verification"]["misses"])
    assert re.search(r"x.tflite was not written: .* --allow-loss writes it anyway", captured.err)

    assert call("convert", *flags, "--allow-loss") == 0
    assert unpack(output).labels == LABELS
    manifest = json.loads(output.with_suffix(".json").read_text())
    assert manifest["verification"]["misses"]
    assert listing(tmp_path) == ["x.json", "x.tflite"]


def test_convert_without_a_model_makes_the_demo_once(
    bundle_dir, instant, tmp_path, monkeypatch, capsys
):
    trainings = []

    def finetune_demo(output, command):
        trainings.append(command)
        shutil.copytree(bundle_dir, output)

    monkeypatch.setattr(demo, "finetune_demo", finetune_demo)
    monkeypatch.chdir(tmp_path)
    assert call("convert", "--quantize", "int8") == 0
    assert "runs/demo is missing: fine-tuning it on the demo data" in capsys.readouterr().err
    assert listing(tmp_path / "runs") == ["demo", "demo-int8.json", "demo-int8.tflite"]
    assert call("convert") == 0
    assert len(trainings) == 1


def test_verify_reports_the_contracts_keys(bundle_dir, package, tmp_path, capsys):
    arguments = ["--model", bundle_dir, "--package", package, "--limit", 20]
    assert call("verify", *arguments, "--json", tmp_path / "v.json") == 0
    assert "within bounds" in capsys.readouterr().out
    result = json.loads((tmp_path / "v.json").read_text())
    assert set(result) >= REPORT
    assert result["examples"] == 20
    metric = result["metric"]
    assert metric["name"] == "accuracy"
    assert metric["drop"] == pytest.approx(metric["keras"] - metric["package"])
    assert result["size_bytes"] == package.stat().st_size
    assert 0 < result["max_abs_error"] < 1 and 0 <= result["agreement"] <= 1

    assert call("verify", *arguments, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == result


def test_verify_past_the_bounds_is_exit_1(bundle_dir, package, unreachable, capsys):
    assert call("verify", "--model", bundle_dir, "--package", package, "--limit", 5) == 1
    assert "missed" in capsys.readouterr().out


def test_verify_on_named_data(bundle_dir, package, tmp_path, capsys):
    rows = "".join(f"{text}\tgood\n" for text in random_texts(8))
    (tmp_path / "test.tsv").write_text(f"review\tlabel\n{rows}")
    call(
        *("verify", "--model", bundle_dir, "--package", package, "--json", "-"),
        *("--data", tmp_path, "--split", "test", "--text-column", "review", "--limit", 6),
    )
    result = json.loads(capsys.readouterr().out)
    assert (result["examples"], result["data"]) == (6, str(tmp_path / "test.tsv"))


# --- predict and evaluate ------------------------------------------------------------------------


def json_rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_predict_reads_arguments_files_and_standard_input_alike(
    package, tmp_path, monkeypatch, capsys
):
    texts = ["a good film", "the plot, not\tgreat", "É!  "]
    path = texts_file(tmp_path / "texts.txt", ["\ufeff" + texts[0], *texts[1:]])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    flags = ["--package", package, "--jsonl", "--batch-size", 2]
    assert call("predict", *flags, *texts) == 0
    expected = json_rows(capsys.readouterr().out)
    assert [row["text"] for row in expected] == texts
    for row in expected:
        assert list(row["scores"]) == LABELS
        assert row["label"] == max(row["scores"], key=row["scores"].get)
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-3)
    assert call("predict", *flags, "--input", path) == 0
    assert json_rows(capsys.readouterr().out) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert call("predict", *flags) == 0
    assert json_rows(capsys.readouterr().out) == expected


def test_predict_says_that_it_waits_for_a_terminal(package, monkeypatch, caplog):
    terminal = io.TextIOWrapper(io.BytesIO(b"a film\n"))
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    assert call("predict", "--package", package) == 0
    assert "reading standard input, one text per line; Ctrl-D ends it" in caplog.text


def test_predict_as_text_and_as_json(package, tmp_path, capsys):
    texts = ["a good film", "the end"]
    assert call("predict", "--package", package, *texts, "--json", tmp_path / "p.json") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    predictions = json.loads((tmp_path / "p.json").read_text())["predictions"]
    for (label, score, text), row in zip(lines, predictions, strict=True):
        assert (label, text) == (row["label"], row["text"])
        assert float(score) == pytest.approx(row["scores"][label], abs=1e-4)
    assert call("predict", "--package", package, *texts, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == {"predictions": predictions}


def test_predict_of_package_and_bundle_agree(bundle_dir, package, tmp_path, capsys):
    path = texts_file(tmp_path / "texts.txt", random_texts(40, seed=5))
    predictions = []
    for model in (["--package", package], ["--model", bundle_dir]):
        assert call("predict", *model, "--input", path, "--jsonl") == 0
        predictions.append(json_rows(capsys.readouterr().out))
    assert len(predictions[0]) == len(predictions[1]) == 40
    for ours, keras in zip(*predictions):
        assert ours["text"] == keras["text"]
        scores = [list(row["scores"].values()) for row in (ours, keras)]
        np.testing.assert_allclose(*scores, atol=0.08)


def test_predict_pairs_separated_by_a_tab(paired_bundle_dir, capsys):
    texts = ["a good film\tthe plot", "a good film\tthe plot\twas bad"]
    assert call("predict", "--model", paired_bundle_dir, "--jsonl", *texts) == 0
    rows = json_rows(capsys.readouterr().out)
    assert [(row["text"], row["pair"]) for row in rows] == [tuple(t.split("\t", 1)) for t in texts]
    assert call("predict", "--model", paired_bundle_dir, texts[0]) == 0
    assert capsys.readouterr().out.endswith(f"\t{texts[0]}\n")


def test_predict_scores_of_a_regression(regression_bundle_dir, capsys):
    assert call("predict", "--model", regression_bundle_dir, "a film", "--jsonl") == 0
    (row,) = json_rows(capsys.readouterr().out)
    assert row["label"] == "score" and set(row["scores"]) == {"score"}


def test_evaluate_of_package_and_bundle(bundle_dir, package, tmp_path, capsys):
    shutil.copy(bundle_dir / "verification.jsonl", tmp_path / "dev.jsonl")
    flags = ["--data", tmp_path, "--json", "-"]
    assert call("evaluate", "--model", bundle_dir, *flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["examples"] == len((tmp_path / "dev.jsonl").read_text().splitlines())
    assert result["metric"] == {"name": "accuracy", "value": 1.0}  # labels are its own answers
    assert call("evaluate", "--package", package, *flags) == 0
    assert json.loads(capsys.readouterr().out)["metric"]["value"] > 0.9
    assert call("evaluate", "--package", package, "--data", tmp_path, "--limit", 5) == 0
    shown = r"accuracy \d\.\d{4} \(5 examples\)\nmacro_f1 \d\.\d{4} \(5 examples\)\n"
    assert re.fullmatch(shown, capsys.readouterr().out)


def test_evaluate_writes_a_report(bundle_dir, package, tmp_path, capsys):
    shutil.copy(bundle_dir / "verification.jsonl", tmp_path / "dev.jsonl")
    report = tmp_path / "report"
    flags = ["--package", package, "--data", tmp_path, "--report", report]
    assert call("evaluate", *flags, "--against", bundle_dir, "--json", tmp_path / "out.json") == 0
    out = capsys.readouterr().out
    assert (
        "macro: precision" in out and "decided differently: " in out and f"report {report}" in out
    )
    files = {"report.html", "errors.csv", "confusion.csv", "changes.csv", "evaluation.json"}
    assert {path.name for path in report.iterdir()} == files
    result = json.loads((tmp_path / "out.json").read_text())
    assert json.loads((report / "evaluation.json").read_text()) == result
    # The bundle is right everywhere: its own answers are the labels.
    assert result["comparison"]["only_this_right"] == result["comparison"]["neither_right"] == 0
    rejects("--against goes with --report", "evaluate", *flags[:-2], "--against", bundle_dir)
    rejects(r"--report .*dev.jsonl: is a file", *("evaluate", *flags[:-1], tmp_path / "dev.jsonl"))


# --- Streams -------------------------------------------------------------------------------------


def test_output_closed_early_is_no_error(package, tmp_path):
    path = texts_file(tmp_path / "texts.txt", random_texts(20_000, longest=5))
    process = start("predict", "--package", package, "--input", path)
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def stream_growth(package: Path, lines: int) -> float:
    """Megabytes that predicting `lines` lines takes more at the end than after 5,000."""
    texts = [f"{text}\n" for text in random_texts(5000, longest=6)]
    process = start("predict", "--package", package, stdin=-1)

    def feed() -> None:
        for index in range(lines):
            process.stdin.write(texts[index % len(texts)])
        process.stdin.flush()
        late.wait()
        process.stdin.close()

    late = threading.Event()
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        # The last lines wait in buffers until standard input ends.
        for count in range(lines - 1000):
            line = process.stdout.readline()
            assert line, f"ended after {count} lines with code {process.wait()}"
            assert line.count("\t") == 2
            if count == 5000:
                early = resident_mb(process.pid)
        growth = resident_mb(process.pid) - early
    finally:
        late.set()
        feeder.join()
    rest, err = process.stdout.read(), process.stderr.read()
    process.wait()
    assert (process.returncode, err, rest.count("\n")) == (0, "", 1000)
    return growth


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("lines", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_predict_streams_at_constant_memory(lines, package):
    assert stream_growth(package, lines) < 60


# --- Signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "after"),
    [
        (signal.SIGINT, 130, "converting "),
        pytest.param(signal.SIGINT, 130, "verifying ", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, "converting ", marks=pytest.mark.slow),
    ],
)
def test_stopped_conversion_leaves_the_earlier_package(
    number, code, after, bundle_dir, package, tmp_path
):
    (tmp_path / "tmp").mkdir()
    shutil.copy(package, tmp_path / "x.tflite")
    before = fingerprint(tmp_path)
    arguments = ["--model", bundle_dir, "--output", tmp_path / "x.tflite", "--overwrite"]
    process = start("convert", *arguments, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    for line in process.stderr:
        if line.startswith(after):
            break
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert err.splitlines()[-1] == "interrupted"
        assert listing(tmp_path / "tmp") == []
    shutil.rmtree(tmp_path / "tmp")
    assert fingerprint(tmp_path) == before
    assert listing(tmp_path) == ["x.tflite"]
    assert unpack(tmp_path / "x.tflite").labels == LABELS
