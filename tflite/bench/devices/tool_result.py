"""The file of `--result_file_path`: a `BenchmarkResult` message.

Source: LiteRT's `tflite/tools/benchmark/proto/benchmark_result.proto`.
"""

from __future__ import annotations

import functools
import math

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from .tool_lines import ToolError
from .tool_output import MIB, Output
from .tool_statistics import Statistics, check_statistics

_METRICS = {  # fields are numbered from 1 in this order
    "LatencyMetrics": (
        "float avg_ms",
        "float min_ms",
        "float max_ms",
        "float stddev_ms",
        "float median_ms",
        "float p5_ms",
        "float p95_ms",
        "float init_ms",
        "float first_inference_ms",
        "float average_warm_up_ms",
    ),
    "MemoryMetrics": (
        "int64 init_footprint_kb",
        "int64 overall_footprint_kb",
        "float peak_mem_mb",
    ),
    "MiscMetrics": (
        "float model_size_mb",
        "int32 num_runs",
        "int32 num_warmup_runs",
        "float model_throughput_in_mb_per_sec",
    ),
}


def parse_result(data: bytes) -> Output:
    """Reads the file of `--result_file_path`, which has neither warm-up, delegations nor profiles.

    Raises:
        ToolError: garbled: not such a file, or a figure in it is missing or impossible.
    """
    try:
        result = result_class().FromString(data)
    except message.DecodeError as error:
        raise ToolError("garbled", f"not a BenchmarkResult: {error}") from None
    latency, memory, misc = result.latency_metrics, result.memory_metrics, result.misc_metrics
    names = ("min_ms", "max_ms", "avg_ms", "stddev_ms", "init_ms")
    for part, name in [*((latency, name) for name in names), (misc, "num_runs")]:
        if not part.HasField(name):
            raise ToolError("garbled", f"BenchmarkResult: no {name}")
    for part in (latency, memory):
        for field, value in part.ListFields():
            if not 0 <= value < math.inf:
                raise ToolError("garbled", f"BenchmarkResult: {field.name} is {value}")
    inference = Statistics(
        count=misc.num_runs,
        min=latency.min_ms,
        max=latency.max_ms,
        mean=latency.avg_ms,
        std=latency.stddev_ms,
        median=_optional(latency, "median_ms"),
        p5=_optional(latency, "p5_ms"),
        p95=_optional(latency, "p95_ms"),
        first=None,  # first_inference_ms belongs to the warm-up
    )
    check_statistics(inference, 1e-3, "BenchmarkResult")
    return Output(
        flavor="tflite",
        inference=inference,
        warmup=None,
        init_ms=latency.init_ms,
        init_memory_mb=_optional(memory, "init_footprint_kb", MIB / 1024),
        overall_memory_mb=_optional(memory, "overall_footprint_kb", MIB / 1024),
        peak_memory_mb=_optional(memory, "peak_mem_mb", MIB),
        delegations=(),
        unsupported={},
        profiles=(),
    )


@functools.cache
def result_class() -> type[message.Message]:
    """The tool's `BenchmarkResult` message, built here since no package ships it."""
    package, descriptor = "tflite.tools.benchmark", descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="benchmark_result.proto", package=package)
    result = file.message_type.add(name="BenchmarkResult")
    result.field.add(
        name="name", number=1, type=descriptor.TYPE_STRING, label=descriptor.LABEL_OPTIONAL
    )
    for number, (metrics, fields) in enumerate(_METRICS.items(), 2):
        result.field.add(
            name=metrics.replace("Metrics", "_metrics").lower(),
            number=number,
            type=descriptor.TYPE_MESSAGE,
            type_name=f".{package}.{metrics}",
            label=descriptor.LABEL_OPTIONAL,
        )
        part = file.message_type.add(name=metrics)
        for index, (field_type, name) in enumerate(map(str.split, fields), 1):
            part.field.add(
                name=name,
                number=index,
                type=descriptor.Type.Value(f"TYPE_{field_type.upper()}"),
                label=descriptor.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.BenchmarkResult"))


def _optional(part: message.Message, name: str, scale: float = 1.0) -> float | None:
    return scale * getattr(part, name) if part.HasField(name) else None
