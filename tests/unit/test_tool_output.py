"""Parsing the output of the benchmark tool in every form since 2019: its figures, or one clear error."""

# The tool's lines are long, and those of its tables start with tabs.
# ruff: noqa: E501

import math
import re
from dataclasses import astuple

import pytest
from fixtures.tool_logs import (
    LITERT,
    LOG,
    PROFILE,
    message,
)

from sqb_tflite.bench.devices import tool_output, tool_result
from sqb_tflite.bench.devices.tool_lines import ToolError
from sqb_tflite.bench.devices.tool_profile import Node, outside_delegates, time_by_kind
from sqb_tflite.bench.devices.tool_statistics import Statistics
from sqb_tflite.bench.record import Delegation, Operation

REPLACING = next(line for line in LOG.splitlines() if "Replacing" in line)
WARMUP_COUNT, COUNT = re.findall("^INFO: (count=.*)$", LOG, re.M)
TIMINGS = next(line for line in LOG.splitlines() if "timings" in line)
INFERENCE = Statistics(1061, 54.669, 60.236, 56.2658, 0.982, 56.12, 55.104, 58.21, 56.576)


def fails(text: str) -> ToolError:
    with pytest.raises(ToolError) as caught:
        tool_output.parse(text)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def test_the_whole_log_by_hand():
    output = tool_output.parse(LOG)
    assert output.flavor == "tflite" and output.profiles == ()
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


@pytest.mark.parametrize("blanks", [" ", " " * 11])
def test_the_private_memory_is_what_no_file_backs(blanks):
    lines = f"INFO: + RssAnnon{blanks}: 18 MB\nINFO: + RssFile + RssShmem{blanks}: 7 MB\n"
    assert tool_output.parse(LOG).private_memory_mb is None  # builds that print the process alone
    assert tool_output.parse(LOG + lines).private_memory_mb == pytest.approx(18.874368)
    assert fails(LOG + lines.replace("18 MB", "18.5 MB")).cause == "garbled"
    assert "VmRSS" in str(fails(LOG + lines.replace("18 MB", "19 MB")))


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
    assert output.flavor == "litert" and output.init_ms == 4.478
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
            ("GPU", "partial", None, None, None, 2),
        ),
        (
            "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.",
            ("NNAPI", "none", None, None, None),
        ),
        ("Created TensorFlow Lite XNNPACK delegate for CPU.", None),
    ],
)  # fmt: skip
def test_delegations(line, expected):
    delegations = tool_output.parse(LOG.replace(REPLACING, line)).delegations
    assert delegations == ((Delegation(*expected),) if expected else ())


def test_an_explicit_delegate_and_its_replacing_are_one():
    """The next delegate's lines, and those of the implicit XNNPACK at the end, are separate."""
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
    assert time_by_kind([main]) == (
        Operation("QUANTIZE", 2, 0.503, 50.3, 0.0, 2),
        Operation("SPLIT", 1, 0.497, 49.7, 0.0, 1),
    )
    assert main.nodes[:2] == (
        Node("QUANTIZE", "tfl.quantize", 0.199, 0.203, 20.3, 0.0, 1),
        Node("SPLIT", "a/x:0, a/x:1", 0.5, 0.497, 49.7, 0.0, 1),
    )
    assert time_by_kind([body]) == (Operation("LESS", 1, 0.0, 0.0, 0.0, 1),)
    assert delegate.subgraph == "Delegate internal"
    assert delegate.nodes[0].name == "Delegate/Convolution (NHWC, QU8) IGEMM"
    assert [o.type for o in time_by_kind([delegate])] == ["Convolution (NHWC, QU8) IGEMM"]
    assert outside_delegates([main, body, delegate]) == (4, 100.0)


def test_the_time_of_a_delegate_is_counted_once():
    """An older build lists it as a node, and its kernels in a table of their own: 700 of 1000 us."""
    delegate = "	   TfLiteXNNPackDelegate	    0.720	    0.700	 70.000%	 70.000%	     0.000	        1	[logits]:9\n"
    ends = ("[Name]\n", "called]\n")
    heads = [line for line in PROFILE.splitlines(keepends=True) if line.endswith(ends)][-2:]
    rule = "=" * 30
    graph = (
        f"INFO: Operator-wise Profiling Info for Regular Benchmark Runs:\n{rule} Run Order {rule}\n{heads[0]}{delegate}"
        "	    EMBEDDING_LOOKUP	    0.300	    0.300	 30.000%	100.000%	     0.000	        1	[a]:0\n\n"
        f"Number of nodes executed: 2\n{rule} Summary by node type {rule}\n{heads[1]}"
        "	   TfLiteXNNPackDelegate	        1	     0.700	    70.000%	    70.000%	     0.000	        1\n"
        "	    EMBEDDING_LOOKUP	        1	     0.300	    30.000%	   100.000%	     0.000	        1\n\n"
        "Timings (microseconds): count=50 first=1020 curr=1001 min=990 max=1020 avg=1000 std=4\n"
    )
    kernels = PROFILE[PROFILE.index("Delegate internal") :]
    profiles = tool_output.parse(LOG + graph + kernels).profiles
    assert [(o.type, o.avg_ms) for o in time_by_kind(profiles)] == [
        ("EMBEDDING_LOOKUP", 0.3),
        ("Convolution (NHWC, QU8) IGEMM", 0.278),
    ]
    assert outside_delegates(profiles) == (1, 30.0)
    (only,) = tool_output.parse(LOG + graph).profiles
    assert [o.type for o in time_by_kind([only])] == ["TfLiteXNNPackDelegate", "EMBEDDING_LOOKUP"]
    assert outside_delegates([only]) == (1, 30.0)


def test_an_initialization_without_its_heading_is_no_run():
    damaged = PROFILE.replace("Profiling Info for Benchmark Init", "Profiling Info fo")
    assert tool_output.parse(LOG + damaged) == tool_output.parse(LOG + PROFILE)


def test_the_older_header_and_a_single_graph():
    text = PROFILE[: PROFILE.index("INFO: Operator")].replace(
        "Profiling Info for Benchmark Initialization:",
        "Operator-wise Profiling Info for Regular Benchmark Runs:",
    )
    (profile,) = tool_output.parse(text + LOG).profiles
    assert profile.subgraph == "" and profile.nodes[0].first_ms == 552.75
    assert time_by_kind([profile]) == (
        Operation("ModifyGraphWithDelegate", 1, 552.75, 100.0, 3716.0, 1),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("executed: 3", "executed: 4", "does not list the 4 nodes"),
        ("	     0.503	", "	     0.603	", "not 54.818%"),
        ("	    0.203	", "	    0,203	", "0,203"),
        ("	 [avg ms]	     [%]", "	     [%]", "not the columns of Run Order"),
        ("Number of nodes executed: 3\n", "", "incomplete profile: main"),
        (
            "	                   SPLIT	    0.500",
            "	                   SPLAT	    0.500",
            "other nodes by type: main",
        ),
        ("avg=1000 std=4", "avg=1012 std=10", "0.503 ms by type in the profile, not 0.509 ms"),
        (
            " 49.700%	 70.000%",
            " 48.700%	 70.000%",
            "0.497 ms by type in the profile, not 0.487 ms",
        ),
        (
            "Timings (microseconds): count=50 first=1009 curr=1001 min=990 max=1020 avg=1000 std=4\n",
            "",
            "profile without the time of a run: main",
        ),
        (
            "INFO: Operator-wise",
            "INFO: Warning: Dropping ProfileBuffer event.\nINFO: Operator-wise",
            "the profile lacks nodes",
        ),
        ("Subgraph (index: 1, name: while_body) profile:\n", "", "printed twice in a profile"),
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


def test_the_result_file_by_hand():
    output = tool_result.parse_result(message().SerializeToString())
    assert (output.flavor, output.warmup, output.profiles) == ("tflite", None, ())
    assert astuple(output.inference)[:-1] == pytest.approx(astuple(INFERENCE)[:-1], rel=1e-6)
    assert output.inference.first is None and output.init_memory_mb is None
    assert output.init_ms == pytest.approx(3.337, rel=1e-6)
    assert output.overall_memory_mb == pytest.approx(9.097216)  # 8884 * 1024 / 10^6
    assert output.peak_memory_mb == pytest.approx(98.041856)
    without = message(median_ms=None, p5_ms=None, p95_ms=None)
    assert tool_result.parse_result(without.SerializeToString()).inference.median is None


def test_the_result_file_is_that_of_the_tool():
    """Bytes of protoc's encoder: field 2, containing field 1 (avg_ms) = 56.25."""
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
    assert tool_output.parse_flags(HELP.format("use_gpu")) == {"num_runs", "use_gpu"}
    assert tool_output.detect_flavor(HELP.format("enable_op_profiling")) == "tflite"
    assert tool_output.detect_flavor(HELP.format("use_profiler")) == "litert"
    for text in ("sh: benchmark_model: not found", HELP.format("use_gpu")):
        with pytest.raises(ToolError) as caught:
            tool_output.detect_flavor(text)
        assert caught.value.cause == "garbled"
