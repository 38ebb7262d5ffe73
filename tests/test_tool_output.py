"""What the benchmark tool prints, in every form since 2019, and damaged: figures or one clear error."""

# The tool's lines are long, and those of its tables start with tabs.
# ruff: noqa: E101, E501

import math
import re
import statistics
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite.bench.devices import tool_output, tool_profile, tool_result
from tflite.bench.devices.tool_lines import ToolError
from tflite.bench.devices.tool_output import Delegation
from tflite.bench.devices.tool_profile import Node, Operation
from tflite.bench.devices.tool_statistics import Statistics

FUZZ = settings(max_examples=300, deadline=None, derandomize=True, database=None)
ANNOUNCED = "Running benchmark for at least {} iterations and at least {} seconds but terminate if exceeding 150 seconds."

# The whole of a log, put together from public ones; the figures of a line belong together.
LOG = f"""\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/m.tflite]
INFO: Loaded model /data/local/tmp/m.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 58 out of 58 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for the whole graph.
INFO: The input model file size (MB): 11.983
INFO: Initialized session in 3.337ms.
INFO: {ANNOUNCED.format(1, 0.5)}
INFO: count=9 first=81913 curr=55502 min=55502 max=81913 avg=58984.7 std=8115 p5=55502 median=56012 p95=81913

INFO: {ANNOUNCED.format(50, 1)}
INFO: count=1061 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982 p5=55104 median=56120 p95=58210

INFO: Inference timings in us: Init: 3337, First inference: 81913, Warmup (avg): 58984.7, Inference (avg): 56265.8
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=2.43359 overall=8.67578
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.2383
INFO: Memory status at the end of exeution:
INFO: - VmRSS              : 25 MB
"""
REPLACING = next(line for line in LOG.splitlines() if "Replacing" in line)
WARMUP_COUNT, COUNT = re.findall("^INFO: (count=.*)$", LOG, re.M)
TIMINGS = next(line for line in LOG.splitlines() if "timings" in line)
INFERENCE = Statistics(1061, 54.669, 60.236, 56.2658, 0.982, 56.12, 55.104, 58.21, 56.576)

LITERT = f"""\
INFO: [litert/runtime/accelerators/auto_registration.cc:148] CPU accelerator registered.
VERBOSE: Replacing 1 out of 1 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0 (main).
INFO: Initialized session in 4.478ms.
INFO: {ANNOUNCED.format(1, 0.5)}
INFO: count=1055 first=1033 curr=473 min=443 max=1033 avg=465.319 std=18 p5=459 median=463 p95=478

INFO: {ANNOUNCED.format(1000, 1)}
INFO: count=2112 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478

INFO: [./litert/tools/benchmark_litert_model.h:81]\x20
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:82] Model initialization: 4.48 ms
INFO: [./litert/tools/benchmark_litert_model.h:84] Warmup (first):       1.03 ms
INFO: [./litert/tools/benchmark_litert_model.h:86] Warmup (avg):         0.47 ms (1055 runs)
INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      0.46 ms (2112 runs)
INFO: [./litert/tools/benchmark_litert_model.h:92] Inference (min):      0.44 ms
INFO: [./litert/tools/benchmark_litert_model.h:94] Inference (max):      0.98 ms
INFO: [./litert/tools/benchmark_litert_model.h:96] Inference (std):      0.01
INFO: [./litert/tools/benchmark_litert_model.h:103] Throughput:           525.55 MB/s
INFO: [./litert/tools/benchmark_litert_model.h:112]\x20
Memory Usage:
INFO: [./litert/tools/benchmark_litert_model.h:114] Init footprint:       8.94 MB
INFO: [./litert/tools/benchmark_litert_model.h:116] Overall footprint:    11.51 MB
INFO: [./litert/tools/benchmark_litert_model.h:123] Peak memory usage not available. (peak_mem_mb <= 0)
INFO: [./litert/tools/benchmark_litert_model.h:126] ======================================

INFO: [./litert/tools/benchmark_litert_model.h:179]\x20
============================== Run Order ==============================
	                             [node type]	  [first]	 [avg ms]	     [%]	  [cdf%]	  [mem KB]	[times called]	[Name]
	                         AllocateTensors	    0.291	    0.291	  0.022%	  0.022%	   452.000	        0	AllocateTensors/0
	         Fully Connected (NC, PF32) GEMM	    0.538	    0.382	 99.978%	100.000%	     0.000	        1	Delegate/Fully Connected (NC, PF32) GEMM:1

============================== Top by Computation Time ==============================
	                             [node type]	  [first]	 [avg ms]	     [%]	  [cdf%]	  [mem KB]	[times called]	[Name]
	         Fully Connected (NC, PF32) GEMM	    0.538	    0.382	 99.978%	 99.978%	     0.000	        1	Delegate/Fully Connected (NC, PF32) GEMM:1

Number of nodes executed: 2
============================== Summary by node type ==============================
	                             [Node type]	  [count]	  [avg ms]	    [avg %]	    [cdf %]	  [mem KB]	[times called]
	         Fully Connected (NC, PF32) GEMM	        1	     0.382	   100.000%	   100.000%	     0.000	        1
	                         AllocateTensors	        1	     0.000	     0.000%	   100.000%	   452.000	        0

Timings (microseconds): count=3166 first=947 curr=406 min=390 max=947 avg=411.071 std=14
Memory (bytes): count=0
2 nodes observed
"""

# Initialization, then two subgraphs and a delegate's kernels; the older header for the first.
PROFILE = """\
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
	             [node type]	          [start]	  [first]	 [avg ms]	     [%]	  [cdf%]	  [mem KB]	[times called]	[Name]
	 ModifyGraphWithDelegate	            0.000	  552.750	  552.750	100.000%	100.000%	  3716.000	        1	ModifyGraphWithDelegate/0

Number of nodes executed: 1
============================== Summary by node type ==============================
	             [Node type]	  [count]	  [avg ms]	    [avg %]	    [cdf %]	  [mem KB]	[times called]
	 ModifyGraphWithDelegate	        1	   552.750	   100.000%	   100.000%	  3716.000	        1

Timings (microseconds): count=1 curr=552750
Memory (bytes): count=0
1 nodes observed


INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
Primary graph (name: main) profile:
============================== Run Order ==============================
	             [node type]	  [first]	 [avg ms]	     [%]	  [cdf%]	  [mem KB]	[times called]	[Name]
	                QUANTIZE	    0.199	    0.203	 20.300%	 20.300%	     0.000	        1	[tfl.quantize]:0
	                   SPLIT	    0.500	    0.497	 49.700%	 70.000%	     0.000	        1	[a/x:0, a/x:1]:1
	                QUANTIZE	    0.310	    0.300	 30.000%	100.000%	     0.000	        1	[tfl.quantize1]:2

Number of nodes executed: 3
============================== Summary by node type ==============================
	             [Node type]	  [count]	  [avg ms]	    [avg %]	    [cdf %]	  [mem KB]	[times called]
	                QUANTIZE	        2	     0.503	    50.300%	    50.300%	     0.000	        2
	                   SPLIT	        1	     0.497	    49.700%	   100.000%	     0.000	        1

Timings (microseconds): count=50 first=1009 curr=1001 min=990 max=1020 avg=1000 std=4
Memory (bytes): count=0
3 nodes observed

Subgraph (index: 1, name: while_body) profile:
============================== Run Order ==============================
	             [node type]	  [first]	 [avg ms]	     [%]	  [cdf%]	  [mem KB]	[times called]	[Name]
	                    LESS	    0.000	    0.000	  -nan%	  -nan%	     0.000	        1	[less]:0

Number of nodes executed: 1
============================== Summary by node type ==============================
	             [Node type]	  [count]	  [avg ms]	    [avg %]	    [cdf %]	  [mem KB]	[times called]
	                    LESS	        1	     0.000	      -nan%	      -nan%	     0.000	        1

Subgraph (index: 1, name: while_body) Timings (microseconds): count=50 curr=0(all same)
Memory (bytes): count=0
1 nodes observed

Delegate internal:\x20
============================== Run Order ==============================
	             [node type]	  [first]	 [avg ms]	     [%]	  [cdf%]	  [mem KB]	[times called]	[Name]
	        DelegateOpInvoke	    0.267	    0.278	100.000%	100.000%	     0.000	        1	Delegate/Convolution (NHWC, QU8) IGEMM:0

Number of nodes executed: 1
============================== Summary by node type ==============================
	             [Node type]	  [count]	  [avg ms]	    [avg %]	    [cdf %]	  [mem KB]	[times called]
	        DelegateOpInvoke	        1	     0.278	   100.000%	   100.000%	     0.000	        1

Timings (microseconds): count=50 first=267 curr=280 min=260 max=290 avg=278 std=4
Memory (bytes): count=0
1 nodes observed
"""
CSV = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0.029, 0.029, 100%, 100%, 1024, 1, AllocateTensors/0

Number of nodes executed: 1
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
AllocateTensors, 1, 0.029, 100%, 100%, 1024, 1

Timings (microseconds): count=1 curr=29
Memory (bytes): count=0
1 nodes observed

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, QC8) IGEMM, 0.11, 0.0930388, 75.6098%, 75.6098%, 0, 1, Delegate/Convolution (NHWC\t QC8) IGEMM:0
SPLIT, 0.034, 0.0300884, 24.3902%, 100%, 0, 1, [a\t b]:1

Number of nodes executed: 2
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
Convolution (NHWC, QC8) IGEMM, 1, 0.093, 75.6098%, 75.6098%, 0, 1
SPLIT, 1, 0.03, 24.3902%, 100%, 0, 1

Timings (microseconds): count=50 first=144 curr=120 min=119 max=144 avg=123.2 std=4
Memory (bytes): count=0
2 nodes observed
"""


def fails(text: str) -> ToolError:
    with pytest.raises(ToolError) as caught:
        tool_output.parse(text)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def test_the_whole_log_by_hand():
    output = tool_output.parse(LOG)
    assert output.tool == "tflite" and output.profiles == ()
    assert output.inference == INFERENCE
    assert output.warmup == Statistics(
        9, 55.502, 81.913, 58.9847, 8.115, 56.012, 55.502, 81.913, 81.913
    )
    assert output.init_ms == 3.337
    assert output.init_memory_mb == pytest.approx(2.551804, abs=1e-6)  # 2.43359 * 1.048576
    assert output.overall_memory_mb == pytest.approx(9.097215, abs=1e-6)
    assert output.peak_memory_mb == pytest.approx(97.767444, abs=1e-6)
    assert output.delegations == (Delegation("TfLiteXNNPackDelegate", "full", 58, 58, 1),)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda line: line.removeprefix("INFO: ").removeprefix("VERBOSE: "),
        lambda line: f"{line}\r",
        lambda line: re.sub("^(INFO|VERBOSE): ", "I/tflite  ( 1234): ", line),
        lambda line: re.sub("^(INFO|VERBOSE): ", "11-25 17:40:19.123 I/tflite  ( 1234): ", line),
        lambda line: re.sub(
            "^(INFO|VERBOSE): ", "11-25 17:40:19.123  1234  1240 I tflite  : ", line
        ),
    ],
)
def test_prefixes_and_line_ends_do_not_matter(rewrite):
    assert tool_output.parse("\n".join(map(rewrite, LOG.splitlines()))) == tool_output.parse(LOG)


@pytest.mark.parametrize(
    ("line", "average", "expected"),
    [  # milliseconds: count, min, max, mean, std, median, p5, p95, first
        (
            "count=1061 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982",
            "56265.8",
            (1061, 54.669, 60.236, 56.2658, 0.982, None, None, None, 56.576),
        ),
        (
            "curr=56299 count=1061 min=54669 max=60236 avg=56265.8 std=982",
            "56265.8",
            (1061, 54.669, 60.236, 56.2658, 0.982, None, None, None, None),
        ),
        ("count=1 curr=123", "123", (1, *[0.123] * 3, 0, *[0.123] * 4)),
        ("curr=123 count=1", "123", (1, *[0.123] * 3, 0, *[0.123] * 4)),
        ("count=50 curr=100(all same)", "100", (50, *[0.1] * 3, 0, *[0.1] * 4)),
        ("curr=100 count=50(all same)", "100", (50, *[0.1] * 3, 0, *[0.1] * 4)),
        (
            "count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602",
            "1.3576e+06",
            (1, *[1357.602] * 3, 0, *[1357.602] * 4),
        ),
        (
            "count=50 first=1699964 curr=1690143 min=1688588 max=1702566 avg=1.69012e+06 std=2565",
            "1.69012e+06",
            (50, 1688.588, 1702.566, 1690.12, 2.565, None, None, None, 1699.964),
        ),
    ],
)
def test_every_form_of_the_count_line(line, average, expected):
    text = LOG.replace(COUNT, line).replace("(avg): 56265.8", f"(avg): {average}")
    assert astuple(tool_output.parse(text).inference) == expected


@pytest.mark.parametrize("none", ["count=0", "count=0 p5=0 median=0 p95=0"])
def test_no_warm_up(none):
    text = LOG.replace(WARMUP_COUNT, none)
    text = text.replace(
        "First inference: 81913, Warmup (avg): 58984.7", "First inference: 0, Warmup (avg): 0"
    )
    assert tool_output.parse(text).warmup is None
    once = text[: text.index("INFO: Running")] + text[text.rindex("INFO: Running") :]
    assert tool_output.parse(once) == tool_output.parse(text)


def test_wording_before_2020():
    old = "Average inference timings in us: Warmup: 58984.7, Init: 3337, Inference: 56265.8"
    text = LOG.replace(TIMINGS, old)
    text = text.replace(
        "Memory footprint delta from the start of the tool", "Peak memory footprint"
    )
    assert tool_output.parse(text) == tool_output.parse(LOG)


def test_litert_by_hand():
    output = tool_output.parse(LITERT)
    assert output.tool == "litert" and output.init_ms == 4.478
    assert output.inference == Statistics(
        2112, 0.442, 0.979, 0.464545, 0.013, 0.462, 0.46, 0.478, 0.463
    )
    assert output.warmup.count == 1055 and output.warmup.first == 1.033
    assert output.init_memory_mb == pytest.approx(9.374269, abs=1e-6)  # 8.94 * 1.048576
    assert output.peak_memory_mb is None
    (profile,) = output.profiles
    assert [(node.name, node.times_called) for node in profile.nodes] == [
        ("AllocateTensors/0", 0),
        ("Delegate/Fully Connected (NC, PF32) GEMM", 1),
    ]
    results = LITERT[LITERT.index("====") :]
    output = tool_output.parse(
        results.replace(
            "Peak memory usage not available. (peak_mem_mb <= 0)", "Peak memory:          20.00 MB"
        )
    )
    assert output.inference == Statistics(2112, 0.44, 0.98, 0.46, 0.01, None, None, None, None)
    assert (output.init_ms, output.warmup) == (4.48, None)
    assert output.peak_memory_mb == pytest.approx(20.97152)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Replacing 0 out of 58 node(s) with delegate (A) node, yielding 1 partitions.", ("A", "none", 0, 58, 1)),
        (
            "Replacing 40 out of 58 node(s) with delegate (A) node, yielding 3 partitions for subgraph 1 (body).",
            ("A", "partial", 40, 58, 3),
        ),
        ("Replacing 31 node(s) with delegate (A) node, yielding 1 partitions.", ("A", "full", 31, None, 1)),
        (
            "Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 2 delegate kernels.",
            ("GPU", "partial", None, None, None),
        ),
        (
            "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.",
            ("NNAPI", "none", None, None, None),
        ),
        ("Created TensorFlow Lite XNNPACK delegate for CPU.", None),
    ],
)  # fmt: skip
def test_delegations(line, expected):
    found = tool_output.parse(LOG.replace(REPLACING, line)).delegations
    assert found == ((Delegation(*expected),) if expected else ())


def test_an_explicit_delegate_and_its_replacing_are_one():
    """The next delegate's, and the implicit XNNPACK's at the end, are others."""
    text = LOG.replace(
        REPLACING,
        "VERBOSE: Replacing 49 out of 49 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions for subgraph 0.\n"
        "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
        "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
        + REPLACING,
    )  # fmt: skip
    assert tool_output.parse(text).delegations == (
        Delegation("GPU", "full", 49, 49, 1),
        Delegation("NNAPI", "none", None, None, None),
        Delegation("TfLiteXNNPackDelegate", "full", 58, 58, 1),
    )
    assert "contradicts 48 of 49" in str(fails(text.replace("Replacing 49", "Replacing 48")))


@pytest.mark.parametrize("spaces", [False, True])
def test_profiles_by_hand(spaces):
    text = re.sub("[ \t]*\t[ \t]*", "   ", PROFILE) if spaces else PROFILE  # as terminals copy it
    main, body, delegate = tool_output.parse(LOG + text).profiles
    assert (main.subgraph, body.subgraph) == ("main", "while_body")
    assert main.operations == (
        Operation("QUANTIZE", 2, 0.503, 50.3, 0.0, 2),
        Operation("SPLIT", 1, 0.497, 49.7, 0.0, 1),
    )
    assert main.nodes[:2] == (
        Node("QUANTIZE", "tfl.quantize", 0.199, 0.203, 20.3, 0.0, 1),
        Node("SPLIT", "a/x:0, a/x:1", 0.5, 0.497, 49.7, 0.0, 1),
    )
    assert body.operations == (Operation("LESS", 1, 0.0, 0.0, 0.0, 1),)
    assert delegate.subgraph == "Delegate internal"
    assert delegate.nodes[0].name == "Delegate/Convolution (NHWC, QU8) IGEMM"


def test_the_older_header_and_a_single_graph():
    text = PROFILE[: PROFILE.index("INFO: Operator")].replace(
        "Profiling Info for Benchmark Initialization:",
        "Operator-wise Profiling Info for Regular Benchmark Runs:",
    )
    (profile,) = tool_output.parse(text + LOG).profiles
    assert profile.subgraph == "" and profile.nodes[0].first_ms == 552.75
    assert profile.operations == (
        Operation("ModifyGraphWithDelegate", 1, 552.75, 100.0, 3716.0, 1),
    )


def test_csv_by_hand():
    (profile,) = tool_profile.parse_profile_csv(CSV)
    convolution = "Convolution (NHWC, QC8) IGEMM"
    assert profile.operations[0] == Operation(convolution, 1, 0.093, 75.6098, 0.0, 1)
    assert [(node.type, node.name) for node in profile.nodes] == [
        (convolution, f"Delegate/{convolution}"),
        ("SPLIT", "a, b"),
    ]
    assert profile.nodes[0].avg_ms == 0.0930388
    older = CSV.replace("type, first", "type, start, first").replace(", 0.11,", ", 0, 0.11,")
    older = older.replace("T, 0.034,", "T, 0.0931277, 0.034,").replace(
        "s, 0.029, 0", "s, 0, 0.029, 0"
    )
    assert tool_profile.parse_profile_csv(older) == (profile,)
    assert tool_output.parse(LOG + CSV).profiles == (profile,)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("executed: 3", "executed: 4", "does not list the 4 nodes"),
        ("	     0.503	", "	     0.603	", "not 54.818%"),
        ("	    0.203	", "	    0,203	", "0,203"),
        ("	 [avg ms]	     [%]", "	     [%]", "not the columns of Run Order"),
        ("Number of nodes executed: 3\n", "", "incomplete profile: main"),
        ("Subgraph (index: 1, name: while_body) profile:\n", "", "there twice in a profile"),
    ],
)
def test_damaged_profiles(old, new, message):
    assert old in PROFILE
    assert message in str(fails(LOG + PROFILE.replace(old, new)))


@pytest.mark.parametrize(
    ("text", "cause", "message"),
    [
        ("", "failed", "no result in 0 lines"),
        ("INFO: STARTING!\nSegmentation fault\n", "failed", "2 lines; the last is: Segmentation fault"),
        (LOG[: LOG.index(TIMINGS)], "failed", "no result"),
        ("ERROR: Failed to load model m.tflite\nERROR: Benchmarking failed.", "failed", "Failed to load model m.tflite"),
        ("E/tflite  ( 12): Failed to load model m.tflite\n", "failed", "Failed to load model m.tflite"),
        (LOG + "Benchmarking failed.\n", "failed", "Benchmarking failed."),
        ("ERROR: Disallowed CPU fallback detected.\nERROR: Benchmarking failed.", "failed", "Disallowed CPU fallback"),
        (LOG.replace("INFO: Num", "WARN: Unconsumed cmdline flags: --foo=1 --bar\nINFO: Num"), "flags", "--foo=1 --bar"),
        (LOG.replace("std=982", "std=98x"), "garbled", "count=1061"),
        (LOG.replace("Inference (avg): 56265.8", "Inference (avg): 56265.9"), "garbled", "inference is 56265.8"),
        (LOG.replace("Init: 3337", "Init: 3338"), "garbled", "initialization is 3.338"),
        (LOG.replace("max=60236", "max=602366"), "garbled", "standard deviation"),
        (LOG.replace("std=982", "std=9"), "garbled", "standard deviation"),
        (LOG.replace("median=56120", "median=58120"), "garbled", "too far from the mean"),
        (LOG.replace("p95=58210", "p95=60237"), "garbled", "out of order"),
        (LOG.replace("count=1061", "count=01061"), "garbled", "count=01061"),
        (LOG.replace(WARMUP_COUNT, "count=9 curr=55502"), "garbled", "count=9 curr=55502"),
        (LOG.replace(WARMUP_COUNT, ""), "garbled", "no count= line after: Running benchmark for at least 1 "),
        (LOG + LOG, "garbled", "4 announcements"),
        (LOG.replace("init=2.43359", "init=-2.43359"), "garbled", "init=-2.43359"),
        (LOG.replace("93.2383", "93.23.83"), "garbled", "93.23.83"),
        (LOG.replace("58 out of 58", "58 of 58"), "garbled", "58 of 58"),
        (LOG.replace("58 out of 58", "59 out of 58"), "garbled", "more nodes than"),
        (LOG.replace("3.337ms.", "3.3"), "garbled", "Initialized session in 3.3"),
        (LITERT.replace("0.46 ms", "0.48 ms"), "garbled", "0.464545 elsewhere"),
        (LITERT.replace("(2112 runs)", "(2111 runs)"), "garbled", "2112 elsewhere"),
        (LITERT.replace("Inference (max):      0.98 ms", "Inference (max): 0.98"), "garbled", "(max): 0.98"),
    ],
)  # fmt: skip
def test_errors_by_cause(text, cause, message):
    error = fails(text)
    assert (error.cause, message in str(error)) == (cause, True), str(error)


def test_an_error_line_beside_a_result_is_no_failure():
    refused = "ERROR: Following operations are not supported by GPU delegate:\n"
    assert tool_output.parse(refused + LOG) == tool_output.parse(LOG)


def message(**changes: float):
    result = tool_result.result_class()()
    parts = (result.latency_metrics, result.memory_metrics, result.misc_metrics)
    figures = dict(
        min_ms=54.669,
        max_ms=60.236,
        avg_ms=56.2658,
        stddev_ms=0.982,
        median_ms=56.12,
        p5_ms=55.104,
        p95_ms=58.21,
        init_ms=3.337,
        first_inference_ms=81.913,
        num_runs=1061,
        overall_footprint_kb=8884,
        peak_mem_mb=93.5,
    )
    for name, value in (figures | changes).items():
        (part,) = (part for part in parts if name in part.DESCRIPTOR.fields_by_name)
        if value is not None:
            setattr(part, name, value)
    return result


def test_the_result_file_by_hand():
    output = tool_result.parse_result(message().SerializeToString(), tool="litert")
    assert (output.tool, output.warmup, output.profiles) == ("litert", None, ())
    assert astuple(output.inference)[:-1] == pytest.approx(astuple(INFERENCE)[:-1], rel=1e-6)
    assert output.inference.first is None and output.init_memory_mb is None
    assert output.init_ms == pytest.approx(3.337, rel=1e-6)
    assert output.overall_memory_mb == pytest.approx(9.097216)  # 8884 * 1024 / 10^6
    assert output.peak_memory_mb == pytest.approx(98.041856)
    without = message(median_ms=None, p5_ms=None, p95_ms=None)
    assert tool_result.parse_result(without.SerializeToString()).inference.median is None


def test_the_result_file_is_that_of_the_tool():
    """Bytes as protoc's encoder writes them: field 2, in it 1 (avg_ms) = 56.25."""
    data = bytes.fromhex("1205 0d00006142")
    assert tool_result.result_class().FromString(data).latency_metrics.avg_ms == 56.25


@pytest.mark.parametrize(
    ("changes", "message_"),
    [
        ({"avg_ms": None}, "no avg_ms"),
        ({"num_runs": None}, "no num_runs"),
        ({"num_runs": 0}, "no runs"),
        ({"init_ms": math.nan}, "init_ms is nan"),
        ({"overall_footprint_kb": -1}, "overall_footprint_kb is -1"),
        ({"avg_ms": 66.0}, "no such mean"),
    ],
)
def test_bad_result_files(changes, message_):
    with pytest.raises(ToolError, match=message_):
        tool_result.parse_result(message(**changes).SerializeToString())


HELP = """\
ERROR: usage: ./benchmark_model <flags>
Flags:
	--num_runs=50                 	int32	optional	expected number of runs, see also --min_secs
	--{0}=false           	bool	optional	see --graph
"""


def test_flags_and_tools():
    assert tool_output.flags(HELP.format("use_gpu")) == {"num_runs", "use_gpu"}
    assert tool_output.tool_of(HELP.format("enable_op_profiling")) == "tflite"
    assert tool_output.tool_of(HELP.format("use_profiler")) == "litert"
    for text in ("sh: benchmark_model: not found", HELP.format("use_gpu")):
        with pytest.raises(ToolError) as caught:
            tool_output.tool_of(text)
        assert caught.value.cause == "garbled"


# From here on, generated.

runs_us = st.one_of(
    st.lists(st.integers(0, 10**8), min_size=1, max_size=40),
    st.lists(st.integers(999_990, 1_000_010), min_size=1, max_size=40),
    st.tuples(st.integers(0, 10**7), st.integers(1, 30)).map(lambda pair: [pair[0]] * pair[1]),
)


def counted(samples: list[int], year: int) -> tuple[str, Statistics]:
    """The line that the tool of a year prints for these runs, and what it tells, in milliseconds."""
    count, curr, low, high = len(samples), samples[-1], min(samples), max(samples)
    at = {p: sorted(samples)[count * p // 100] for p in (5, 50, 95)}
    average = f"{sum(samples) / count:g}"
    deviation = math.isqrt(int(statistics.pvariance(samples)))
    same = "(all same)" if low == high and count > 1 else ""
    spread = "" if low == high else f" min={low} max={high} avg={average} std={deviation}"
    if year == 2018:
        line = f"curr={curr} count={count}{same}{spread}"
    else:
        first = "" if low == high else f" first={samples[0]}"
        line = f"count={count}{first} curr={curr}{same}{spread}"
    if year == 2024:
        line += f" p5={at[5]} median={at[50]} p95={at[95]}"
    if low == high:
        return line, Statistics(count, *[low / 1e3] * 3, 0, *[low / 1e3] * 4)
    of_year = [at[50] / 1e3, at[5] / 1e3, at[95] / 1e3] if year == 2024 else [None] * 3
    first = None if year == 2018 else samples[0] / 1e3
    mean = round(float(average) / 1e3, 9)
    return line, Statistics(count, low / 1e3, high / 1e3, mean, deviation / 1e3, *of_year, first)


@FUZZ
@given(runs_us, runs_us, st.sampled_from([2018, 2020, 2024]))
def test_what_the_tool_prints_of_any_runs_comes_back(warmup_us, regular_us, year):
    (warmup_line, warmup), (line, inference) = counted(warmup_us, year), counted(regular_us, year)
    averages = [f"{sum(runs) / len(runs):g}" for runs in (warmup_us, regular_us)]
    output = tool_output.parse(
        f"{ANNOUNCED}\n{warmup_line}\n\n{ANNOUNCED}\n{line}\n\n"
        f"Inference timings in us: Init: 3337, First inference: {warmup_us[0]}, "
        f"Warmup (avg): {averages[0]}, Inference (avg): {averages[1]}\n"
    )
    assert (output.warmup, output.inference) == (warmup, inference)


def damaged(text: str) -> st.SearchStrategy[str]:
    """Characters overwritten, deleted and doubled, lines lost, doubled and moved, the end cut off."""
    places = st.integers(0, len(text))
    characters = st.text("0123456789.=-+e ()\n\tx", max_size=3)

    def splice(edited: str, edit: tuple[int, int, str]) -> str:
        start, length, new = edit
        return edited[:start] + new + edited[start + length :]

    def move(edited: str, pair: tuple[int, int]) -> str:
        lines = edited.split("\n")
        line = lines.pop(pair[0] % len(lines))
        lines.insert(pair[1] % (len(lines) + 1), line)
        return "\n".join(lines)

    def double(edited: str, pair: tuple[int, int]) -> str:
        start, end = sorted(pair)
        return edited[:end] + edited[start:]

    edits = st.one_of(
        st.tuples(places, st.integers(0, 3), characters).map(lambda e: lambda t: splice(t, e)),
        st.tuples(places, st.integers(0, 300), st.just("")).map(lambda e: lambda t: splice(t, e)),
        st.tuples(places, places).map(lambda pair: lambda t: move(t, pair)),
        st.tuples(places, places).map(lambda pair: lambda t: double(t, pair)),
        places.map(lambda place: lambda t: t[:place]),
        st.permutations(range(text.count("\n") + 1)).map(
            lambda order: lambda t: "\n".join(t.split("\n")[i] for i in order if i <= t.count("\n"))
        ),
    )

    def apply(steps: list) -> str:
        edited = text
        for step in steps:
            edited = step(edited)
        return edited

    return st.lists(edits, min_size=1, max_size=3).map(apply)


def parsed(text: str) -> tool_output.Output | None:
    try:
        return tool_output.parse(text)
    except ToolError as error:
        assert len(str(error).splitlines()) == 1 and error.cause in ("flags", "failed", "garbled")
        return None


def assert_stands_in(output: tool_output.Output, text: str) -> None:
    """Every figure is one that the last count= line of the text states under that name.

    What it states cannot be judged further: a digit overwritten within bounds is a log like any other.
    """
    lines = re.findall(r"^\s*(?:INFO: )?((?:count|curr)=.*)$", text, re.M)
    if not lines:
        assert output.tool == "litert" and output.inference.median is None
        stated = re.findall(r"Inference \((?:min|max|avg|std)\): +([0-9.]+)", text)
        assert {f"{value:.2f}" for value in astuple(output.inference)[1:5]} <= set(stated)
        return
    stated = {name: float(value) for name, value in re.findall(r"(\w+)=([0-9.e+]+)", lines[-1])}
    names = ("count", "min", "max", "avg", "std", "median", "p5", "p95", "first")
    for name, value in zip(names, astuple(output.inference), strict=True):
        if "min" not in stated and name != "count":
            assert value == (0 if name == "std" else stated["curr"] / 1e3)
        elif name == "count":
            assert value == stated[name]
        else:
            assert value == (round(stated[name] / 1e3, 9) if name in stated else None)
    average = re.findall(r"Inference \(avg\): +([0-9.e+]+)", text)[-1]
    if output.tool == "litert":
        assert output.inference.mean == pytest.approx(float(average), abs=0.006)
    else:
        assert f"{output.inference.mean * 1e3:g}" == average


@FUZZ
@given(st.sampled_from([LOG, LOG + PROFILE, LITERT]).flatmap(damaged))
def test_a_damaged_log_gives_an_error_or_what_it_states(text):
    if output := parsed(text):
        assert_stands_in(output, text)
        inference = output.inference
        assert 0 <= inference.min <= inference.mean * 1.00001 and inference.count > 0
        assert all(math.isfinite(value) for value in astuple(inference) if value is not None)
        for profile in output.profiles:
            assert len(profile.nodes) == sum(one.count for one in profile.operations)


@FUZZ
@given(st.integers(0, len(LOG) - 1), st.sampled_from("0123456789. "))
def test_one_character_overwritten_changes_no_figure_that_is_there_twice(place, character):
    """Average, initialization and warm-up's first and average. Of the others only bounds are known."""
    text = LOG[:place] + character + LOG[place + 1 :]
    if output := parsed(text):
        original = tool_output.parse(LOG)
        assert output.inference.mean == original.inference.mean
        assert output.init_ms == original.init_ms
        assert (output.warmup.first, output.warmup.mean) == (81.913, 58.9847)
        if COUNT in text:
            assert output.inference == original.inference


def test_a_lost_line_is_no_other_figure():
    """Of each line taken out, and of each two that change places."""
    lines, original = LOG.splitlines(), tool_output.parse(LOG)
    for place in range(len(lines)):
        for other in range(place, len(lines)):
            swapped = lines.copy()
            swapped[place], swapped[other] = swapped[other], swapped[place]
            texts = [swapped] if other > place else [lines[:place] + lines[place + 1 :]]
            for text in texts:
                if output := parsed("\n".join(text)):
                    assert replace(output, delegations=()).inference == original.inference
                    assert output.warmup == original.warmup


pieces = st.sampled_from(
    [*LOG.splitlines(), *LITERT.splitlines(), *PROFILE.splitlines(), *CSV.splitlines()]
)


@FUZZ
@given(
    st.one_of(st.text(), st.lists(st.one_of(pieces, pieces, st.text(max_size=20))).map("\n".join))
)
def test_any_text_gives_an_error_or_a_result(text):
    for read in (tool_profile.parse_profile_csv, tool_output.flags, tool_output.tool_of, parsed):
        try:
            read(text)
        except ToolError as error:
            assert len(str(error).splitlines()) == 1


@FUZZ
@given(
    st.one_of(
        st.binary(),
        st.tuples(st.integers(0, 80), st.binary(max_size=5)).map(
            lambda cut: message().SerializeToString()[: cut[0]] + cut[1]
        ),
    )
)
def test_any_bytes_give_an_error_or_a_result(data):
    try:
        inference = tool_result.parse_result(data).inference
    except ToolError as error:
        assert error.cause == "garbled" and len(str(error).splitlines()) == 1
    else:
        assert 0 <= inference.min <= inference.max < math.inf and inference.count > 0
