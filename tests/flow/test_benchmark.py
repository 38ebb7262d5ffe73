"""The host benchmark: what is measured, recorded and shown. No test asserts a time."""

import ctypes
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures import commands

from sqb_tf.errors import InputError
from sqb_tflite.bench import latency_stats
from sqb_tflite.bench.host import cold_start, session
from sqb_tflite.bench.inputs import Text
from sqb_tflite.bench.plan import Plan
from sqb_tflite.bench.record import Result
from sqb_tflite.bench.reports import report
from sqb_tflite.runtime.runner import Runner

CONTRACT = ("package", "sha256", "recipe", "lowering", "device", "threads", "delegate")
CONTRACT += ("signature", "seq_length", "latency_ms", "init_ms", "peak_memory_mb")
TEXTS = Text([("a b c", None), ("a b", None), ("a b c d e f", None)], "three texts")


@pytest.fixture(scope="module")
def packages(converted, tmp_path_factory) -> list[str]:
    """A dynamic package and one of 16 tokens."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "dynamic.tflite").write_bytes(converted("float32"))
    (folder / "fixed.tflite").write_bytes(converted("float32", 16))
    return [str(folder / "dynamic.tflite"), str(folder / "fixed.tflite")]


@pytest.fixture(scope="module")
def records(packages) -> list[dict]:
    measured = session.measure(Plan(packages, [1, 2], [8], 3, TEXTS, each_text=True))
    return [record.to_json() for record in measured]


def test_every_measurement_has_a_record_with_the_contracts_keys(records):
    assert len(records) == 2 * 2 * 2  # packages x threads x (8 tokens, each text)
    for record in records:
        assert set(CONTRACT) <= set(record)
        assert set(record["latency_ms"]) >= {"min", "median", "mean", "p95", "std", "count"}
        assert record["init_ms"] > 0
        # The peak counts the pages of the file and of libraries, private memory does not.
        assert 0 < record["private_memory_mb"] < record["peak_memory_mb"]
        json.dumps(record)


def pages_in_memory(path: Path) -> int:
    """Pages of a file in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        flags = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), flags)
        del start  # it keeps the mapping
    assert not failed, os.strerror(ctypes.get_errno())
    return sum(flag & 1 for flag in flags)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's page cache and mincore")
def test_a_file_just_written_is_read_from_storage(tmp_path):
    path = tmp_path / "one.tflite"
    path.write_bytes(bytes(1 << 20))
    if subprocess.check_output(["stat", "-f", "-c", "%T", path], text=True).strip() == "tmpfs":
        pytest.skip(f"{tmp_path} is in memory, where no file leaves it")
    assert pages_in_memory(path) == (1 << 20) // mmap.PAGESIZE
    cold_start.evict_from_page_cache(path)
    assert pages_in_memory(path) == 0
    cold_start.evict_from_page_cache(tmp_path / "absent.tflite")  # left to the caller that opens it


def test_counts_lengths_and_padding_are_recorded(records, packages):
    fixed_length = [r for r in records if r["seq_length"] == 8]
    assert all(r["latency_ms"]["count"] == 3 and r["timed"] == "invoke" for r in fixed_length)
    assert {(r["package"], r["padded_to"]) for r in fixed_length} == {
        (packages[0], None),
        (packages[1], 16),
    }
    runner = Runner(packages[0])
    tokens = [i["input_word_ids"].shape[1] for i in runner.inputs(TEXTS.examples)]
    for record in (r for r in records if r["seq_length"] is None):
        assert record["timed"] == "call" and record["latency_ms"]["count"] == len(tokens)
        assert record["samples"]["tokens"] == tokens
        assert record["lengths"]["min"] == min(tokens) and record["lengths"]["max"] == max(tokens)


def test_statistics_by_hand():
    latency = latency_stats.summarize_samples([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (latency.min, latency.median, latency.mean, latency.count) == (1, 3, 4, 5)
    assert latency.std == pytest.approx(np.sqrt(10), abs=1e-4)  # (9+4+1+0+36)/5
    assert latency.p95 == pytest.approx(8.8)  # 0.8 of the way from 4 to 10


def test_a_measured_result_makes_a_report(records, tmp_path):
    result = {"records": records, "failures": [], "missing": []}
    report.write(tmp_path / "report", Result.from_json(result))
    written = json.loads((tmp_path / "report" / "records.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(result))
    assert Result.read(tmp_path / "report").to_json() == Result.from_json(written).to_json()
    for name in ("table.md", "latency.png", "real_text.png", "report.html"):
        assert (tmp_path / "report" / name).stat().st_size > 0


def test_a_length_beyond_every_package_is_named(packages):
    with pytest.raises(InputError, match="length 999"):
        session.measure(Plan(packages, [1], [999], 1, TEXTS))


@pytest.mark.parametrize(
    ("flags", "culprit"),
    [
        (["--package", "missing.tflite"], "missing.tflite"),
        (["--package", "x.tflite", "--lengths", "0"], "--lengths 0"),
        (["--package", "x.tflite", "--threads", "none"], "--threads none"),
    ],
)
def test_bad_flags_are_one_line_and_exit_2(flags, culprit):
    done = commands.run("benchmark", *flags)
    assert done.returncode == 2 and culprit in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
