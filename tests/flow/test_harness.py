"""The harness on simulated devices: the real adb client, phones and boards, a tool that really runs.

No test asserts a time; `benchmarks/harness.py` measures the overhead of the harness.
"""

import json
import os
import re
import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest
from fixtures import commands
from fixtures.models import tiny_bert
from simulators import ssh
from simulators.harness import TEXT, measure, quick
from simulators.phone import Fault, tool

from sqb_tf.errors import InputError
from sqb_tflite.bench import baselines
from sqb_tflite.bench.devices import fleet, targets
from sqb_tflite.bench.devices.journal import Journal
from sqb_tflite.bench.devices.targets import Target

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("surroundings")]


def test_records_have_the_contracts_keys_and_the_device(connected, packages):
    phone = connected()
    plan = quick(packages, threads=[1, 2], lengths=[8, 16], repeats=2, profile=True)
    result = measure(phone, plan)
    assert not result["failures"] and not result["missing"]
    assert len(result["records"]) == 3 * 2 * 2
    for record in result["records"]:
        assert record["device"] == phone.address and record["recipe"] in ("float32", "int8")
        assert record["hardware"]["name"] == "Google Pixel 3 (test device)"
        assert record["hardware"]["clusters"] == [[4, 1766], [4, 2803]]
        assert record["hardware"]["os"] == "Android 12 (API 31)"
        times = record["latency_ms"]
        assert 0 < times["min"] <= times["median"] <= times["p95"] and times["count"] >= 4
        assert len(record["samples_ms"]) == 2 and len(record["ci95_ms"]) == 2
        assert record["init_ms"] > 0 and record["peak_memory_mb"] > 0
        assert record["answer_difference"] == 0.0 and record["private_memory_mb"] > 0
        assert record["delegated"]["extent"] == "partial"
        assert [s["temperature_c"] for s in record["states"]] == [30.0] * 4
        assert record["throttled"] == [] and record["tool"]["mode"] == "binary"
        profiled = {operation["type"] for operation in record["profile"]}
        assert {"EMBEDDING_LOOKUP", "Fully Connected (NC, F32)"} <= profiled
        assert not any("Delegate" in operation for operation in profiled)
        taken = record["delegated"]  # Android's builds print nodes too
        assert (
            taken["nodes"] == taken["total"] - taken["outside"]
            and 0 < taken["outside_percent"] < 100
        )
        json.dumps(record)
    padded = {(Path(r["package"]).stem, r["seq_length"]): r["padded_to"] for r in result["records"]}
    assert padded["fixed", 8] == 16 and padded["fixed", 16] is None and padded["int8", 8] is None
    # Two starts per measurement, and one for the operators, whose time is in no figure.
    assert len(phone.runs) == 3 * 12
    # With all events of a run, however many: 1024 fit otherwise.
    whole = "--enable_op_profiling=true --allow_dynamic_profiling_buffer_increase=true"
    assert [run.endswith(whole) for run in phone.runs] == [False] * 24 + [True] * 12


def test_the_tool_gets_real_ids_at_the_length(connected, packages):
    phone = connected()
    measure(phone, quick(packages[1:2], lengths=[8]))
    (run,) = phone.runs
    assert "--input_layer_shape=1,8:1,8:1,8" in run and "value_range" not in run
    files = re.findall(r"(input_\w+):(\S+?\.ids)", run)
    contents = {
        name: (phone.tmp / "squeezebert-mobile" / path).read_bytes() for name, path in files
    }
    assert {len(content) for content in contents.values()} == {4 * 8}
    from sqb_tflite.bench.inputs import encode_length
    from sqb_tflite.runtime.runner import Runner

    expected = encode_length(Runner(packages[1]), TEXT, 8)
    for name, content in contents.items():
        assert content == expected[name].astype("<i4").tobytes(), name


def test_no_file_is_copied_twice(connected, packages):
    phone = connected()
    plan = quick(packages, threads=[1, 2], lengths=[8, 16])
    measure(phone, plan)
    pushed = list(phone.pushes)
    assert len(pushed) == len(set(pushed)) and len(pushed) >= 3 + 1 + 4
    measure(phone, plan)
    assert phone.pushes == pushed


@pytest.mark.slow
@pytest.mark.parametrize("shell_v2", [True, False])
def test_old_phones_have_no_exit_codes(connected, packages, shell_v2):
    phone = connected(shell_v2=shell_v2)
    phone.faults = [Fault("wrong_abi", 1)]
    result = measure(phone, quick(packages[:2]))
    assert len(result["records"]) == 1
    assert [f["cause"] for f in result["failures"]] == ["wrong ABI"]


@pytest.mark.slow
def test_a_run_waits_for_a_hot_phone_and_marks_a_throttled_one(connected, packages):
    phone = connected()
    phone.temperature = 48.0
    threading.Timer(1.0, setattr, (phone, "temperature", 35.0)).start()
    (record,) = measure(phone, quick(packages[:1], cool_down_s=30.0))["records"]
    assert record["states"][0]["temperature_c"] == 35.0 and record["throttled"] == []
    phone.temperature = 48.0
    (record,) = measure(phone, quick(packages[:1], max_temperature_c=None))["records"]
    assert "thermal status 2 (moderate)" in record["throttled"]
    assert "cpu4 limited to 1920 of 2803 MHz" in record["throttled"]


@pytest.mark.slow
def test_repeats_end_when_the_median_is_precise_or_the_budget_is_spent(connected, packages):
    phone = connected()
    loose = quick(packages[:1], repeats=8, precision=0.99)
    assert len(measure(phone, loose)["records"][0]["samples_ms"]) == 3

    class DriftingJournal(Journal):
        """Every repeat takes longer than the one before."""

        def add_repeat(self, key, repeat):
            repeat["median"] += 10 * len(self.repeats(key))
            super().add_repeat(key, repeat)

    tight = quick(packages[:1], repeats=4, precision=0.01)
    assert len(measure(phone, tight, DriftingJournal())["records"][0]["samples_ms"]) == 4
    spent = quick(packages[:1], repeats=4, precision=0.01, budget_s=0.0)
    result = measure(phone, spent, DriftingJournal())
    assert len(result["records"][0]["samples_ms"]) == 1 and result["missing"] == []


@pytest.mark.slow
def test_cores_and_delegates(connected, packages):
    phone = connected()
    plan = quick(packages[:1], core_masks=["f0", "0f"], delegates=["xnnpack", "none"])
    result = measure(phone, plan)
    assert Counter((r["core_mask"], r["delegate"]) for r in result["records"]) == {
        (mask, delegate): 1 for mask in ("f0", "0f") for delegate in ("xnnpack", "none")
    }
    assert Counter(r.split()[1] for r in phone.runs if r.startswith("taskset")) in (
        {"f0": 2, "0f": 2},
        {},
    )
    (failure,) = measure(phone, quick(packages[:1], delegates=["gpu"]))["failures"]
    assert failure["cause"] in ("failed", "not delegated") and "GPU" in failure["message"].upper()


def test_an_app_is_installed_once_and_read_from_the_log(connected, packages, tmp_path):
    phone = connected()
    app = tool(tmp_path, "benchmark_model.apk")
    for _ in range(2):
        result = measure(phone, quick(packages[:2]), tools=[str(app)])
        assert not result["failures"], result["failures"]
        assert [r["tool"]["mode"] for r in result["records"]] == ["app", "app"]
    assert sum(path.endswith(".apk") for path, _ in phone.pushes) <= 1
    phone.faults = [Fault("hang", len(phone.runs))]
    (failure,) = measure(phone, quick(packages[:1], timeout_s=3.0), tools=[str(app)])["failures"]
    assert failure["cause"] == "hung"


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["old", "litert"])
def test_other_builds_of_the_tool(connected, packages, variant):
    phone = connected(environment={"BENCHMARK_VARIANT": variant})
    result = measure(phone, quick([packages[0], packages[2]], lengths=[16]))
    if variant == "old":  # it prints no median, and none is invented
        assert [r["latency_ms"]["median"] for r in result["records"]] == [None, None]
        assert all(r["latency_ms"]["mean"] > 0 for r in result["records"])
        assert not any("result_file_path" in run for run in phone.runs)
    else:  # it takes neither lengths nor files
        assert [Path(r["package"]).stem for r in result["records"]] == ["fixed"]
        assert [f["cause"] for f in result["failures"]] == ["unsupported"]
        assert result["records"][0]["tool"]["name"] == "benchmark_model (litert)"


def test_this_machine_as_a_board(packages, tmp_path):
    binary = tool(tmp_path)
    os.utime(binary, (1.6e9, 1.6e9))
    options = fleet.ConnectionOptions([str(binary)])
    result = fleet.measure([Target("local", "local")], quick(packages[:2]), options).to_json()
    assert len(result["records"]) == 2 and not result["failures"]
    assert result["records"][0]["hardware"]["os"].startswith("Linux")
    assert result["records"][0]["tool"]["date"] == "2020-09-13"
    for record in result["records"]:
        assert record["answer_difference"] == 0.0  # the stand-in runs our library
        assert 0 < record["private_memory_mb"] < record["total_memory_mb"]
        assert record["hardware"]["load_average"] >= 0
    # A phone keeps its copies; here they would double the packages on one disk.
    assert list((tmp_path / "cache" / "squeezebert-mobile").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("zero", r"its outputs differ by 100\.0% from this machine's .* explain (50|1)%"),
        ("nan", "probabilities has values that are not finite"),
        ("short", "its outputs have 11 bytes, not 12"),
    ],
)
def test_wrong_answers_are_a_failure_however_fast(packages, tmp_path, monkeypatch, kind, reason):
    monkeypatch.setenv("BENCHMARK_ANSWERS", kind)
    options = fleet.ConnectionOptions([str(tool(tmp_path))])
    result = fleet.measure([Target("local", "local")], quick(packages[:1]), options)
    (failure,) = result.failures
    assert failure.cause == "wrong answers" and re.search(reason, failure.message)
    assert result.records == [] and len(result.missing) == 1


@pytest.mark.slow
def test_a_board_over_ssh(packages, tmp_path):
    binary = tool(tmp_path)
    try:
        with ssh.server(tmp_path / "ssh") as (name, config):
            options = fleet.ConnectionOptions([str(binary)], config)
            board = targets.find_targets([name])
            result = fleet.measure(board, quick(packages[:2]), options).to_json()
            assert len(result["records"]) == 2 and not result["failures"]
            assert {record["device"] for record in result["records"]} == {name}
            assert {record["answer_difference"] for record in result["records"]} == {0.0}
        (failure,) = fleet.measure(board, quick(packages[:1]), options).failures
        assert failure.cause == "connection lost" and "refused" in failure.message
    finally:
        shutil.rmtree(f"/tmp/squeezebert-mobile-{os.getuid()}", ignore_errors=True)


def test_what_device_names_mean(connected):
    first = connected(properties={"ro.product.model": "One"})
    second = connected(properties={"ro.product.model": "Two"})
    names = [target.name for target in targets.find_targets(["all"])]
    assert names[-1] == "host" and set(names) >= {first.address, second.address}
    assert [t.name for t in targets.find_targets(["two", second.address])] == [second.address]
    assert targets.find_targets(["ssh:pi@board:2222"]) == [Target("ssh", "ssh:pi@board:2222")]
    with pytest.raises(InputError, match="--device moon: expected host, local, adb"):
        targets.find_targets(["moon"])


def test_a_download_is_kept_with_its_hash_and_no_network_is_an_error(
    connected,
    packages,
    monkeypatch,
    tmp_path,
):
    phone = connected()
    measure(phone, quick(packages[:1]))
    cached = tmp_path / "cache" / "squeezebert-mobile"
    source = json.loads((cached / "android_aarch64_benchmark_model.json").read_text())
    assert (
        source["url"].endswith("/android_aarch64_benchmark_model") and len(source["sha256"]) == 64
    )
    monkeypatch.setenv("SQB_TOOL_URL", "http://127.0.0.1:9")
    assert measure(phone, quick(packages[:1]))["records"]  # from the cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    result = measure(phone, quick(packages[:1]))
    (failure,) = result["failures"]
    assert failure["cause"] == "no tool" and "--tool FILE" in failure["message"]
    assert not list((tmp_path / "empty").rglob("android*"))


def test_phones_and_this_machine_in_one_command(
    connected,
    packages,
    tmp_path,
    monkeypatch,
):
    """One command for phones and this machine, with small baselines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(baselines, "BASELINES", dict.fromkeys(baselines.BASELINES, tiny_bert))
    monkeypatch.setattr(baselines, "_VOCAB_SIZE", 50)
    connected(), connected()
    flags = [
        "--package",
        *packages[:2],
        "--device",
        "all",
        "--threads",
        "1,4",
        "--lengths",
        "8,16",
    ]
    flags += ["--baselines", "bert-base,mobilebert", "--report", "out/", "--runs", 2]
    flags += ["--repeats", 1, "--min-seconds", 0.01, "--json", "out.json"]
    assert commands.call("benchmark", *flags) == 0
    result = json.loads(Path("out.json").read_text())
    assert len(result["records"]) == 3 * 6 * 2 * 2 and not result["missing"]
    assert {r["baseline"] for r in result["records"]} == {None, "bert-base", "mobilebert"}
    assert {p.name for p in Path("out").iterdir()} >= {"records.json", "table.md", "report.html"}


@pytest.mark.parametrize(
    ("flags", "culprit"),
    [
        (["--tool", "missing"], "--tool missing"),
        (["--delegates", "npu"], "--delegates npu"),
        (["--core-masks", "xyz"], "--core-masks xyz"),
        (["--precision", "300%"], "--confidence-width 300%"),
        (["--repeats", "0"], "repeats 0"),
        (["--device", "ssh:a b"], "ssh:a b"),
    ],
)
def test_bad_flags_are_one_line_and_exit_2(packages, flags, culprit):
    done = commands.run("benchmark", "--package", packages[0], *flags)
    assert culprit in commands.error_line(done)
