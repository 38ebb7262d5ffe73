"""The stand-in for TFLite's benchmark tool on a simulated phone: its flags, output, files and builds."""

import re
import signal
from pathlib import Path

import pytest
from fixtures.devices import BRIEF, INPUTS, LAYERS, LENGTH
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# What the harness relies on: `make test` runs the harness itself.
pytestmark = [pytest.mark.device, pytest.mark.slow]


def test_a_run(equipped):
    phone, run = equipped()
    done = run(BRIEF, INPUTS, "--report_peak_memory_footprint=true --result_file_path=r")
    assert (done.returncode, done.stderr) == (
        0,
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
    )
    starts = [
        *("INFO: STARTING!", "INFO: Num threads: [1]", "INFO: Graph: [m.tflite]"),
        *("INFO: Loaded model m.tflite", "WARN: Tensor # 0 is named "),
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
    assert "Using signature" not in done.stdout  # it is not named
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
    named = [run(BRIEF, INPUTS, f"--signature_to_run_for={key}") for key in keys]
    assert 0 in [done.returncode for done in named]
    assert all(f"Using signature: {key}" in done.stdout for key, done in zip(keys, named))


def test_flags(equipped):
    _, run = equipped()
    done = run("--help")
    assert done.returncode == 1
    assert "usage: ./benchmark_model <flags>\nFlags:\n\t--num_runs=50 " in done.stderr
    assert (
        done.stderr.count("\n\t--") == 70
    )  # of which builds for Linux lack 12, of GPU, NNAPI, Hexagon
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
    assert rows[0].split("\t")[1:2] == ["[node type]".rjust(40)]
    assert {len(row.split("\t")) for row in rows} == {9}
    nodes = int(re.search(r"Number of nodes executed: (\d+)", runs)[1])
    assert len(rows) == 1 + nodes and f"{nodes} nodes observed" in runs
    # A delegate's kernels stand among the operations, and it has no row of its own.
    assert "TfLiteXNNPackDelegate" not in runs and "Delegate internal" not in runs
    assert re.search(
        r"\t +Fully Connected \(NC, F32\)\t.*\tDelegate/Fully Connected \(NC, F32\):\d", runs
    )
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
    done = run(BRIEF, INPUTS, "--enable_op_profiling=true").stdout
    assert "TfLiteXNNPackDelegate" in done and "Delegate internal: \n" in done
    phone.environment["BENCHMARK_VARIANT"] = "litert"
    done = run(BRIEF, "--use_cpu=true --use_xnnpack=true")
    assert "Unconsumed cmdline flags: --use_xnnpack=true" in done.stdout
    ranges = ":".join(f"input_{name},0,1" for name in ("word_ids", "mask", "type_ids"))
    done = run(BRIEF, f"--input_layer_value_range={ranges}")
    assert done.returncode == 0 and done.stdout.count("count=") == 2
    assert re.search(r"INFO: \[\S+:\d+\] Model initialization: \d+\.\d\d ms", done.stderr)
    assert "\n========== BENCHMARK RESULTS ==========\n" in done.stderr
