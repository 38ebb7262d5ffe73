"""Changes of a TFLite model's graph that keep it a flatbuffer: they reach the interpreter's kernels."""

from __future__ import annotations

import random

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_SIZES = (0, 1, 2, 1000, 1 << 20, -1)


def change_graph(rng: random.Random, model: bytes) -> bytes:
    """One operation, tensor or signature of another form."""
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    subgraph = rng.choice(graph.subgraphs)
    if rng.random() < 0.6:
        _change_operation(rng, graph, subgraph)
    elif rng.random() < 0.8:
        _change_tensor(rng, graph, rng.choice(subgraph.tensors))
    else:
        signature = rng.choice(graph.signatureDefs)
        entry = rng.choice([*signature.inputs, *signature.outputs])
        entry.tensorIndex = rng.randrange(len(subgraph.tensors))
    builder = flatbuffers.Builder(len(model) * 2)
    builder.Finish(graph.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _change_operation(rng: random.Random, graph: schema.ModelT, subgraph: schema.SubGraphT) -> None:
    """Tensors more, fewer or others, or another operation of the same tensors."""
    operation = rng.choice(subgraph.operators)
    if rng.random() < 0.2:
        operation.opcodeIndex = rng.randrange(len(graph.operatorCodes))
        return
    name = rng.choice(("inputs", "outputs"))
    indices = list(getattr(operation, name))
    position = rng.randrange(len(indices) + 1)
    other = rng.choice((-1, rng.randrange(len(subgraph.tensors))))
    indices[position : position + rng.randint(0, 2)] = [other] * rng.randint(0, 1)
    setattr(operation, name, indices)


def _change_tensor(rng: random.Random, graph: schema.ModelT, tensor: schema.TensorT) -> None:
    """Another type, constant or shape."""
    shape = [] if tensor.shape is None else list(tensor.shape)
    position = rng.randrange(len(shape) + 1)
    shape[position : position + rng.randint(0, 1)] = [rng.choice(_SIZES)] * rng.randint(0, 1)
    name, value = rng.choice(
        (
            ("type", rng.randrange(20)),
            ("buffer", rng.randrange(len(graph.buffers))),
            ("shape", shape),
            ("shapeSignature", shape),
        )
    )
    setattr(tensor, name, value)
