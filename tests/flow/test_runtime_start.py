"""benchmarks/runtime_start.py: every figure is measured, in a very short run. No test asserts a time."""

import json

import pytest
from fixtures.commands import start_python
from fixtures.paths import REPOSITORY

from benchmarks import runtime_start

SCRIPT = REPOSITORY / "benchmarks" / "runtime_start.py"


@pytest.mark.slow
def test_every_figure_is_measured(converted, tmp_path):
    package, report = tmp_path / "tiny.tflite", tmp_path / "report.json"
    package.write_bytes(converted("int8"))
    flags = ["--package", package, "--lines", 20, "--texts", 2, "--rounds", 1, "--json", report]
    # A venv of one file: its size is that of its site-packages.
    site_packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    site_packages.mkdir(parents=True)
    (site_packages / "module.py").write_bytes(bytes(3_000_000))
    process = start_python(str(SCRIPT), *map(str, flags), "--venv", str(tmp_path / "venv"))
    out, err = process.communicate()
    assert process.returncode == 0, err
    figures = json.loads(report.read_text())["figures"]["now"]
    assert figures["install_mb"] == 3
    for name in set(runtime_start.ROWS) - {"install_mb", "text_overhead_ms"}:
        assert figures[name] > 0, name
    assert figures["text_overhead_ms"] == figures["text_ms"] - figures["interpreter_ms"]
    for title in runtime_start.ROWS.values():
        assert title in out


def test_lines_are_short_and_as_many_as_requested(tmp_path):
    path = tmp_path / "lines.txt"
    runtime_start.short_lines(path, 7001)  # more than the demo has
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7001
    assert all(0 < len(line.split()) <= runtime_start.WORDS for line in lines)


def test_the_speed_up_is_that_of_the_lines():
    figures = {"now": {"lines_per_s": 6000.0}, "previous": {"lines_per_s": 1500.0}}
    shown = runtime_start.table({"figures": figures, "lines_speed_up": 4.0})
    assert "| tools/predict.py, lines per second |  | 6,000 | 1,500 |" in shown
    assert shown.endswith("4.0x (at least 3x).")
