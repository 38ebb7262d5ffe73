"""TensorFlow's iOS benchmark app: its parameters, and its results read from the screen or the console."""

import json
from pathlib import Path

import pytest
from fixtures import commands

from sqb_tf.errors import InputError
from sqb_tflite.bench.devices import ios_results

# As `BenchmarkViewController.mm` writes it, with the blank after Min's and Max's unit.
SCREEN = """Startup latency: 12.345 ms

Inference:
 - Num runs: 50
 - Average: 13.5 ms
 - Min: 13.1 ms 
 - Max: 15.25 ms 
 - Std deviation: 0.4 ms

Warmup:
 - Num runs: 1
 - Average: 20.5 ms
 - Min: 20.5 ms 
 - Max: 20.5 ms 
 - Std deviation: 0 ms
"""  # noqa: W291
INFERENCE = "Inference (avg): 13500"
LIMITS = "iterations and at least 1 seconds but terminate if exceeding 150 seconds."
CONSOLE = f"""2026-11-25 10:00:00.123 TFLiteBenchmark[512:1] app started
INFO: Initialized session in 12.345ms.
INFO: Running benchmark for at least 1 {LIMITS}
INFO: count=1 curr=20500
INFO: Running benchmark for at least 50 {LIMITS}
INFO: count=50 first=13200 curr=13300 min=13100 max=15250 avg=13500 std=400 p5=13110 median=13400 p95=14000
INFO: Inference timings in us: Init: 12345, First inference: 20500, Warmup (avg): 20500, {INFERENCE}
"""


@pytest.fixture
def package(converted, tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.tflite").write_bytes(converted("int8"))
    return "app.tflite"


def test_parameters_are_what_the_app_reads(package):
    assert commands.run("benchmark", "ios", "--package", package, "--length", 12).returncode == 0
    parameters = json.loads(Path("benchmark_params.json").read_text())
    assert all(isinstance(value, str) for value in parameters.values())
    assert (
        parameters["graph"] == "app.tflite" and parameters["input_layer_shape"] == "1,12:1,12:1,12"
    )
    assert set(parameters["input_layer"].split(",")) == {
        "input_word_ids",
        "input_mask",
        "input_type_ids",
    }
    ranges = dict(item.split(",", 1) for item in parameters["input_layer_value_range"].split(":"))
    assert ranges["input_mask"] == "1,1" and ranges["input_type_ids"] == "0,0"
    low, high = map(int, ranges["input_word_ids"].split(","))
    from sqb_tflite.runtime.runner import Runner

    assert 0 < low < high < len(Runner(package).package.vocabulary)


@pytest.mark.parametrize(("text", "median"), [(SCREEN, None), (CONSOLE, 13.4)])
def test_results_become_a_record(package, text, median):
    commands.run("benchmark", "ios", "--package", package, "--length", 12, "--threads", 2)
    Path("log.txt").write_text(text)
    flags = ["ios", "--package", package, "--log", "log.txt", "--phone", "iPhone 15 Pro"]
    done = commands.run("benchmark", *flags, "--report", "out", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(Path("out.json").read_text())["records"]
    assert record["device"] == "ios:iPhone 15 Pro" and record["threads"] == 2
    assert record["seq_length"] == 12 and record["recipe"] == "int8"
    times = record["latency_ms"]
    assert times["median"] == median and times["mean"] == 13.5 and times["count"] == 50
    assert times["min"] == 13.1 and times["std"] == 0.4
    assert record["init_ms"] == 12.345
    assert "iPhone 15 Pro" in done.stdout and ("mean 13.50" in done.stdout) == (median is None)


def test_reports_of_several_devices_become_one(package):
    commands.run("benchmark", "ios", "--package", package, "--length", 12)
    Path("log.txt").write_text(CONSOLE)
    for phone in ("iPhone 15 Pro", "iPhone 12"):
        flags = ["ios", "--package", package, "--log", "log.txt", "--phone", phone]
        commands.run("benchmark", *flags, "--report", phone)
    results = ["iPhone 15 Pro/records.json", "iPhone 12/records.json"]
    done = commands.run("benchmark", "report", *results, "--report", "all")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(Path("all/records.json").read_text())["records"]) == 2
    assert commands.run("benchmark", "compare", results[0], results[0]).returncode == 0
    apart = commands.run("benchmark", "compare", *results)
    assert "no measurement in common" in commands.error_line(apart)


@pytest.mark.parametrize(
    ("damage", "culprit"),
    [
        (lambda text: text.replace("Average", "Averege"), "no mean"),
        (lambda text: "", "no result"),
        (lambda text: text.replace("Inference:", "Inferenz:"), "no count, mean, min, max, std"),
    ],
)
def test_damaged_results_are_named(package, damage, culprit):
    commands.run("benchmark", "ios", "--package", package, "--length", 12)
    Path("log.txt").write_text(damage(SCREEN))
    with pytest.raises(InputError, match=f"log.txt: {culprit}"):
        ios_results.read_record("log.txt", "benchmark_params.json", package, "iPhone", "")


def test_parameters_of_another_package_are_refused(package):
    commands.run("benchmark", "ios", "--package", package, "--length", 12)
    Path("other.tflite").write_bytes(Path(package).read_bytes())
    Path("log.txt").write_text(SCREEN)
    with pytest.raises(InputError, match=r"it ran app\.tflite: expected other\.tflite"):
        ios_results.read_record("log.txt", "benchmark_params.json", "other.tflite", "iPhone", "")
    with pytest.raises(InputError, match="nothing"):
        ios_results.read_record("log.txt", "nothing.json", package, "iPhone", "")
    with pytest.raises(InputError, match="--phone"):
        ios_results.read_record("log.txt", "benchmark_params.json", package, "", "")
