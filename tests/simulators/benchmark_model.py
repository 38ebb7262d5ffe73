"""A stand-in for TFLite's `benchmark_model`: its flags, its output, and real measurements of the model.

This file, with a first line that names an interpreter, is the "binary" that tests push (phone.py, `tool`).
It is one file since the harness pushes, runs and kills one executable, which finds no module beside it. Its
output follows LiteRT's tflite/tools/benchmark; profiles share the measured time evenly among the
operations, since Python cannot query the runtime for it. On a simulated phone it reports each run to the
phone and receives the faults to simulate.
"""

import gc
import json
import math
import os
import re
import signal
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

VARIANT = ""
# "old": a build of 2020; "litert": the tool of LiteRT's CompiledModel, which has the same name.
VARIANT = os.environ.get("BENCHMARK_VARIANT", VARIANT)
# Delegates that the build has: "gpu", "nnapi", or both separated by a comma. On a phone they take no part of
# the model, elsewhere the platform lacks them.
IDLE_DELEGATES = os.environ.get("BENCHMARK_DELEGATES", "").split(",")
# How many operations a phone's GPU takes, "all" or a number; the CPU computes them all the same.
GPU_TAKES = os.environ.get("BENCHMARK_GPU_TAKES")
# "silent": the build says nothing of nodes, as release builds for other systems than Android; "no runtime":
# the maker's libraries do not start.
NPU_FAULT = os.environ.get("BENCHMARK_NPU")
ROOT = os.environ.get("PHONE_ROOT", "")
LOGCAT = os.environ.get("PHONE_LOGCAT")
ANDROID = bool(ROOT or LOGCAT)
LOGCAT_LINE = 4068  # bytes that Android's log keeps of a message

Value = bool | int | float | str

# Name, default, name in the log, text in the usage.
RUN_FLAGS: list[tuple[str, Value, str, str]] = [
    ("num_runs", 50, "Min num runs", "expected number of runs, see also min_secs, max_secs"),
    ("min_secs", 1.0, "Min runs duration (seconds)", "minimum number of seconds to rerun for"),
    ("max_secs", 150.0, "Max runs duration (seconds)", "maximum number of seconds to rerun for"),
    ("run_delay", -1.0, "Inter-run delay (seconds)", "delay between runs in seconds"),
    (
        "run_frequency",
        -1.0,
        "Number of prorated runs per second",
        "Execute at a fixed frequency, instead of a fixed delay.",
    ),
    ("num_threads", -1, "Num threads", "number of threads"),
    ("use_caching", False, "Use caching", "Enable caching of prepacked weights matrices"),
    ("benchmark_name", "", "Benchmark name", "benchmark name"),
    ("output_prefix", "", "Output prefix", "benchmark output prefix"),
    ("warmup_runs", 1, "Min warmup runs", "minimum number of runs performed on initialization"),
    (
        "warmup_min_secs",
        0.5,
        "Min warmup runs duration (seconds)",
        "minimum number of seconds to rerun for, of warm-up runs",
    ),
    ("verbose", False, "", "Whether to log parameters whose values are not set."),
    ("dry_run", False, "Run w/o invoking kernels", "Whether to run the tool without invoking"),
    (
        "report_peak_memory_footprint",
        False,
        "Report the peak memory footprint",
        "Report the peak memory footprint by periodically checking the memory footprint.",
    ),
    (
        "memory_footprint_check_interval_ms",
        50,
        "Memory footprint check interval (ms)",
        "The interval in millisecond between two consecutive memory footprint checks.",
    ),
]
GRAPH_FLAGS: list[tuple[str, Value, str, str]] = [
    ("graph", "", "Graph", "graph file name"),
    ("signature_to_run_for", "", "Signature to run", "the signature to benchmark"),
]
RESULT_FLAGS: list[tuple[str, Value, str, str]] = [
    (
        "result_file_path",
        "",
        "File path to save the benchmark result in binary proto format",
        "Path to save the benchmark result in binary proto format.",
    ),
]
MODEL_FLAGS: list[tuple[str, Value, str, str]] = [
    (
        "list_signatures",
        False,
        "List signatures from the provided model",
        "Displays all signatures",
    ),
    ("input_layer", "", "Input layers", "input layer names"),
    ("input_layer_shape", "", "Input shapes", "input layer shape"),
    (
        "input_layer_value_range",
        "",
        "Input value ranges",
        "A map-like string representing value range for *integer* input layers.",
    ),
    (
        "input_layer_value_files",
        "",
        "Input value files",
        "A map-like string representing value file. Each item is separated by ','",
    ),
    ("allow_fp16", False, "Allow fp16", "allow fp16"),
    ("require_full_delegation", False, "Require full delegation", "require full delegation"),
    ("enable_op_profiling", False, "Enable op profiling", "enable op profiling"),
    ("op_profiling_output_mode", "stdout", "Op profiling output mode.", "stdout, csv or proto"),
    ("op_profiling_output_file", "", "Op profiling output file.", "Output file of op profiling"),
    ("max_profiling_buffer_entries", 1024, "Max initial profiling buffer entries", "buffer size"),
    ("allow_dynamic_profiling_buffer_increase", False, "Allow dynamic increase", "of the buffer"),
    ("profiling_output_csv_file", "", "CSV File to export profiling data to", "[DEPRECATED]"),
    ("export_model_runtime_info", False, "Enable Model Runtime Info Export", "Enable export"),
    ("model_runtime_info_output_file", "", "Proto File to export to", "Proto File to export to"),
    ("print_preinvoke_state", False, "Print pre-invoke interpreter state", "print out the state"),
    ("print_postinvoke_state", False, "Print post-invoke interpreter state", "print out the state"),
    ("tensor_name_display_length", 25, "Tensor name display length", "of printed tensors"),
    ("tensor_type_display_length", 15, "Tensor type display length", "of printed tensors"),
    (
        "alloc_type_display_length",
        18,
        "Tensor allocation type display length",
        "of printed tensors",
    ),
    ("release_dynamic_tensors", False, "Release dynamic tensor memory", "Release memory"),
    ("optimize_memory_for_large_tensors", 0, "Optimize memory for large tensors", "Optimize"),
    (
        "enable_builtin_cast_constant_cache",
        False,
        "Constant CAST output cache",
        "Cache constant CAST",
    ),
    ("disable_delegate_clustering", False, "Disable delegate clustering", "Disable clustering"),
    ("output_filepath", "", "File path to export outputs layer to", "export outputs layer"),
    ("output_proto_filepath", "", "File path to export outputs to", "export as tf example"),
]
DELEGATE_FLAGS: list[tuple[str, Value, str, str]] = [
    ("help", False, "print out all supported flags", "Print out all supported flags if true."),
    ("max_delegated_partitions", 0, "Max number of delegated partitions", "Max number"),
    ("min_nodes_per_partition", 0, "Min nodes per partition", "The minimal number of nodes"),
    ("first_delegate_node_index", 0, "Index of the first node that could be delegated", "Index"),
    (
        "last_delegate_node_index",
        2**31 - 1,
        "Index of the last node that could be delegated",
        "Index",
    ),
    ("delegate_serialize_dir", "", "Directory for delegate serialization", "Directory"),
    ("delegate_serialize_token", "", "Model-specific token/key", "Model-specific token"),
    ("external_delegate_path", "", "External delegate path", "The library path"),
    ("external_delegate_options", "", "External delegate options", "options"),
    ("stable_delegate_loader_settings", "", "Delegate settings", "Path to the JSON settings"),
    ("use_xnnpack", False, "Use xnnpack", "explicitly apply the XNNPACK delegate."),
    ("xnnpack_force_fp16", False, "xnnpack_force_fp16", "enforce float16 inference."),
    ("xnnpack_weight_cache_file_path", "", "xnnpack_weight_cache_file_path", "weight caching"),
    ("xnnpack_runtime_flags", 0, "Extra flags for XNNPACK runtime", "Extra flags"),
]
ACCELERATOR_FLAGS: dict[str, list[tuple[str, Value, str, str]]] = {
    "gpu": [
        ("use_gpu", False, "Use gpu", "use gpu"),
        ("gpu_precision_loss_allowed", True, "Allow lower precision in gpu", "lower precision"),
        (
            "gpu_experimental_enable_quant",
            True,
            "Enable running quant models in gpu",
            "quant models",
        ),
        (
            "gpu_inference_for_sustained_speed",
            False,
            "Prefer maximizing the throughput",
            "throughput",
        ),
        ("gpu_backend", "", "GPU backend", "Should be one of: cl, gl"),
        ("gpu_invoke_loop_times", 1, "GPU invoke loop times", "runs of a loop, for measuring"),
    ],
    "nnapi": [
        ("use_nnapi", False, "Use NNAPI", "use nnapi delegate api"),
        ("nnapi_execution_preference", "", "NNAPI execution preference", "execution preference"),
        ("nnapi_accelerator_name", "", "NNAPI accelerator name", "the name of the accelerator"),
        ("disable_nnapi_cpu", True, "Disable NNAPI cpu", "Disable the NNAPI CPU device"),
        ("nnapi_allow_fp16", False, "Allow fp16 in NNAPI", "Allow fp16 computation"),
    ],
    "hexagon": [
        ("use_hexagon", False, "Use Hexagon", "Use Hexagon delegate"),
    ],
}
LITERT_FLAGS: list[tuple[str, Value, str, str]] = [
    ("use_cpu", True, "", "Whether to use CPU accelerator."),
    ("use_gpu", False, "", "Whether to use GPU accelerator."),
    ("use_npu", False, "", "Whether to use NPU accelerator."),
    ("dispatch_library_path", "", "", "Dispatch library path."),
    (
        "compiler_plugin_library_path",
        "",
        "",
        "Compiler plugin library path. Only for JIT compilation.",
    ),
    (
        "compiler_cache_path",
        "",
        "",
        "Compiler plugin cache path, used to store JIT-compiled models.",
    ),
    ("require_full_delegation", False, "", "Whether to require full delegation."),
    ("use_profiler", False, "", "Whether to use profiler."),
    ("gpu_backend", "", "", "GPU backend to use when using GPU accelerator."),
    ("allow_fp16", True, "", "Whether to allow FP16."),
    ("input_layer_value_range", "", "", "Value ranges of integer inputs."),
]
if VARIANT == "litert":
    TOOL_FLAGS = RUN_FLAGS + GRAPH_FLAGS + LITERT_FLAGS + RESULT_FLAGS
    PROVIDER_FLAGS = []
else:
    TOOL_FLAGS = RUN_FLAGS + GRAPH_FLAGS + MODEL_FLAGS
    TOOL_FLAGS += RESULT_FLAGS if VARIANT != "old" else []
    PROVIDER_FLAGS = list(DELEGATE_FLAGS)
    for accelerator, flags in ACCELERATOR_FLAGS.items():
        PROVIDER_FLAGS += flags if ANDROID or accelerator in IDLE_DELEGATES else []
FLAGS = TOOL_FLAGS + PROVIDER_FLAGS


class Failed(Exception):
    """The run cannot continue; the reason has been printed."""


class Phone:
    """The simulated phone that this runs on, if any, and the faults to simulate."""

    def __init__(self, command: Sequence[str]) -> None:
        self.faults: set[str] = set()
        self._lines = None
        # Only runs count, not `--help`.
        run = any(argument.startswith("--graph=") for argument in command)
        if run and "PHONE_CONTROL" in os.environ:
            host, port = os.environ["PHONE_CONTROL"].split(":")
            self._lines = socket.create_connection((host, int(port))).makefile("rw")
            self.faults = set(self._ask(json.dumps({"run": command, "pid": os.getpid()})))

    def half_way(self) -> None:
        """Triggers the faults in the middle of a run, which may kill this process."""
        if self._lines:
            self._ask("half way")

    def end(self) -> None:
        """Triggers the faults at the end of a run, before it returns."""
        if self._lines:
            self._ask("end")

    def _ask(self, line: str) -> list[str]:
        self._lines.write(line + "\n")
        self._lines.flush()
        return json.loads(self._lines.readline().strip() or "[]")


def say(severity: str, text: str, runtime: bool = False) -> None:
    """Prints a message immediately; in the app, to Android's log.

    Errors go to standard error, and so does everything that the runtime says, which has its own logger.
    """
    text = text.replace(ROOT, "") if ROOT else text
    if LOGCAT:
        log(severity, text)
        return
    output = sys.stderr if runtime or severity in ("ERROR", "FATAL") else sys.stdout
    start = f"{severity}: " if runtime or VARIANT != "old" else ""
    output.write(f"{start}{text}\n")
    output.flush()


def log(severity: str, text: str) -> None:
    """Appends each line to the phone's log."""
    level = {"WARN": "W", "ERROR": "E", "FATAL": "F", "VERBOSE": "V"}.get(severity, "I")
    now = time.time()
    stamp = time.strftime("%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03}"
    start = f"{stamp} {os.getpid():5} {os.getpid():5} {level} tflite  : "
    kept = text.encode()[:LOGCAT_LINE].decode(errors="ignore")
    with open(LOGCAT, "a") as file:
        file.writelines(f"{start}{line}\n" for line in kept.split("\n"))


def fail(text: str) -> NoReturn:
    say("ERROR", text)
    raise Failed


def abort(text: str) -> NoReturn:
    """Ends as the tool does after a fatal error: SIGABRT."""
    say("FATAL", text)
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGABRT)
    raise Failed


def parse(arguments: Sequence[str]) -> tuple[dict[str, Value], set[str]]:
    """The values of the flags, and the names of those on the command line.

    Raises:
        Failed: a value is none, or help was asked for.
    """
    values = {name: default for name, default, *_ in FLAGS}
    named: set[str] = set()
    unknown: list[str] = []
    good = True
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or name not in values or name in named:
            unknown.append(argument)
            continue
        named.add(name)
        try:
            values[name] = convert(text, values[name])
        except ValueError:
            say("ERROR", f"Failed to parse flag '{name}' against argv '{argument}'")
            good = False
    if not good or unknown[:1] == ["--help"] or values.get("help"):
        fail(usage())
    if unknown:
        say("WARN", f"Unconsumed cmdline flags: {' '.join(unknown)}")
    return values, named


def convert(text: str, default: Value) -> Value:
    """The value of a flag, with the type of its default."""
    if isinstance(default, bool):
        if text not in ("true", "false", "1", "0"):
            raise ValueError(text)
        return text in ("true", "1")
    return type(default)(text)


def usage() -> str:
    kinds = {bool: "bool", int: "int32", float: "float", str: "string"}
    names = [f"--{name}={show(default)}" for name, default, *_ in FLAGS]
    width = max(map(len, names))
    lines = (
        f"\t{shown:<{width}}\t{kinds[type(default)]}\toptional\t{text}\n"
        for shown, (_, default, _, text) in zip(names, FLAGS)
    )
    return f"usage: {sys.argv[0]} <flags>\nFlags:\n" + "".join(lines)


def show(value: Value) -> str:
    """The value as the usage prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """A double as C++ prints it: six significant digits."""
    return f"{value:g}"


def log_parameters(values: Mapping[str, Value], named: set[str]) -> None:
    say("INFO", f"Log parameter values verbosely: [{int(values['verbose'])}]")

    def log_flags(flags: Sequence[tuple[str, Value, str, str]]) -> None:
        for name, _, label, _ in flags:
            if VARIANT == "litert" and name in (
                "graph",
                "signature_to_run_for",
                "result_file_path",
            ):
                continue
            always = name in ("graph", "signature_to_run_for")
            if label and (always or name in named or values["verbose"]):
                value = values[name]
                shown = str(int(value)) if isinstance(value, bool) else show(value)
                say("INFO", f"{label}: [{shown}]")

    log_flags(TOOL_FLAGS)
    if "num_threads" in named and VARIANT != "litert":
        say("INFO", f"#threads used for CPU inference: [{values['num_threads']}]")
    log_flags(PROVIDER_FLAGS)


class Layer:
    """An input as the flags describe it."""

    def __init__(self, name: str, shape: list[int]) -> None:
        self.name, self.shape = name, shape
        self.low: int | None = None
        self.high = 0
        self.file = ""


def layers(values: Mapping[str, Value]) -> list[Layer]:
    """The inputs that the flags describe, in the model's order."""
    names_text, shapes_text = values.get("input_layer", ""), values.get("input_layer_shape", "")
    names = names_text.split(",") if names_text else []
    shapes = shapes_text.split(":") if shapes_text else []
    if len(names) != len(shapes):
        fail(
            f"The number of items in --input_layer_shape ({shapes_text}, with {len(shapes)} items) "
            f"must match the number of items in --input_layer ({names_text}, with {len(names)} "
            "items). For example --input_layer=input1,input2 --input_layer_shape=1,224,224,4:1,20"
        )
    described = []
    for name, shape in zip(names, shapes):
        if not re.fullmatch(r"-?\d+(,-?\d+)*", shape):
            abort(f"Incorrect size string specified: {shape}")
        described.append(Layer(name, [int(size) for size in shape.split(",")]))
        if -1 in described[-1].shape:
            fail(
                "Any unknown sizes in the shapes (-1's) must be replaced with the size you want to "
                "benchmark with."
            )

    def layer(name: str) -> Layer:
        for matched in described:
            if matched.name == name:
                return matched
        abort(
            f"Cannot find the corresponding input_layer name({name}) in --input_layer as {names_text}"
        )

    for item in filter(None, values.get("input_layer_value_range", "").split(":")):
        parts = item.split(",")
        if len(parts) != 3:
            fail(f"Wrong input value range item specified: {item}")
        matched = layer(parts[0])
        try:
            matched.low, matched.high = int(parts[1]), int(parts[2])
        except ValueError:
            matched.low, matched.high = 1, 0
        if matched.low > matched.high:
            fail(f"Wrong low and high value of the input value range specified: {item}")
    for item in filter(None, values.get("input_layer_value_files", "").split(",")):
        parts = [part.replace("::", ":") for part in re.split(r"(?<!:):(?!:)", item)]
        if len(parts) != 2:
            say(
                "ERROR",
                f"{item} contains more than one delimiter."
                if len(parts) > 2
                else f"{item} doesn't contain any delimiter.",
            )
            fail(f"Wrong input value file item specified: {item}")
        matched = layer(parts[0])
        if matched.low is not None:
            say(
                "WARN",
                f"The input_name:{matched.name} appears both in input_layer_value_files and "
                "input_layer_value_range. The input_layer_value_range of the input_name will be "
                "ignored.",
            )
        matched.file = parts[1]
    return described


class Model:
    """A model, ready to run one of its signatures."""

    def __init__(self, values: Mapping[str, Value], named: set[str], inputs: list[Layer]) -> None:
        graph = values["graph"]
        if not os.path.isfile(graph):
            say("ERROR", f"Could not open '{graph}'.")
            say("ERROR", "The model allocation is null/empty")
            fail(f"Failed to load model {graph}")
        # Late, so that a wrong command line fails immediately.
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        delegated = values.get("use_xnnpack") or "use_xnnpack" not in named
        resolver = OpResolverType.AUTO
        if not delegated:
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        threads = values["num_threads"]
        try:
            self.interpreter = Interpreter(
                graph,
                num_threads=threads if threads > 0 else None,
                experimental_op_resolver_type=resolver,
            )
        except (ValueError, RuntimeError) as error:
            say("ERROR", str(error).splitlines()[0])
            fail(f"Failed to load model {graph}")
        if VARIANT == "litert":
            say("INFO", f"[benchmark_litert_model.cc:92] Loading model from: {graph}", runtime=True)
        else:
            say("INFO", f"Loaded model {graph}")
        self._wrapper = self.interpreter._interpreter
        self._choose(values)
        self._prepare(inputs)
        self._delegate(values, named)
        try:
            self._wrapper.AllocateTensors(self.subgraph)
        except RuntimeError as error:
            say("ERROR", str(error))
            fail("Failed to allocate tensors!")
        self.operations = self.interpreter._get_ops_details()
        if delegated and LOGCAT:  # the library prints it to standard error, which an app lacks
            say("INFO", "Created TensorFlow Lite XNNPACK delegate for CPU.")
        if values.get("use_xnnpack"):
            self._tell_delegation(values)
        self._describe = self.interpreter._get_tensor_details

    def _choose(self, values: Mapping[str, Value]) -> None:
        """Chooses the signature to run, and the subgraph's inputs in the order of the graph."""
        signatures = self.interpreter._get_full_signature_list()
        if values.get("list_signatures"):
            say("INFO", f"The Model contains {len(signatures)} signature key(s).")
            if signatures:
                say("INFO", "They are listed below: ")
            for key in signatures:
                say("INFO", f"-> Signature Key: {key}")
            raise Failed
        key = values["signature_to_run_for"]
        if not signatures:
            if key:
                fail("Signature key is specified, but the model does not have any signatures.")
            self.subgraph, self.inputs = 0, list(self._wrapper.InputIndices())
            self.outputs = list(self._wrapper.OutputIndices())
            return
        if key in signatures and VARIANT == "":
            say("INFO", f"Using signature: {key}")
        if not key and (len(signatures) == 1 or VARIANT == "litert"):
            key = next(iter(signatures))
        if key not in signatures:
            say(
                "ERROR",
                "Signature not specified or incorrect. Pass one of the following to the flag "
                '"--signature_to_run_for"',
            )
            for known in signatures:
                say("ERROR", f" #> Signature key: {known}")
            raise Failed
        self.subgraph = self._wrapper.GetSubgraphIndexFromSignature(key)
        # The inputs of a signature have names; the converter numbers those of a subgraph in order.
        self.inputs = sorted(signatures[key]["inputs"].values())
        self.outputs = self._output_order(signatures[key]["outputs"])
        self._names = {index: name for name, index in signatures[key]["inputs"].items()}

    def _output_order(self, outputs: Mapping[str, int]) -> list[int]:
        """The outputs in the order of the graph, which the library tells of the first subgraph alone."""
        first = list(self._wrapper.OutputIndices())
        return first if self.subgraph == 0 else sorted(outputs.values())

    def _prepare(self, inputs: list[Layer]) -> None:
        """Resizes the inputs."""
        if inputs and len(inputs) != len(self.inputs):
            abort(f"Inputs mismatch: Model inputs #:{len(inputs)} expected: {len(self.inputs)}")
        for index, layer in zip(self.inputs, inputs):
            name = self._wrapper.TensorName(index, self.subgraph)
            if name != layer.name:
                say("WARN", f"Tensor # {index} is named {name} but flags call it {layer.name}")
            rank = len(self._wrapper.TensorSize(index, self.subgraph))
            if len(layer.shape) != rank:
                fail(f"Input tensor #{index} should have {rank} dimensions!")
        for index, layer in zip(self.inputs, inputs):
            import numpy as np

            shape = np.array(layer.shape, np.int32)
            self._wrapper.ResizeInputTensor(index, shape, False, self.subgraph)

    def _delegate(self, values: Mapping[str, Value], named: set[str]) -> None:
        """Delegates that this machine lacks: warns, fails, or reports which part they took."""
        asked = {"gpu": "use_gpu", "nnapi": "use_nnapi"}
        if values.get("use_gpu") and ANDROID and GPU_TAKES is not None:
            self._tell_gpu(values)
            return
        applied = [name for name, flag in asked.items() if values.get(flag)]
        for name in applied:
            if not ANDROID and VARIANT == "":
                say("WARN", f"{name.upper()} acceleration is unsupported on this platform.")
                continue
            if name not in IDLE_DELEGATES:
                say("ERROR", f"{name.upper()} delegate is not available on this device.")
                fail(f"Failed to apply {name.upper()} delegate.")
            if values["require_full_delegation"]:
                fail("Disallowed CPU fallback detected.")
            say(
                "INFO",
                f"Though {name.upper()} delegate is explicitly applied, the model graph will not be "
                "executed by the delegate.",
            )
        full = values.get("require_full_delegation") and not values.get("use_xnnpack")
        if full and VARIANT != "litert":
            fail("Disallowed CPU fallback detected.")

    def _tell_gpu(self, values: Mapping[str, Value]) -> None:
        """What phones print of their GPU: TFLite's delegate, or LiteRT's accelerator (OpenCL).

        Public logs: tensorflow/tensorflow#43541 for the first, of LiteRT 2.2 on a Galaxy S26 for the other.
        """
        total = sum(op["op_name"] != "DELEGATE" for op in self.interpreter._get_ops_details())
        taken = total if GPU_TAKES == "all" else int(GPU_TAKES)
        parts = 1 if taken == total else 2
        name = "LITERT_CL" if VARIANT == "litert" else "TfLiteGpuDelegateV2"
        where = f"subgraph {self.subgraph} (main)" if VARIANT == "litert" else "the whole graph"
        if VARIANT != "litert":
            say("INFO", "Created TensorFlow Lite delegate for GPU.", runtime=True)
            say("INFO", "GPU delegate created.")
        elif taken == 0:
            return  # and XNNPACK takes it all, without another word
        say(
            "VERBOSE",
            f"Replacing {taken} out of {total} node(s) with delegate ({name}) node, yielding {parts} "
            f"partitions for {where}.",
            runtime=True,
        )
        if VARIANT == "litert":
            return
        self._conclude("GPU", kernels=bool(taken), whole=taken == total)

    def _tell_delegation(self, values: Mapping[str, Value]) -> None:
        plain, inside, kernels = self.plan()
        left = len(plain) - len(inside)
        if ANDROID or VARIANT != "":  # release builds of other systems leave it out
            say(
                "VERBOSE",
                f"Replacing {len(inside)} out of {len(plain)} node(s) with delegate "
                f"(TfLiteXNNPackDelegate) node, yielding {2 * kernels + bool(left)} partitions for "
                "the whole graph.",
                runtime=True,
            )
        if VARIANT == "":
            say("INFO", "XNNPACK delegate created.")
            say("INFO", "Use xnnpack: [1]")
        if values["require_full_delegation"] and left:
            fail("Disallowed CPU fallback detected.")
        self._conclude("XNNPACK", kernels, whole=left == 0 and kernels == 1)

    def _conclude(self, name: str, kernels: int, whole: bool) -> None:
        """The tool's own line on a delegate that a flag asked for."""
        start = f"{name} delegate is explicitly applied, the model graph will not be"
        if kernels == 0:
            say("INFO", f"Though {start} executed by the delegate.")
            return
        start = f"Explicitly applied {name} delegate, and the model graph will be"
        if whole:
            say("INFO", f"{start} completely executed by the delegate.")
        else:
            say(
                "INFO",
                f"{start} partially executed by the delegate w/ {kernels:d} delegate kernels.",
            )

    def plan(self) -> tuple[list[dict], set[int], int]:
        """The operations of the model, the indices of the delegated ones, and the delegate's kernels."""
        kernels = [op for op in self.operations if op["op_name"] == "DELEGATE"]
        plain = [op for op in self.operations if op["op_name"] != "DELEGATE"]
        producer = {tensor: op for op in plain for tensor in op["outputs"]}
        delegated: set[int] = set()
        for kernel in kernels:
            inputs, pending = set(kernel["inputs"]), list(kernel["outputs"])
            while pending:
                op = producer.get(pending.pop())
                if op is not None and op["index"] not in delegated:
                    delegated.add(op["index"])
                    pending += [tensor for tensor in op["inputs"] if tensor not in inputs]
        return plain, delegated, len(kernels)

    def ranges(self, text: str) -> list[Layer]:
        """The inputs with the value ranges of LiteRT's flag, which names them."""
        described = [Layer(self._names[index], []) for index in self.inputs]
        items = (item.split(",") for item in text.split(":") if item)
        limits = {name: (int(low), int(high)) for name, low, high in items}
        for layer in described:
            layer.low, layer.high = limits.get(layer.name, (None, 0))
        return described

    def fill(self, inputs: list[Layer]) -> None:
        """Creates the values of the inputs: from files, or random."""
        import numpy as np

        generator = np.random.default_rng()
        self._values = []
        for position, index in enumerate(self.inputs):
            details = self._describe(index, self.subgraph)
            shape, dtype = tuple(details["shape"]), details["dtype"]
            layer = inputs[position] if inputs else None
            if layer and layer.file:
                data = load(layer.file, math.prod(shape) * np.dtype(dtype).itemsize)
                values = np.frombuffer(data, dtype).reshape(shape)
            elif np.issubdtype(dtype, np.integer):
                low, high = (layer.low, layer.high) if layer and layer.low is not None else (0, 99)
                if np.dtype(dtype).itemsize == 1 and not (layer and layer.low is not None):
                    low, high = (0, 254) if dtype == np.uint8 else (-127, 127)
                values = generator.integers(low, high + 1, shape).astype(dtype)
            else:
                values = generator.uniform(-0.5, 0.5, shape).astype(dtype)
            self._values.append((index, values))
        self.input_bytes = sum(values.nbytes for _, values in self._values)

    def runner(self) -> tuple[Callable[[], None], Callable[[], object]]:
        """Functions that set the inputs and that run the model."""
        wrapper, subgraph, values = self._wrapper, self.subgraph, self._values

        def reset() -> None:
            for index, value in values:
                wrapper.SetTensor(index, value, subgraph)

        return reset, lambda: wrapper.Invoke(subgraph)

    def output_bytes(self) -> bytes:
        tensors = (self._wrapper.GetTensor(index, self.subgraph) for index in self.outputs)
        return b"".join(tensor.tobytes() for tensor in tensors)

    def tensor_name(self, index: int) -> str:
        return self._wrapper.TensorName(int(index), 0)


def load(path: str, size: int) -> bytes:
    """The values of an input from a file, which must have its size."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        abort(f"Failed to read the input_layer_value_file:{path}")
    if len(data) != size:
        abort(f"The size of {path} is {len(data)} bytes. It should be {size} bytes.")
    return data


class CompiledModel:
    """A model compiled for an NPU, whose binaries nothing here runs: a run is a sleep of a millisecond.

    What it prints on the way is what LiteRT printed on phones: paths and accelerators in the issue
    google-ai-edge/LiteRT#6059, replaced nodes in logs of LiteRT 2.2 on Snapdragon and Exynos, and the errors
    where there is no runtime in google-ai-edge/LiteRT-LM#1466 and google-ai-edge/LiteRT#5141.
    """

    input_bytes = 0

    def __init__(self, values: Mapping[str, Value], graph: object) -> None:
        codes = [code.customCode for code in graph.operatorCodes]
        operators = graph.subgraphs[0].operators
        binaries = sum(codes[operator.opcodeIndex] == b"DISPATCH_OP" for operator in operators)
        self.interpreter = None
        say(
            "INFO",
            f"[benchmark_litert_model.cc:201] Loading model from: {values['graph']}",
            runtime=True,
        )
        if not values["use_npu"]:
            self._fail_unresolved()
        for line, name in (
            (171, "dispatch_library"),
            (175, "compiler_plugin_library"),
            (178, "compiler_cache"),
        ):
            say(
                "INFO",
                f"[benchmark_litert_model.cc:{line}] {name}_path: {values[f'{name}_path']}",
                runtime=True,
            )
        say("INFO", "[environment.cc:30] Creating LiteRT environment with options", runtime=True)
        say("INFO", "[auto_registration.cc:160] NPU accelerator registered.", runtime=True)
        if NPU_FAULT == "silent":
            return
        library = self._dispatch_library(values["dispatch_library_path"])
        if library:
            say("INFO", f"[litert_dispatch.cc:126] Loading shared library: {library}", runtime=True)
        usable = library and NPU_FAULT != "no runtime" and self._finds_runtime()
        if not usable:
            where = "[external/litert/litert/runtime/dispatch/dispatch_delegate.cc:168]"
            text = f"Failed to initialize Dispatch API: ERROR: {where}"
            say("ERROR", f"[dispatch_delegate.cc:107] {text}", runtime=True)
        say(
            "INFO",
            f"Replacing {binaries} out of {len(operators)} node(s) with delegate (DispatchDelegate) node, "
            f"yielding {min(len(operators), 2 * binaries + 1)} partitions for subgraph 0 (main).",
            runtime=True,
        )
        if not usable:
            text = "Failed to create a dispatch delegate kernel: No usable Dispatch runtime found"
            say("ERROR", f"[dispatch_delegate.cc:122] {text}", runtime=True)
            self._fail_unresolved()

    def _dispatch_library(self, folder: str) -> str:
        """LiteRT loads the first of this name in the folder."""
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return next((f"{folder}/{n}" for n in names if n.startswith("libLiteRtDispatch_")), "")

    def _finds_runtime(self) -> bool:
        """Whether the loaders of the phone and of the Hexagon are told where the maker's libraries are."""
        paths = [os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "ADSP_LIBRARY_PATH")]
        return all(os.path.isfile(f"{path}/libQnnHtp.so") for path in paths)

    def _fail_unresolved(self) -> NoReturn:
        say("ERROR", "Encountered unresolved custom op: DISPATCH_OP.", runtime=True)
        fail("Node number 0 (DISPATCH_OP) failed to prepare.")

    def ranges(self, text: str) -> list[Layer]:
        return []

    def fill(self, inputs: list[Layer]) -> None:
        pass

    def runner(self) -> tuple[Callable[[], None], Callable[[], object]]:
        return (lambda: None), (lambda: time.sleep(0.001))


def compiled_graph(path: str) -> object | None:
    """The model of a file with an NPU's binaries in it; None: it has none."""
    with open(path, "rb") as file:
        content = file.read()
    if b"DISPATCH_OP" not in content:
        return None
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


class Timings(list):
    """Microseconds of the runs, in order."""

    def average(self) -> float:
        return statistics.fmean(self) if self else math.nan

    def deviation(self) -> int:
        return int(statistics.pstdev(self)) if self else 0

    def percentile(self, percent: int) -> int:
        return sorted(self)[len(self) * percent // 100]

    def line(self, percentiles: bool) -> str:
        if not self:
            return "count=0"
        if len(set(self)) == 1:
            text = f"count={len(self)} curr={self[-1]}" + "(all same)" * (len(self) > 1)
        else:
            text = (
                f"count={len(self)} first={self[0]} curr={self[-1]} min={min(self)} "
                f"max={max(self)} avg={number(self.average())} std={self.deviation()}"
            )
        if percentiles:
            p5, median, p95 = map(self.percentile, (5, 50, 95))
            text += f" p5={p5} median={median} p95={p95}"
        return text


def repeat(
    model: Model, values: Mapping[str, Value], runs: int, min_secs: float, garbled: bool = False
) -> Timings:
    """Runs the model at least `runs` times and `min_secs` seconds; prints the `count=` line.

    Raises:
        Failed: a run failed. The others are done all the same, as the tool does.
    """
    reset, invoke = model.runner()
    timings, failures = Timings(), []
    delay, frequency = values["run_delay"], values["run_frequency"]
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    now = clock()
    soonest, latest = now + int(min_secs * 1e9), now + int(values["max_secs"] * 1e9)
    due = now
    while (len(timings) < runs or now < soonest) and now <= latest:
        reset()
        start = clock()
        try:
            invoke()
        except RuntimeError as error:
            failures.append(error)
        end = clock()
        timings.append((end - start) // 1000)
        if frequency > 0:
            due += int(1e9 / frequency)
            delay = (due - clock()) / 1e9
        if delay > 0:
            time.sleep(delay)
        now = clock()
    gc.enable()
    if failures:
        # The library returns every message since the start, one after the other.
        messages = str(failures[0]).replace("Node number", "\nERROR: Node number")
        for _ in failures:
            say("ERROR", messages)
    line = timings.line(percentiles=VARIANT != "old")
    # The tool ends this line twice.
    say("INFO", (spoil(line) if garbled else line) + "\n")
    if failures:
        raise Failed
    return timings


def spoil(line: str) -> str:
    """A line damaged by a bad connection."""
    return line[: len(line) // 3] + "\x00\x1b\ufffd#avg=" + line[-3:]


def announce(runs: int, min_secs: float, max_secs: float) -> None:
    say(
        "INFO",
        f"Running benchmark for at least {runs} iterations and at least {number(min_secs)} seconds "
        f"but terminate if exceeding {number(max_secs)} seconds.",
    )


def peak_kb() -> int:
    """The peak of resident memory: `ru_maxrss` without the parent's, which Linux hands down."""
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s*(\d+) kB", file.read())[1])


def run(arguments: Sequence[str], phone: Phone) -> None:
    """Runs the tool.

    Raises:
        Failed: as the tool does.
    """
    values, named = parse(arguments)
    if not values["graph"] and VARIANT != "litert":
        fail("Please specify the name of your TF Lite input file with --graph")
    mode = values.get("op_profiling_output_mode")
    if values.get("profiling_output_csv_file"):
        values["op_profiling_output_file"] = values["profiling_output_csv_file"]
        values["op_profiling_output_mode"] = "csv"
    elif values.get("enable_op_profiling") and mode not in ("stdout", "csv"):
        # The tool also has "proto", this stand-in does not.
        fail(
            f"Output mode{mode} is not supported. Supported values are: 'stdout', 'csv' and 'proto'."
        )
    inputs = layers(values) if VARIANT != "litert" else []
    log_parameters(values, named)
    size_mb = os.path.getsize(values["graph"]) / 1e6 if os.path.isfile(values["graph"]) else 0
    start_kb, start = peak_kb(), time.perf_counter_ns()
    graph = None
    if VARIANT == "litert" and os.path.isfile(values["graph"]):
        graph = compiled_graph(values["graph"])
    model = CompiledModel(values, graph) if graph else Model(values, named, inputs)
    init_us, init_kb = (time.perf_counter_ns() - start) // 1000, peak_kb() - start_kb
    say("INFO", f"The input model file size (MB): {number(size_mb)}")
    say("INFO", f"Initialized session in {number(init_us / 1e3)}ms.")
    if "hang" in phone.faults:
        while True:
            time.sleep(60)
    if VARIANT == "litert":
        inputs = model.ranges(values["input_layer_value_range"])
    model.fill(inputs)
    runs, min_secs, max_secs = values["num_runs"], values["min_secs"], values["max_secs"]
    warmups, warmup_secs = values["warmup_runs"], values["warmup_min_secs"]
    if values["dry_run"]:
        runs, min_secs, warmups, warmup_secs = 0, -1.0, 0, -1.0
    announce(warmups, warmup_secs, max_secs)
    warmup = repeat(model, values, warmups, warmup_secs)
    announce(runs, min_secs, max_secs)
    phone.half_way()
    regular = repeat(model, values, runs, min_secs, garbled="garbled" in phone.faults)
    overall_kb = peak_kb() - start_kb
    report = Report(model, values, init_us, warmup, regular, size_mb, init_kb, overall_kb)
    if VARIANT == "litert":
        report.print_litert()
    else:
        report.print()
    if values.get("enable_op_profiling"):
        profile(model, values, init_us, init_kb, regular)
    if values.get("result_file_path"):
        report.save(values["result_file_path"])
    if values.get("output_filepath"):
        with open(values["output_filepath"], "wb") as file:
            file.write(spoil_answers(model.output_bytes()))


def spoil_answers(data: bytes) -> bytes:
    """The outputs of a delegate that computes wrongly: 0, or not a number, as BENCHMARK_ANSWERS says."""
    kind = os.environ.get("BENCHMARK_ANSWERS")
    if kind == "nan":
        return struct.pack("<f", math.nan) * (len(data) // 4)
    if kind == "short":
        return data[:-1]
    return bytes(len(data)) if kind == "zero" else data


class Report:
    """The measurements of a run."""

    def __init__(
        self,
        model: Model,
        values: Mapping[str, Value],
        init_us: int,
        warmup: Timings,
        regular: Timings,
        size_mb: float,
        init_kb: int,
        overall_kb: int,
    ) -> None:
        self.init_us, self.warmup, self.regular, self.size_mb = init_us, warmup, regular, size_mb
        self.init_kb, self.overall_kb = init_kb, overall_kb
        self.peak_mb = peak_kb() / 1024 if values["report_peak_memory_footprint"] else 0.0
        self.first = warmup[0] if warmup else 0
        seconds = sum(regular) / 1e6
        self.throughput = model.input_bytes * len(regular) / seconds / 1e6 if seconds else 0.0

    def print(self) -> None:
        warmup, regular = number(self.warmup.average()), number(self.regular.average())
        if VARIANT == "old":
            say(
                "INFO",
                f"Average inference timings in us: Warmup: {warmup}, Init: {self.init_us}, "
                f"Inference: {regular}",
            )
        else:
            say(
                "INFO",
                f"Inference timings in us: Init: {self.init_us}, First inference: {self.first}, "
                f"Warmup (avg): {warmup}, Inference (avg): {regular}",
            )
        say(
            "INFO",
            "Note: as the benchmark tool itself affects memory footprint, the following is only "
            "APPROXIMATE to the actual memory footprint of the model at runtime. Take the "
            "information at your discretion.",
        )
        what = "Memory footprint delta from the start of the tool (MB)"
        if VARIANT == "old":
            what = "Peak memory footprint (MB)"
        init, overall = number(self.init_kb / 1024), number(self.overall_kb / 1024)
        say("INFO", f"{what}: init={init} overall={overall}")
        if self.peak_mb and VARIANT != "old":
            self.print_peak()

    def print_peak(self) -> None:
        with open("/proc/self/statm") as file:
            pages = [int(count) for count in file.read().split()]
        rss, shared = (count * os.sysconf("SC_PAGE_SIZE") >> 20 for count in pages[1:3])
        peak = number(self.peak_mb)
        say("INFO", f"Overall peak memory footprint (MB) via periodic monitoring: {peak}")
        say("INFO", "Memory status at the end of exeution:")
        say("INFO", f"- VmRSS              : {rss} MB")
        say("INFO", f"+ RssAnnon           : {rss - shared} MB")
        say("INFO", f"+ RssFile + RssShmem : {shared} MB")

    def print_litert(self) -> None:
        ms = [us / 1000 for us in self.regular] or [0.0]
        average = statistics.fmean(ms)
        lines = [
            "\n========== BENCHMARK RESULTS ==========",
            f"Model initialization: {self.init_us / 1000:.2f} ms",
            f"Warmup (first):       {self.first / 1000:.2f} ms",
            f"Warmup (avg):         {self.warmup.average() / 1000:.2f} ms ({len(self.warmup)} runs)",
            f"Inference (avg):      {average:.2f} ms ({len(self.regular)} runs)",
            f"Inference (min):      {min(ms):.2f} ms",
            f"Inference (max):      {max(ms):.2f} ms",
            f"Inference (std):      {self.regular.deviation() / 1000:.2f}",
            f"Throughput:           {self.throughput:.2f} MB/s",
            "\nMemory Usage:",
            f"Init footprint:       {self.init_kb / 1024:.2f} MB",
            f"Overall footprint:    {self.overall_kb / 1024:.2f} MB",
            "Peak memory usage not available. (peak_mem_mb <= 0)",
            "======================================\n",
        ]
        if self.peak_mb:
            lines[-2] = f"Peak memory:          {self.peak_mb:.2f} MB"
        for place, line in enumerate(lines):
            say("INFO", f"[benchmark_litert_model.h:{81 + place}] {line}", runtime=True)

    def save(self, path: str) -> None:
        """Writes a `BenchmarkResult`."""
        regular, warmup = self.regular, self.warmup
        latency = [regular.average(), min(regular, default=0), max(regular, default=0)]
        latency += [regular.deviation()]
        latency += [regular.percentile(p) if regular else 0 for p in (50, 5, 95)]
        latency += [self.init_us, self.first, warmup.average()]
        memory: list[int | float] = [self.init_kb, self.overall_kb]
        memory += [self.peak_mb] if self.peak_mb else []
        misc = [self.size_mb, len(regular), len(warmup), self.throughput]
        parts = {2: [us / 1000.0 for us in latency], 3: memory, 4: misc}
        encoded = b"".join(block(number, message(fields)) for number, fields in parts.items())
        try:
            with open(path, "wb") as file:
                say("INFO", f"Saving benchmark result to: {path}")
                file.write(encoded)
            say("INFO", f"Saved benchmark result to: {path}")
        except OSError:
            say("ERROR", f"Failed to save benchmark result to: {path}")


def message(fields: Sequence[int | float]) -> bytes:
    """A protocol buffer of these fields, numbered from 1: floats, and integers as varints."""
    encoded = bytearray()
    for field, value in enumerate(fields, 1):
        if isinstance(value, float):
            encoded += bytes([field << 3 | 5]) + struct.pack("<f", value)
        else:
            encoded += bytes([field << 3]) + varint(value)
    return bytes(encoded)


def block(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(data)) + data


def varint(value: int) -> bytes:
    encoded, value = bytearray(), value & (1 << 64) - 1
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


class Row:
    """A row of a profile: microseconds of the first call and in total."""

    def __init__(
        self, kind: str, name: str, first: float = 0.0, average: float = 0.0, kb: float = 0
    ) -> None:
        self.kind, self.name, self.first, self.average, self.kb = kind, name, first, average, kb


def profile(
    model: Model, values: Mapping[str, Value], init_us: int, init_kb: int, regular: Timings
) -> None:
    """Prints or saves a profile in the tool's format, sharing the time evenly among the operations."""
    csv = values["op_profiling_output_mode"] == "csv"
    init_rows = [
        Row(
            "ModifyGraphWithDelegate",
            "ModifyGraphWithDelegate/0",
            init_us * 0.9,
            init_us * 0.9,
            init_kb,
        ),
        Row("AllocateTensors", "AllocateTensors/0", init_us * 0.1, init_us * 0.1),
    ]
    init = tables(init_rows, Timings([init_us]), csv)
    runs = graph_tables(model, regular, csv)
    parts = {
        "Profiling Info for Benchmark Initialization:": init,
        "Operator-wise Profiling Info for Regular Benchmark Runs:": runs,
    }
    if values["op_profiling_output_file"]:
        try:
            with open(values["op_profiling_output_file"], "w") as file:
                file.writelines(f"{heading}\n{text}\n" for heading, text in parts.items())
            return
        except OSError:
            pass  # then to standard output, like the tool
    for heading, text in parts.items():
        say("INFO", f"{heading}\n{text}" + "\n" * (VARIANT == ""))


def graph_tables(model: Model, regular: Timings, csv: bool) -> str:
    """The tables of the regular runs: a delegate's kernels stand among the operations that it left.

    In builds of 2020 the delegate is an operation, and its kernels have a table of their own.
    """
    plain, inside, kernels = model.plan()
    left = [op for op in plain if op["index"] not in inside]
    delegates = [op for op in model.operations if op["op_name"] == "DELEGATE"]
    whole, first = regular.average(), regular[0] if regular else 0.0
    old = VARIANT == "old"
    rows = []
    for op in left + (delegates if old else []):
        kind = "TfLiteXNNPackDelegate" if op["op_name"] == "DELEGATE" else op["op_name"]
        names = ", ".join(model.tensor_name(index) for index in op["outputs"])
        rows.append(Row(kind, f"[{names}]:{op['index']}"))
    micro = []
    for place, index in enumerate(sorted(inside)):
        name = title(plain[index]["op_name"])
        micro.append(Row("DelegateOpInvoke" if old else name, f"Delegate/{name}:{place}"))
    if not old:
        rows += micro
    for row in rows:
        row.average, row.first = whole / len(rows), first / len(rows)
    text = tables(rows, regular, csv)
    if old and micro:
        share = kernels / len(rows)
        for row in micro:
            row.average = row.first = whole * share / len(micro)
        within = Timings(round(us * share) for us in regular)
        text += "Delegate internal: \n" + tables(micro, within, csv)
    return text


def title(name: str) -> str:
    """A microkernel's name for an operation."""
    return name.replace("_", " ").title() + " (NC, F32)"


RULE = "=" * 30
KIND_WIDTH = 24 if VARIANT == "old" else 40


def tables(rows: list[Row], totals: Timings, csv: bool) -> str:
    total = sum(row.average for row in rows) or 1.0
    text = ""
    by_time = sorted(rows, key=lambda row: -row.average)
    for heading, ordered in (("Run Order", rows), ("Top by Computation Time", by_time[:10])):
        text += f"{RULE} {heading} {RULE}\n" + head(csv)
        done = 0.0
        for row in ordered:
            done += row.average
            text += line(
                csv,
                [row.kind, row.first / 1000, row.average / 1000],
                [100 * row.average / total, 100 * done / total],
                [float(row.kb), 1],
                row.name,
            )
        text += "\n"
    text += f"Number of nodes executed: {len(rows)}\n{RULE} Summary by node type {RULE}\n"
    text += summary_head(csv)
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    # The tool cuts each operation to whole microseconds before it adds them up.
    spent = {kind: sum(int(row.average) for row in members) for kind, members in kinds.items()}
    whole, done = sum(spent.values()), 0.0
    for kind, microseconds in sorted(spent.items(), key=lambda item: -item[1]):
        done += microseconds
        text += summary_line(
            csv,
            [kind, len(kinds[kind]), microseconds / 1000],
            [100 * us / whole if whole else math.nan for us in (microseconds, done)],
            [sum(float(row.kb) for row in kinds[kind]), len(kinds[kind])],
        )
    text += f"\nTimings (microseconds): {totals.line(percentiles=False)}\n"
    return text + f"Memory (bytes): count=0\n{len(rows)} nodes observed\n\n"


def head(csv: bool) -> str:
    if csv:
        return "node type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
    widths = (KIND_WIDTH, 9, 9, 8, 8, 10, 9)
    names = ("[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]")
    return "".join(f"\t{name:>{width}}" for name, width in zip(names, widths)) + "\t[Name]\n"


def line(csv: bool, start: list, percents: list[float], end: list, name: str) -> str:
    kind, first, average = start
    kb, called = end
    if csv:
        shares = ", ".join(f"{number(percent)}%" for percent in percents)
        name = name.replace(", ", "\t")
        return f"{kind}, {number(first)}, {number(average)}, {shares}, {number(kb)}, {called}, {name}\n"
    shares = "".join(f"\t{percent:7.3f}%" for percent in percents)
    return f"\t{kind:>{KIND_WIDTH}}\t{first:9.3f}\t{average:9.3f}{shares}\t{kb:10.3f}\t{called:9}\t{name}\n"


def summary_head(csv: bool) -> str:
    if csv:
        return "node type, count, avg_ms, avg %, cdf %, mem KB, times called\n"
    widths = (KIND_WIDTH, 9, 10, 11, 11, 10, 10)
    names = (
        "[Node type]",
        "[count]",
        "[avg ms]",
        "[avg %]",
        "[cdf %]",
        "[mem KB]",
        "[times called]",
    )
    return "".join(f"\t{name:>{width}}" for name, width in zip(names, widths)) + "\n"


def summary_line(csv: bool, start: list, percents: list[float], end: list) -> str:
    kind, count, average = start
    kb, called = end
    if csv:
        shares = ", ".join(f"{number(percent)}%" for percent in percents)
        return f"{kind}, {count}, {number(average)}, {shares}, {number(kb)}, {called}\n"
    shares = "".join(f"\t{percent:10.3f}%" for percent in percents)
    return f"\t{kind:>{KIND_WIDTH}}\t{count:9}\t{average:10.3f}{shares}\t{kb:10.3f}\t{called:9}\n"


def main() -> int:
    signal.signal(
        signal.SIGPIPE, signal.SIG_DFL
    )  # like a C++ program, it ends when its reader does
    phone = Phone(sys.argv)
    if "wrong_abi" in phone.faults:
        name = sys.argv[0].replace(ROOT, "") if ROOT else sys.argv[0]
        sys.stderr.write(f"/system/bin/sh: {name}: not executable: 64-bit ELF file\n")
        return 126
    say("INFO", "STARTING!")
    try:
        run(sys.argv[1:], phone)
    except Failed:
        say("ERROR", "Benchmarking failed.")
        phone.end()
        return 1
    phone.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
