"""The simulated phone through the real `adb` client: shells, files, what it says of itself, the app."""

import os
import re
import signal
import subprocess

import pytest
from fixtures.devices import BRIEF, INPUTS, reconnect, wait
from simulators.phone import TMP, tool

# What the harness relies on: `make test` runs the harness itself.
pytestmark = [pytest.mark.device, pytest.mark.slow]

ACTIVITY = "org.tensorflow.lite.benchmark/.BenchmarkModelActivity"


def test_a_phone_is_listed_with_its_model(adb_server, connected):
    phone = connected(properties={"ro.product.device": "crosshatch"})
    lines = adb_server("devices", "-l").stdout
    assert re.search(rf"^{phone.address}\s+device product:blueline", lines, re.M)
    assert "model:Pixel_3__test_device_ device:crosshatch" in lines
    features = adb_server("-s", phone.address, "features").stdout.split()
    assert features == ["shell_v2", "cmd", "stat_v2"]


def test_a_shell_has_exit_codes_and_two_outputs(adb_server, connected):
    shell = ("-s", connected().address, "shell")
    done = adb_server(*shell, "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert adb_server(*shell, "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert adb_server(*shell, "nothing-of-that-name").returncode == 127


def test_an_old_shell_has_neither(adb_server, connected):
    phone = connected(shell_v2=False)
    assert adb_server("-s", phone.address, "features").stdout == ""
    command = [*("adb", "-s", phone.address), *("shell", "echo out; echo err >&2; exit 7")]
    done = subprocess.run(command, env=adb_server.environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"out\r\nerr\r\n")


def test_a_shell_reads_its_input(adb_server, connected):
    command = ["adb", "-s", connected().address, "shell", "cat; echo end"]
    done = subprocess.run(
        command, env=adb_server.environment, input=b"x\n" * 9, capture_output=True
    )
    assert done.stdout == b"x\n" * 9 + b"end\n"


@pytest.mark.parametrize("shell_v2", [True, False])
def test_files_arrive_and_return_whole_while_a_shell_runs(
    adb_server,
    connected,
    tmp_path,
    shell_v2,
):
    phone = connected(shell_v2=shell_v2)
    adb = ("-s", phone.address)
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(5_000_000))
    there.chmod(0o755)
    shell = subprocess.Popen(
        ["adb", *adb, "shell", "head -c 10"],  # without shell_v2 the input has no end
        env=adb_server.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert adb_server(*adb, "push", there, f"{TMP}/new/folder/file").returncode == 0
    assert phone.pushes == [(f"{TMP}/new/folder/file", 5_000_000)]
    assert (phone.tmp / "new/folder/file").read_bytes() == there.read_bytes()
    assert os.access(phone.tmp / "new/folder/file", os.X_OK)
    assert adb_server(*adb, "pull", f"{TMP}/new/folder/file", back).returncode == 0
    assert back.read_bytes() == there.read_bytes()
    assert adb_server(*adb, "pull", f"{TMP}/new", tmp_path / "all").returncode == 0
    assert (tmp_path / "all/folder/file").read_bytes() == there.read_bytes()
    assert adb_server(*adb, "pull", f"{TMP}/none", back).returncode == 1
    assert shell.communicate(b"still here")[0] == b"still here"


def test_how_a_phone_describes_itself(adb_server, connected):
    phone = connected(serial_name="A1", properties={"ro.soc.model": "Tensor [G1]"})

    def ask(command: str) -> str:
        return adb_server("-s", phone.address, "shell", command).stdout

    assert "[ro.product.model]: [Pixel 3 (test device)]\n" in ask("getprop")
    assert ask("getprop ro.serialno") == "A1\n"
    assert ask("getprop ro.soc.model") == "Tensor [G1]\n"
    assert ask("getprop ro.none") == "\n"
    assert "mWakefulness=Awake" in ask("dumpsys power")
    assert ask("cat /sys/devices/system/cpu/possible") == "0-7\n"
    assert ask("cat /proc/cpuinfo").count("processor\t:") == 8
    assert ask(f"cd {TMP} && pwd") == f"{TMP}\n"
    assert ask("taskset f0 echo pinned") == "pinned\n"
    assert adb_server("-s", phone.address, "shell", "taskset xy echo").returncode == 1


def test_a_hot_phone_slows_down(adb_server, connected):
    phone = connected()
    clock = "/sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq"
    command = f"cat {clock} /sys/class/thermal/thermal_zone0/temp; dumpsys thermalservice"
    phone.temperature = 46.5
    hot = adb_server("-s", phone.address, "shell", command).stdout
    assert hot.startswith("1920000\n46500\n") and "Thermal Status: 2" in hot
    assert "temperature: 465" in adb_server("-s", phone.address, "shell", "dumpsys battery").stdout
    phone.temperature = 30
    cool = adb_server("-s", phone.address, "shell", command).stdout
    assert cool.startswith("2803200\n30000\n") and "Thermal Status: 0" in cool


def test_a_reboot(adb_server, connected):
    phone = connected()
    shell = ("-s", phone.address, "shell", f"cat /proc/sys/kernel/random/boot_id {TMP}/kept")
    (phone.tmp / "kept").write_text("kept\n")
    before = adb_server(*shell).stdout
    adb_server("-s", phone.address, "reboot")
    wait(lambda: adb_server.state(phone.address) == "offline")
    reconnect(adb_server, phone)
    after = adb_server(*shell).stdout
    assert before.endswith("kept\n") and after.endswith("kept\n") and before != after


@pytest.mark.parametrize("shell_v2", [True, False])
def test_the_app_is_installed_and_logs(adb_server, equipped, tmp_path, shell_v2):
    phone, _ = equipped(shell_v2=shell_v2)
    adb = ("-s", phone.address)
    no_apk = tmp_path / "no.apk"
    no_apk.write_text("not one")
    failed = adb_server(*adb, "install", "-r", "-d", "-g", no_apk)
    assert "INSTALL_PARSE_FAILED_NOT_APK" in failed.stdout + failed.stderr
    done = adb_server(*adb, "install", "-r", "-d", "-g", tool(tmp_path, "tool.apk"))
    assert (done.returncode, "Success" in done.stdout) == (0, True)
    listed = adb_server(*adb, "shell", "pm list packages").stdout
    assert "package:org.tensorflow.lite.benchmark" in listed.split()
    adb_server(*adb, "shell", "logcat -c")
    arguments = f'"--graph={TMP}/m.tflite {BRIEF} {INPUTS}"'
    started = adb_server(*adb, "shell", f"am start -S -n {ACTIVITY} --es args {arguments}").stdout
    assert started.startswith("Starting: Intent")

    def logged() -> str:
        return adb_server(*adb, "shell", "logcat -d -s tflite").stdout

    wait(lambda: "Memory footprint" in logged())
    line = r"^\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} +\d+ +\d+ I tflite  : Inference timings in us: Init: "
    assert re.search(line, logged(), re.M)
    assert "INFO: " not in logged()
    assert phone.runs[-1].endswith(f"--graph={TMP}/m.tflite {BRIEF} {INPUTS}")
    adb_server(*adb, "shell", "logcat -c")
    adb_server(*adb, "shell", f"am start -n {ACTIVITY} --es args --graph={TMP}/none")
    wait(lambda: re.search(r" E tflite  : Benchmarking failed\.", logged()))
