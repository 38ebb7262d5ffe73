"""The simulated phone itself, through the real `adb` client, and the stand-in for the tool."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from simulators.phone import (
    TMP,
    Fault,
    Phone,
    tool,
)

# What the harness relies on: `make test` runs the harness itself.
pytestmark = [pytest.mark.device, pytest.mark.slow]

LENGTH = 16
BRIEF = "--num_threads=1 --num_runs=5 --min_secs=0.05 --warmup_min_secs=0.05"
LAYERS = f"--input_layer=a,b,c --input_layer_shape={':'.join([f'1,{LENGTH}'] * 3)}"
INPUTS = f"{LAYERS} --input_layer_value_range=a,0,1:b,0,1:c,0,1"
ACTIVITY = "org.tensorflow.lite.benchmark/.BenchmarkModelActivity"


@pytest.fixture(scope="module")
def model(tmp_path_factory, converted) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.tflite"
    path.write_bytes(converted("int8"))
    return path


@pytest.fixture
def equipped(connected, adb_server, model, stand_in):
    """`equipped(**options)`: a phone with the tool and a model; a function that runs the tool."""

    def equip(**options) -> tuple[Phone, object]:
        phone = connected(**options)
        for file in (model, stand_in):
            assert adb_server("-s", phone.address, "push", file, TMP).returncode == 0

        def run(*flags: str) -> subprocess.CompletedProcess:
            command = f"cd {TMP} && ./benchmark_model --graph=m.tflite {' '.join(flags)}"
            return adb_server("-s", phone.address, "shell", command)

        return phone, run

    return equip


def wait(condition, seconds: float = 10) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def again(adb, phone: Phone) -> None:
    """Connects as soon as the phone accepts it."""

    def tried() -> bool:
        adb("disconnect", phone.address)
        return adb("connect", phone.address).stdout.startswith("connected to")

    wait(tried)


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
    again(adb_server, phone)
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


def test_a_run(equipped):
    phone, run = equipped()
    done = run(BRIEF, INPUTS, "--report_peak_memory_footprint=true --result_file_path=r")
    assert (done.returncode, done.stderr) == (
        0,
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
    )
    starts = [
        *("INFO: STARTING!", "INFO: Num threads: [1]", "INFO: Graph: [m.tflite]"),
        *("INFO: Loaded model m.tflite", "INFO: Using signature: ", "WARN: Tensor # 0 is named "),
        *("INFO: The input model file size (MB): ", "INFO: Initialized session in "),
        "INFO: Running benchmark for at least 1 iterations and at least 0.05 seconds but terminate "
        "if exceeding 150 seconds.",
        *("INFO: count=", "INFO: Running benchmark for at least 5 ", "INFO: count="),
        *("INFO: Inference timings in us: Init: ", "INFO: Note: as the benchmark tool itself"),
        "INFO: Memory footprint delta from the start of the tool (MB): init=",
        "INFO: Overall peak memory footprint (MB) via periodic monitoring: ",
        *("INFO: Memory status at the end of exeution:", "INFO: - VmRSS              : "),
        *("INFO: + RssAnnon           : ", "INFO: + RssFile + RssShmem : "),
        *("INFO: Saving benchmark result to: r", "INFO: Saved benchmark result to: r"),
    ]
    lines = iter(done.stdout.splitlines())
    for start in starts:  # in this order, with others in between
        assert any(line.startswith(start) for line in lines), start
    count = re.findall(
        r"count=(\d+) .*avg=([\d.]+) std=\d+ p5=\d+ median=(\d+) p95=\d+", done.stdout
    )
    runs, average, median = count[1]
    result = saved(phone.tmp / "r")
    assert result.misc_metrics.num_runs == int(runs) >= 5
    assert result.misc_metrics.num_warmup_runs == int(count[0][0])
    assert result.latency_metrics.avg_ms == pytest.approx(float(average) / 1000, rel=1e-4)
    assert result.latency_metrics.median_ms == pytest.approx(int(median) / 1000, rel=1e-6)
    assert result.memory_metrics.init_footprint_kb > 0
    assert result.memory_metrics.peak_mem_mb > 20
    assert [line.split()[0] for line in phone.runs] == ["./benchmark_model"]


def saved(path: Path):
    """A `BenchmarkResult` parsed by protobuf."""
    floats, longs = "float", "int64"
    fields = {
        "Latency": [
            (name, floats)
            for name in (
                *("avg_ms", "min_ms", "max_ms", "stddev_ms", "median_ms", "p5_ms", "p95_ms"),
                *("init_ms", "first_inference_ms", "average_warm_up_ms"),
            )
        ],
        "Memory": [
            *(("init_footprint_kb", longs), ("overall_footprint_kb", longs)),
            ("peak_mem_mb", floats),
        ],
        "Misc": [
            *(("model_size_mb", floats), ("num_runs", longs), ("num_warmup_runs", longs)),
            ("model_throughput_in_mb_per_sec", floats),
        ],
    }
    file = descriptor_pb2.FileDescriptorProto(name="result.proto", package="t", syntax="proto2")
    whole = file.message_type.add(name="Result")
    whole.field.add(name="name", number=1, type=9, label=1)
    for number, (group, members) in enumerate(fields.items(), 2):
        message = file.message_type.add(name=group)
        for position, (name, type_name) in enumerate(members, 1):
            code = 2 if type_name == floats else 3
            message.field.add(name=name, number=position, type=code, label=1)
        name = f"{group.lower()}_metrics"
        whole.field.add(name=name, number=number, type=11, type_name=f".t.{group}", label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    result_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Result"))
    return result_class.FromString(path.read_bytes())


def test_a_run_with_default_inputs_fails_as_on_bert(equipped):
    _, run = equipped()
    done = run(BRIEF, LAYERS)
    assert done.returncode == 1
    errors = r"ERROR: .*out of bounds.*\nERROR: Node number \d+ \(\w+\) failed to invoke\.\n"
    assert re.search(errors, done.stderr)
    assert done.stderr.endswith("ERROR: Benchmarking failed.\n")
    assert "Inference timings" not in done.stdout


def test_files_of_inputs_have_the_exact_size(equipped):
    phone, run = equipped()
    (phone.tmp / "good").write_bytes(bytes(4 * LENGTH))
    (phone.tmp / "bad").write_bytes(bytes(7))
    flag = "--input_layer_value_files="
    assert run(BRIEF, LAYERS, f"{flag}a:good,b:good,c:good").returncode == 0
    done = run(BRIEF, LAYERS, f"{flag}a:good,b:good,c:bad")
    assert done.returncode == 128 + signal.SIGABRT
    assert f"The size of bad is 7 bytes. It should be {4 * LENGTH} bytes." in done.stderr
    done = run(BRIEF, f"{LAYERS} {flag}a:b:c")
    assert (done.returncode, "contains more than one delimiter." in done.stderr) == (1, True)


def test_one_of_several_signatures_must_be_named(equipped, converted):
    phone, run = equipped()
    (phone.tmp / "m.tflite").write_bytes(converted("int8", 8, LENGTH))
    done = run(BRIEF, INPUTS)
    assert done.returncode == 1 and "Signature not specified or incorrect." in done.stderr
    keys = re.findall(r"ERROR:  #> Signature key: (\S+)", done.stderr)
    assert len(keys) == 2
    named = [run(BRIEF, INPUTS, f"--signature_to_run_for={key}").returncode for key in keys]
    assert 0 in named


def test_flags(equipped):
    _, run = equipped()
    done = run("--help")
    assert done.returncode == 1
    assert "usage: ./benchmark_model <flags>\nFlags:\n\t--num_runs=50 " in done.stderr
    assert "\tint32\toptional\texpected number of runs" in done.stderr
    done = run(BRIEF, INPUTS, "--foo=1 --num_runs")
    assert "WARN: Unconsumed cmdline flags: --foo=1 --num_runs\n" in done.stdout
    assert done.returncode == 0
    done = run("--num_runs=many")
    assert done.returncode == 1
    assert "Failed to parse flag 'num_runs' against argv '--num_runs=many'" in done.stderr


def test_delegates(equipped):
    phone, run = equipped()
    assert "XNNPACK" not in run(BRIEF, INPUTS, "--use_xnnpack=false").stderr
    done = run(BRIEF, INPUTS, "--use_xnnpack=true")
    assert re.search(r"VERBOSE: Replacing \d+ out of \d+ node\(s\) with delegate", done.stderr)
    assert re.search(r"partially executed by the delegate w/ \d+ delegate kernels", done.stdout)
    done = run(BRIEF, INPUTS, "--use_gpu=true")
    assert done.returncode == 1 and "GPU delegate is not available" in done.stderr
    phone.environment["BENCHMARK_DELEGATES"] = "gpu"
    done = run(BRIEF, INPUTS, "--use_gpu=true")
    assert done.returncode == 0 and "Though GPU delegate is explicitly applied" in done.stdout


def test_profiles(equipped):
    phone, run = equipped()
    done = run(BRIEF, INPUTS, "--enable_op_profiling=true").stdout
    init, runs = done.split("Operator-wise Profiling Info for Regular Benchmark Runs:\n")
    assert "INFO: Profiling Info for Benchmark Initialization:\n" in init
    rows = runs.split("====\n")[1].split("\n\n")[0].splitlines()
    assert rows[0].split("\t")[1:2] == ["             [node type]"]
    assert {len(row.split("\t")) for row in rows} == {9}
    nodes = int(re.search(r"Number of nodes executed: (\d+)", runs)[1])
    assert len(rows) == 1 + nodes and f"{nodes} nodes observed" in runs
    assert "TfLiteXNNPackDelegate" in runs and "Delegate internal: \n" in runs
    csv = "--op_profiling_output_mode=csv --op_profiling_output_file=p.csv"
    assert "Profiling" not in run(BRIEF, INPUTS, "--enable_op_profiling=true", csv).stdout
    text = (phone.tmp / "p.csv").read_text()
    assert "\nnode type, first, avg_ms, %, cdf%, mem KB, times called, name\n" in text
    assert "\nnode type, count, avg_ms, avg %, cdf %, mem KB, times called\n" in text


def test_builds(equipped):
    phone, run = equipped(environment={"BENCHMARK_VARIANT": "old"})
    done = run(BRIEF, INPUTS, "--result_file_path=r")
    assert "\nUnconsumed cmdline flags: --result_file_path=r\n" in done.stdout
    assert re.search(
        r"^Average inference timings in us: Warmup: [\d.e+]+, Init: \d+", done.stdout, re.M
    )
    assert "median=" not in done.stdout and "INFO: " not in done.stdout
    phone.environment["BENCHMARK_VARIANT"] = "litert"
    done = run(BRIEF, "--use_cpu=true --use_xnnpack=true")
    assert "Unconsumed cmdline flags: --use_xnnpack=true" in done.stdout
    ranges = ":".join(f"input_{name},0,1" for name in ("word_ids", "mask", "type_ids"))
    done = run(BRIEF, f"--input_layer_value_range={ranges}")
    assert done.returncode == 0 and done.stdout.count("count=") == 2
    assert re.search(r"INFO: \[\S+:\d+\] Model initialization: \d+\.\d\d ms", done.stderr)
    assert "\n========== BENCHMARK RESULTS ==========\n" in done.stderr


def test_a_dropped_connection_looks_like_success(equipped, adb_server):
    phone, run = equipped(faults=[Fault("unplug_run", 0, 0.5)])
    done = run(BRIEF, INPUTS)
    # adb 29 takes an exit code that never came for 0.
    assert (done.returncode, done.stdout.count("count=")) == (0, 1)
    assert phone.events == [("unplug_run", 0)]
    wait(lambda: not phone.processes())
    assert adb_server.state(phone.address) == "offline"
    assert adb_server("-s", phone.address, "shell", "true").stderr == "error: device offline\n"
    again(adb_server, phone)
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
    again(adb_server, phone)
    assert run(BRIEF, INPUTS).stdout.count("count=") == 2


def test_an_unauthorized_phone(equipped, adb_server):
    phone, run = equipped(faults=[Fault("unauthorized", 0, 2)])
    assert run(BRIEF, INPUTS).stdout.count("count=") == 1
    wait(lambda: adb_server.state(phone.address) == "unauthorized")
    refused = adb_server("-s", phone.address, "shell", "true")
    assert refused.stderr.startswith("error: device unauthorized.")
    again(adb_server, phone)
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
    again(adb_server, phone)


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
    again(adb_server, phone)
    begun = time.monotonic()
    assert adb_server(*push).returncode == 0
    assert time.monotonic() - begun > 1.5
    assert phone.pushes == [(f"{TMP}/file", 90_000)]
    assert phone.events == [("full", 0), ("unplug_push", 1), ("slow", 2)]
