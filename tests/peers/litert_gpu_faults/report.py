"""Two faults of LiteRT's GPU accelerator, each in a model of one operation: taken, and answered wrongly.

Needs ai-edge-litert, numpy and flatbuffers, and a Vulkan driver; without a GPU, Chromium's SwiftShader:

    apt-get install libvulkan1 chromium-common
    VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json python report.py

Prints the largest error as JSON, on the CPU and on the GPU: of row or group 0, and of the others. Seen with
ai-edge-litert 2.3.0 (libLiteRtWebGpuAccelerator.so), on x86-64, Linux.

rows: ADD of an input [64, 128] and a constant [64, 128]. The accelerator adds row 0 of the constant to every
row: it seems to take the 64 for a batch.

groups: CONV_2D of an input [1, 1, 64, 128] and int8 weights [128, 1, 1, 32], 4 groups, a scale for each
output channel. The 32 outputs of group 0 are right. With 32 channels in all none are; with float32 weights,
or with one group, all of them.
"""

import json
import os
import sys
import tempfile

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator

# The bytes of a model, its input, and the output that numpy computes.
Case = tuple[bytes, np.ndarray, np.ndarray]
FLOAT32, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
GPU, CPU = HardwareAccelerator.GPU, HardwareAccelerator.CPU


def tensor(name: str, shape: tuple[int, ...], kind: int, buffer: int = 0) -> schema.TensorT:
    return schema.TensorT(shape=list(shape), type=kind, buffer=buffer, name=name.encode())


def model(
    code: int, options: tuple[int, object], tensors: list[schema.TensorT], *constants
) -> bytes:
    """One operation on `tensors`: the input, the constants, the output."""
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=[0],
        outputs=[len(tensors) - 1],
        operators=[
            schema.OperatorT(
                opcodeIndex=0,
                inputs=list(range(len(tensors) - 1)),
                outputs=[len(tensors) - 1],
                builtinOptionsType=options[0],
                builtinOptions=options[1],
            )
        ],
    )
    signature = schema.SignatureDefT(
        inputs=[schema.TensorMapT(name=b"x", tensorIndex=0)],
        outputs=[schema.TensorMapT(name=b"y", tensorIndex=len(tensors) - 1)],
        signatureKey=b"serving_default",
        subgraphIndex=0,
    )
    built = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=1)
        ],
        subgraphs=[graph],
        buffers=[
            schema.BufferT(),
            *(schema.BufferT(data=np.frombuffer(c.tobytes(), np.uint8)) for c in constants),
        ],
        signatureDefs=[signature],
    )
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(built.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def rows(rng: np.random.Generator) -> Case:
    """x + constant, both [64, 128]."""
    shape = (64, 128)
    tensors = [
        tensor("x", shape, FLOAT32),
        tensor("k", shape, FLOAT32, 1),
        tensor("y", shape, FLOAT32),
    ]
    options = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    constant = rng.normal(size=shape).astype(np.float32)
    x = rng.normal(size=shape).astype(np.float32)
    return model(schema.BuiltinOperator.ADD, options, tensors, constant), x, x + constant


def groups(rng: np.random.Generator, count: int = 4, kind: int = INT8) -> Case:
    """A pointwise CONV_2D of 128 channels in `count` groups; the weights are of `kind`."""
    channels, pixels = 128, (1, 1, 64, 128)
    kernel = tensor("k", (channels, 1, 1, channels // count), kind, 1)
    codes = rng.integers(-127, 128, kernel.shape)
    scales = np.full(channels, 0.01, np.float32)
    if kind == INT8:
        kernel.quantization = schema.QuantizationParametersT(
            scale=list(scales), zeroPoint=[0] * channels, quantizedDimension=0
        )
    exact = (codes * scales[:, None, None, None]).astype(np.float32)
    weights = codes.astype(np.int8) if kind == INT8 else exact
    tensors = [
        tensor("x", pixels, FLOAT32),
        kernel,
        tensor("b", (channels,), FLOAT32, 2),
        tensor("y", pixels, FLOAT32),
    ]
    convolution = schema.Conv2DOptionsT(
        padding=schema.Padding.VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
    )
    options = schema.BuiltinOptions.Conv2DOptions, convolution
    content = model(
        schema.BuiltinOperator.CONV_2D, options, tensors, weights, np.zeros(channels, np.float32)
    )
    x = rng.normal(size=pixels).astype(np.float32)
    parts = zip(np.split(x, count, axis=-1), np.split(exact[:, 0, 0], count))
    return content, x, np.concatenate([part @ k.T for part, k in parts], axis=-1)


def _rows(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return y[:1], y[1:]


def _groups(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return y[..., :32], y[..., 32:]


# By name: what makes the case, and what of an output is row or group 0, and what the others.
CASES = {
    "rows": (rows, _rows),
    "groups": (groups, _groups),
    "one group": (lambda rng: groups(rng, 1), _groups),
    "groups in float32": (lambda rng: groups(rng, 4, FLOAT32), _groups),
}


def run(path: str, accelerator: HardwareAccelerator, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """The output, and whether LiteRT says that all operations were accelerated."""
    compiled = CompiledModel.from_file(path, hardware_accel=accelerator)
    (source,), (target,) = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
    source.write(np.ascontiguousarray(x, np.float32))
    compiled.run_by_index(0, [source], [target])
    y = target.read(x.size, np.float32).reshape(x.shape)
    return y, compiled.is_fully_accelerated()


def report(name: str) -> dict[str, object]:
    build, parts = CASES[name]
    content, x, expected = build(np.random.default_rng(0))
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        on_cpu, _ = run(file.name, CPU, x)
        on_gpu, whole = run(file.name, GPU | CPU, x)
    errors = {
        place: [float(part.max()) for part in parts(np.abs(y - expected))]
        for place, y in (("cpu", on_cpu), ("gpu", on_gpu))
    }
    return {"case": name, "fully_accelerated": whole, **errors}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # LiteRT's own messages
    for name in sys.argv[1:] or CASES:
        answers.write(json.dumps(report(name)) + "\n")
