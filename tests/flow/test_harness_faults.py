"""The harness under faults: phones that misbehave or disconnect, a tool that hangs, Ctrl-C."""

import hashlib
import json
import signal
import subprocess
from collections import Counter

import pytest
from fixtures import commands
from simulators.harness import measure, quick
from simulators.phone import Fault, Phone, tool

from sqb_tflite.bench.devices import fleet, shells
from sqb_tflite.bench.devices.journal import FILE, Journal
from sqb_tflite.bench.devices.targets import Target
from sqb_tflite.bench.plan import Plan

pytestmark = [pytest.mark.device, pytest.mark.slow, pytest.mark.usefixtures("surroundings")]
# {fault of the phone: the cause that is reported}
CAUSES = {
    "unauthorized": "unauthorized",
    "offline": "offline",
    "unplug_push": "unplugged",
    "unplug_run": "unplugged",
    "hang": "hung",
    "full": "storage full",
    "slow": "slow link",
    "garbled": "garbled output",
    "wrong_abi": "wrong ABI",
    "hot": "too hot",
    "reboot": "rebooted",
}


def test_a_hundred_runs_with_every_fault(
    connected,
    packages,
    tmp_path,
    monkeypatch,
):
    """Every fault is reported once, with its cause; a second run measures only what is missing."""
    monkeypatch.setattr(shells, "MIN_PUSH_S", 2.0)  # 60 kB take 3 s at 20 kB/s
    phone = connected()
    plan = quick(packages[:2], threads=[1, 2], lengths=[*range(5, 30)], timeout_s=3.0)
    journal = Journal(tmp_path / FILE)
    kinds = ("unauthorized", "offline", "unplug_run", "hang", "garbled", "wrong_abi", "hot")
    kinds += ("reboot",)
    # A device counts as offline only after the tool's time-out.
    seconds = {"offline": 3.0 + shells.PROBE_S + 4.0}
    in_runs = [Fault(kind, 4 + 5 * i, seconds.get(kind, 1.5)) for i, kind in enumerate(kinds)]
    in_runs += [Fault(kind, 50 + 5 * i, 1.5) for i, kind in enumerate(kinds[2:])]
    # The first push is the tool, then come a package, its inputs, and so on.
    in_pushes = [Fault("full", 1), Fault("slow", 2), Fault("unplug_push", 4, 1.5)]
    in_pushes += [Fault("full", 9), Fault("unplug_push", 14, 1.5), Fault("full", 19)]
    phone.faults = in_runs + in_pushes
    assert len(phone.faults) == 20

    result = measure(phone, plan, journal)
    assert Counter(CAUSES[kind] for kind, _ in phone.events) == Counter(
        CAUSES[fault.kind] for fault in phone.faults
    )
    assert Counter(f["cause"] for f in result["failures"]) == Counter(
        CAUSES[fault.kind] for fault in phone.faults
    )
    lines = {
        tuple(sorted(measurement.to_dict().items(), key=str))
        for measurement in plan.measurements(limits(plan))
    }
    failed = {measurement_key(failure) for failure in result["failures"]}
    measured = {measurement_key(record) for record in result["records"]}
    assert len(lines) == 100 and len(failed) == 20 and len(measured) == 80
    assert failed | measured == lines == {measurement_key(m) for m in result["missing"]} | measured
    assert journal.path.exists()

    before = len(phone.runs)
    again = measure(phone, plan, Journal(journal.path))
    assert len(phone.runs) == before + 20
    assert {measurement_key(record) for record in again["records"]} == lines
    kept = {measurement_key(r): r["latency_ms"] for r in again["records"]}
    assert all(kept[measurement_key(r)] == r["latency_ms"] for r in result["records"])
    assert again["missing"] == [] and again["failures"] == result["failures"]
    assert not journal.path.exists()


def limits(plan: Plan) -> dict[str, int]:
    return dict.fromkeys(plan.packages, 512)


def measurement_key(item: dict) -> tuple:
    """The measurement of a record, a failure or a missing entry, as a hashable value."""
    keys = ("package", "threads", "seq_length", "delegate", "core_mask")
    return tuple(sorted(((key, item[key]) for key in keys), key=str))


def test_a_device_that_does_not_come_back_stops_no_other(connected, packages):
    gone, good = connected(), connected(properties={"ro.product.model": "Other (test device)"})
    gone.faults = [Fault("unplug_run", 1, 60)]
    plan = quick(packages, lengths=[8, 16], reconnect_s=2.0)
    devices = [Target("adb", gone.address), Target("adb", good.address)]
    result = fleet.measure(devices, plan, fleet.ConnectionOptions()).to_json()
    assert [f["cause"] for f in result["failures"]] == ["unplugged"]
    by_device = Counter(record["device"] for record in result["records"])
    assert by_device == {gone.address: 1, good.address: 6}
    assert {m["device"] for m in result["missing"]} == {gone.address} and len(
        result["missing"]
    ) == 5


def test_devices_that_cannot_be_used_are_one_line_each(
    connected,
    packages,
    adb_server,
    tmp_path,
):
    good = connected()
    with Phone(tmp_path / "locked") as locked:
        locked.unauthorize(60)
        adb_server("connect", locked.address)
        done = commands.run(
            *["benchmark", "--package", packages[0], "--device", "adb", "--lengths", 8],
            *["--runs", 2, "--repeats", 1, "--min-seconds", 0.01, "--json", tmp_path / "o.json"],
        )
        adb_server("disconnect", locked.address)
    result = json.loads((tmp_path / "o.json").read_text())
    assert done.returncode == 1, done.stderr
    assert [r["device"] for r in result["records"]] == [good.address]
    (failure,) = result["failures"]
    assert failure["cause"] == "unauthorized" and failure["device"] == locked.address
    assert "USB debugging" in failure["message"] and failure["package"] is None
    reports = [text for text in done.stderr.splitlines() if "unauthorized" in text]
    assert len(reports) == 1, done.stderr


def test_a_tool_that_hangs_here_is_killed_and_nothing_else(packages, tmp_path):
    binary = tmp_path / "benchmark_model"
    text = tool(tmp_path).read_text()
    hanging = "import sys, time\nif '--help' not in sys.argv: time.sleep(60)\n"
    head, rest = text.split("\n", 1)
    binary.write_text(f"{head}\n{hanging}{rest}")
    plan = quick(packages[:1], timeout_s=2.0)
    options = fleet.ConnectionOptions([str(binary)])
    (failure,) = fleet.measure([Target("local", "local")], plan, options).failures
    assert failure.cause == "hung" and "2 s" in failure.message
    # By this binary's hash: another worker's tool may be running.
    name = f"benchmark_model-{hashlib.sha256(binary.read_bytes()).hexdigest()[:16]}"
    running = subprocess.run(
        ["pgrep", "-f", f"[{name[0]}]{name[1:]}"], capture_output=True, text=True
    )
    assert running.stdout == ""


def test_an_interrupted_measurement_resumes(connected, packages, tmp_path):
    phone = connected()
    flags = ["--package", *packages[:2], "--device", phone.address, "--lengths", "8,12,16"]
    flags += ["--runs", 2, "--repeats", 1, "--min-seconds", 0.01, "--report", tmp_path / "report"]
    process = commands.start("benchmark", *flags)
    journal = tmp_path / "report" / FILE
    while not journal.exists() or journal.read_text().count("\n") < 2:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in error
    # The screen setting is restored.
    setting = phone.folder / "system" / "setting.global.stay_on_while_plugged_in"
    assert setting.read_text() == "0\n"
    done = journal.read_text().count("\n")
    before = len(phone.runs)
    again = commands.run("benchmark", *flags)
    assert again.returncode == 0, again.stderr
    assert len(phone.runs) - before == 6 - done
    assert len(json.loads((tmp_path / "report" / "records.json").read_text())["records"]) == 6
    assert not journal.exists()
