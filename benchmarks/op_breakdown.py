"""Where a package's time goes: its operations by group, each group run by LiteRT as a model of its own.

The time of a group alone is a lower bound for the package; that of the matmuls is the bound that no lowering
beats while LiteRT runs matmuls as it does. The values do not affect the times (tried with inputs around 0,
0.01 and 1).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from sqb_tflite.package import container

# With int8 and int4 weights, the matmuls quantize their inputs: their time includes it.
PARTS = {
    "matmuls": ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D"),
    "softmax": ("SOFTMAX",),
    "GELU": ("GELU",),
    "norms and sums": ("ADD", "SUB", "MUL", "MEAN", "SUM", "RSQRT", "SQUARED_DIFFERENCE"),
    "data movement": ("TRANSPOSE", "RESHAPE", "SPLIT", "CONCATENATION"),
}


def measure(
    files: Collection[Path], inputs: Mapping[str, np.ndarray], runs: int
) -> dict[str, dict[str, float]]:
    """{package: {part: median milliseconds}} of `PARTS` and the `whole`; 1 thread, interleaved.

    A part without operations takes 0. Inputs that `inputs` does not name are ones.
    """
    interpreters: dict[tuple[str, str], Any] = {}
    for file in files:
        content = file.read_bytes()
        interpreters[file.stem, "whole"] = _allocate(content, inputs)
        for part, model in split_by_part(content, inputs).items():
            interpreters[file.stem, part] = _allocate(model, {})
    times: dict[tuple[str, str], list[float]] = {key: [] for key in interpreters}
    for _ in range(runs + 1):
        for key, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            times[key].append(time.perf_counter() - start)
    medians = {file.stem: dict.fromkeys(("whole", *PARTS), 0.0) for file in files}
    for (name, part), values in times.items():
        medians[name][part] = 1e3 * statistics.median(values[1:])  # the first warms up
    return medians


def split_by_part(content: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """{part: a model of its operations} for `PARTS` that a package has, with the shapes for `inputs`."""
    # Without XNNPACK, which does not update the shapes of the operations it runs.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = _allocate(
        content,
        inputs,
        experimental_op_resolver_type=plain,
        experimental_preserve_all_tensors=True,
    )
    interpreter.invoke()
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    # Operations on integers compute shapes.
    floats = [op for op in interpreter._get_ops_details() if types[op["outputs"][0]] == np.float32]
    chosen = {
        part: [op["index"] for op in floats if op["op_name"] in names]
        for part, names in PARTS.items()
    }
    return {part: _keep(content, ops, interpreter) for part, ops in chosen.items() if ops}


def _keep(content: bytes, chosen: list[int], interpreter: Any) -> bytes:
    """The model with only the `chosen` operations, in their order and with their weights and options.

    Each reads the latest output of its input's shape, or an input of the model if there is none. Unconsumed
    outputs are reduced to a scalar immediately: otherwise writing them to main memory distorts the timing.
    """
    graph = container.parse(content, "model")
    main = graph.subgraphs[0]
    main.operators = [main.operators[index] for index in chosen]
    shapes = {t["index"]: tuple(t["shape"].tolist()) for t in interpreter.get_tensor_details()}
    for index, tensor in enumerate(main.tensors):
        tensor.shape, tensor.shapeSignature = list(shapes[index]), None
        if graph.buffers[tensor.buffer].data is None and tensor.type:  # an integer: a shape
            tensor.buffer = _constant(graph, interpreter.get_tensor(index))
    latest: dict[tuple[int, ...], int] = {}  # tensor by shape
    main.inputs, consumed = [], set()
    for operation in main.operators:
        operation.inputs = operation.inputs.copy()
        for position, index in enumerate(operation.inputs):
            if index >= 0 and graph.buffers[main.tensors[index].buffer].data is None:
                if shapes[index] not in latest:
                    latest[shapes[index]] = index
                    main.inputs.append(index)
                operation.inputs[position] = latest[shapes[index]]
                consumed.add(latest[shapes[index]])
        latest.update((shapes[index], index) for index in operation.outputs)
    _reduce_unconsumed(graph, consumed)
    used = {main.tensors[i].buffer for op in main.operators for i in op.inputs}
    for number, buffer in enumerate(graph.buffers):
        buffer.data = buffer.data if number in used else None
    graph.subgraphs, graph.signatureDefs, graph.metadata = [main], None, None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(graph.Pack(builder), container.MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _reduce_unconsumed(graph: schema.ModelT, consumed: Collection[int]) -> None:
    """Slices one element out of each output that is not `consumed`, right after its operation."""
    main = graph.subgraphs[0]
    graph.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=schema.BuiltinOperator.SLICE,
            builtinCode=schema.BuiltinOperator.SLICE,
        )
    )
    operators, main.operators, main.outputs = main.operators, [], []
    for operation in operators:
        main.operators.append(operation)
        for index in operation.outputs:
            if index not in consumed:
                rank = len(main.tensors[index].shape)
                begin, size = (_tensor(graph, np.full(rank, n, np.int32)) for n in (0, 1))
                main.tensors.append(schema.TensorT(shape=[1] * rank, name=f"cut_{index}"))
                main.outputs.append(len(main.tensors) - 1)
                main.operators.append(
                    schema.OperatorT(
                        opcodeIndex=len(graph.operatorCodes) - 1,
                        inputs=[index, begin, size],
                        outputs=[main.outputs[-1]],
                        builtinOptionsType=schema.BuiltinOptions.SliceOptions,
                        builtinOptions=schema.SliceOptionsT(),
                    )
                )


def _tensor(graph: schema.ModelT, values: np.ndarray) -> int:
    """The index of a new int32 constant."""
    main = graph.subgraphs[0]
    buffer = _constant(graph, values)
    main.tensors.append(
        schema.TensorT(
            shape=list(values.shape),
            type=schema.TensorType.INT32,
            buffer=buffer,
            name=f"constant_{buffer}",
        )
    )
    return len(main.tensors) - 1


def _constant(graph: schema.ModelT, values: np.ndarray) -> int:
    """The index of a new buffer."""
    graph.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
    return len(graph.buffers) - 1


def _allocate(content: bytes, inputs: Mapping[str, np.ndarray], **options: Any) -> Any:
    """An interpreter with its inputs set: to `inputs` by name, the others to ones."""
    interpreter = Interpreter(model_content=content, num_threads=1, **options)
    values = {}
    for details in interpreter.get_input_details():
        index, name = details["index"], details["name"]
        ones = np.ones(details["shape"], details["dtype"])
        values[index] = next((value for key, value in inputs.items() if key in name), ones)
        interpreter.resize_tensor_input(index, values[index].shape)
    interpreter.allocate_tensors()
    for index, value in values.items():
        interpreter.set_tensor(index, value)
    return interpreter
