"""What the benchmark tool prints and writes: whole logs, put together from public ones, and a result file."""

# The tool's lines are long, and those of its tables start with tabs.
# ruff: noqa: E101, E501

from tflite.bench.devices import tool_result

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
