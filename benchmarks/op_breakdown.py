"""Where a package's time goes: its operations by kind, each kind run by LiteRT as a model of its own.

What a kind takes alone is what a package would take at least, were nothing else left of it: of the products,
what no lowering saves while LiteRT runs them as it does. What numbers they work on does not matter to their
time (tried with inputs around 0, 0.01 and 1).
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

# With weights of few bits, the products quantize what they are given: that is in their time.
PARTS = {
    "products": ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D"),
    "softmax": ("SOFTMAX",),
    "GELU": ("GELU",),
    "norms and sums": ("ADD", "SUB", "MUL", "MEAN", "SUM", "RSQRT", "SQUARED_DIFFERENCE"),
    "moving": ("TRANSPOSE", "RESHAPE", "SPLIT", "CONCATENATION"),
}


def measure(
    files: Collection[Path], inputs: Mapping[str, np.ndarray], runs: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds by package's name, of each of `PARTS` and of the `whole`; 1 thread, in turns.

    A kind that a package has none of takes 0. Inputs of other names than `inputs` has are ones.
    """
    made: dict[tuple[str, str], Any] = {}
    for file in files:
        content = file.read_bytes()
        made[file.stem, "whole"] = _ready(content, inputs)
        for part, taken in taken_apart(content, inputs).items():
            made[file.stem, part] = _ready(taken, {})
    times: dict[tuple[str, str], list[float]] = {key: [] for key in made}
    for _ in range(runs + 1):
        for key, interpreter in made.items():
            start = time.perf_counter()
            interpreter.invoke()
            times[key].append(time.perf_counter() - start)
    found = {file.stem: dict.fromkeys(("whole", *PARTS), 0.0) for file in files}
    for (name, part), values in times.items():
        found[name][part] = 1e3 * statistics.median(values[1:])  # the first warms up
    return found


def taken_apart(content: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """A model of each of `PARTS` that a package has, of the shapes that it has for `inputs`."""
    # XNNPACK leaves the shapes of what it runs as they were, so without it.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = _ready(
        content,
        inputs,
        experimental_op_resolver_type=plain,
        experimental_preserve_all_tensors=True,
    )
    interpreter.invoke()
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    # Operations on integers make shapes.
    floats = [op for op in interpreter._get_ops_details() if types[op["outputs"][0]] == np.float32]
    chosen = {
        part: [op["index"] for op in floats if op["op_name"] in names]
        for part, names in PARTS.items()
    }
    return {part: _kept(content, some, interpreter) for part, some in chosen.items() if some}


def _kept(content: bytes, chosen: list[int], interpreter: Any) -> bytes:
    """The model with the `chosen` operations alone, in their order and with their weights and options.

    Each is given the last result that has its input's shape, the first of a shape an input of the model, and
    what nothing takes is cut to one number at once: so that, as in the whole, little is live at a time.
    """
    graph = container.parse(content, "model")
    main = graph.subgraphs[0]
    main.operators = [main.operators[index] for index in chosen]
    shapes = {t["index"]: tuple(t["shape"].tolist()) for t in interpreter.get_tensor_details()}
    for index, tensor in enumerate(main.tensors):
        tensor.shape, tensor.shapeSignature = list(shapes[index]), None
        if graph.buffers[tensor.buffer].data is None and tensor.type:  # no float: a shape
            tensor.buffer = _constant(graph, interpreter.get_tensor(index))
    last: dict[tuple[int, ...], int] = {}  # by shape
    main.inputs, taken = [], set()
    for operation in main.operators:
        operation.inputs = operation.inputs.copy()
        for place, index in enumerate(operation.inputs):
            if index >= 0 and graph.buffers[main.tensors[index].buffer].data is None:
                if shapes[index] not in last:
                    last[shapes[index]] = index
                    main.inputs.append(index)
                operation.inputs[place] = last[shapes[index]]
                taken.add(last[shapes[index]])
        last.update((shapes[index], index) for index in operation.outputs)
    _cut(graph, taken)
    used = {main.tensors[i].buffer for op in main.operators for i in op.inputs}
    for number, buffer in enumerate(graph.buffers):
        buffer.data = buffer.data if number in used else None
    graph.subgraphs, graph.signatureDefs, graph.metadata = [main], None, None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(graph.Pack(builder), container.MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _cut(graph: schema.ModelT, taken: Collection[int]) -> None:
    """Outputs of one number for the results that are not `taken`, each cut where it is made."""
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
            if index not in taken:
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
    """The index of a new constant of int32."""
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


def _ready(content: bytes, inputs: Mapping[str, np.ndarray], **options: Any) -> Any:
    """An interpreter whose inputs are set: those that `inputs` names, others to ones."""
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
