"""The faults of a simulated phone: each happens once, in the run or push that was named, and passes."""

import re
import signal
import subprocess
import time

import pytest
from fixtures.devices import BRIEF, INPUTS, reconnect, wait
from simulators.phone import TMP, Fault

# What the harness relies on: `make test` runs the harness itself.
pytestmark = [pytest.mark.device, pytest.mark.slow]


def test_a_dropped_connection_looks_like_success(equipped, adb_server):
    phone, run = equipped(faults=[Fault("unplug_run", 0, 0.5)])
    done = run(BRIEF, INPUTS)
    # adb 29 takes an exit code that never came for 0.
    assert (done.returncode, done.stdout.count("count=")) == (0, 1)
    assert phone.events == [("unplug_run", 0)]
    wait(lambda: not phone.processes())
    assert adb_server.state(phone.address) == "offline"
    assert adb_server("-s", phone.address, "shell", "true").stderr == "error: device offline\n"
    reconnect(adb_server, phone)
    assert run(BRIEF, INPUTS).stdout.count("count=") == 2  # each fault happens once


def test_a_reboot_in_a_run(equipped, adb_server):
    phone, run = equipped(faults=[Fault("reboot", 1, 0.5)])
    boot_id = phone.root / "proc/sys/kernel/random/boot_id"
    before = boot_id.read_text()
    assert run(BRIEF, INPUTS).stdout.count("count=") == 2
    assert boot_id.read_text() == before
    assert run(BRIEF, INPUTS).stdout.count("count=") == 1
    assert boot_id.read_text() != before
    assert phone.events == [("reboot", 1)] and len(phone.runs) == 2
    reconnect(adb_server, phone)
    assert run(BRIEF, INPUTS).stdout.count("count=") == 2


def test_an_unauthorized_phone(equipped, adb_server):
    phone, run = equipped(faults=[Fault("unauthorized", 0, 2)])
    assert run(BRIEF, INPUTS).stdout.count("count=") == 1
    wait(lambda: adb_server.state(phone.address) == "unauthorized")
    refused = adb_server("-s", phone.address, "shell", "true")
    assert refused.stderr.startswith("error: device unauthorized.")
    reconnect(adb_server, phone)
    assert phone.events == [("unauthorized", 0)]


def test_an_offline_phone(equipped, adb_server):
    phone, _ = equipped(faults=[Fault("offline", 0, 3)])
    command = f"{TMP}/benchmark_model --graph={TMP}/m.tflite {BRIEF} {INPUTS}"
    begun = time.monotonic()
    process = subprocess.Popen(
        ["adb", "-s", phone.address, "shell", command],
        env=adb_server.environment,
        stdout=subprocess.PIPE,
    )
    wait(lambda: phone.daemon.mute)
    with pytest.raises(subprocess.TimeoutExpired):
        adb_server("-s", phone.address, "shell", "true", timeout=0.5)
    process.communicate(timeout=20)
    assert time.monotonic() - begun > 2.5
    reconnect(adb_server, phone)


def test_a_run_that_hangs_until_it_is_killed(equipped, adb_server):
    phone, _ = equipped(faults=[Fault("hang", 0)])
    command = f"{TMP}/benchmark_model --graph={TMP}/m.tflite {BRIEF} {INPUTS}"
    process = subprocess.Popen(
        ["adb", "-s", phone.address, "shell", command],
        env=adb_server.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "Initialized session" in line:
            break
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert adb_server("-s", phone.address, "shell", "pkill -9 benchmark_model").returncode == 0
    assert (process.wait(5), process.stdout.read()) == (128 + signal.SIGKILL, "")
    assert adb_server("-s", phone.address, "shell", "pkill benchmark_model").returncode == 1
    process.stdout.close()


def test_runs_that_go_wrong(equipped):
    phone, run = equipped(
        faults=[Fault("garbled", 0), Fault("wrong_abi", 1), Fault("hot", 2, seconds=1)]
    )
    garbled = run(BRIEF, INPUTS)
    assert garbled.returncode == 0
    assert len(re.findall(r"count=\d+ .* p95=\d+", garbled.stdout)) == 1
    done = run(BRIEF, INPUTS)
    message = "/system/bin/sh: ./benchmark_model: not executable: 64-bit ELF file\n"
    assert (done.returncode, done.stderr) == (126, message)
    assert (run(BRIEF, INPUTS).returncode, phone.temperature) == (0, 52)
    wait(lambda: phone.temperature == 30)
    assert phone.events == [("garbled", 0), ("wrong_abi", 1), ("hot", 2)]


def test_pushes_that_go_wrong(adb_server, connected, tmp_path):
    faults = [Fault("full", 0), Fault("unplug_push", 1, 0.3), Fault("slow", 2)]
    phone = connected(faults=faults)
    file = tmp_path / "file"
    file.write_bytes(bytes(90_000))
    push = ("-s", phone.address, "push", file, TMP)
    full = adb_server(*push)
    assert full.returncode == 1
    assert "remote write failed: No space left on device" in full.stdout + full.stderr
    dropped = adb_server(*push)
    assert dropped.returncode == 1 and "failed to copy" in dropped.stdout + dropped.stderr
    assert not (phone.tmp / "file").exists() and phone.pushes == []
    reconnect(adb_server, phone)
    begun = time.monotonic()
    assert adb_server(*push).returncode == 0
    assert time.monotonic() - begun > 1.5
    assert phone.pushes == [(f"{TMP}/file", 90_000)]
    assert phone.events == [("full", 0), ("unplug_push", 1), ("slow", 2)]
