"""What a package holds: signatures, operations and the delegate that runs them, bytes, weights by layer."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from ..accelerators import rules
from ..accelerators.records import checked
from ..package.graph import Graph, Operation, Tensor
from ..package.info import PackageInfo
from ..text_table import align
from .runner import Runner

_TYPES = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_OPERATIONS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_MATMULS = ("FULLY_CONNECTED", "CONV_2D")
_LOOK_UPS = ("EMBEDDING_LOOKUP", "GATHER")
# Of a tensor's name, in which a layer's is looked for: in time that grows with the square of it.
_NAME_CHARACTERS = 2000


@dataclasses.dataclass
class Layer:
    """The weights of one layer, as recipes name it.

    Attributes:
        name: such as `block_0/intermediate`; `embeddings` are all tables.
        tensors: kernels, one for each group, or tables.
        kind: the dtype they are stored in.
        scales: their number, 0 for float weights.
        size_bytes: of the weights.
    """

    name: str
    tensors: int = 0
    kind: str = ""
    scales: int = 0
    size_bytes: int = 0


def describe(path: str | Path) -> dict[str, Any]:
    """Everything about a package, as JSON values.

    Raises:
        InputError: not a package, or damaged.
    """
    info = PackageInfo.read(path)
    graph = Graph.read(Path(path).read_bytes(), str(path))
    weights = _Weights(graph)
    operations: dict[str, dict[str, int]] = {}
    for name, delegated in Runner(path).operations():
        counts = operations.setdefault(name, {"xnnpack": 0, "litert": 0})
        counts["xnnpack" if delegated else "litert"] += 1
    return {
        "package": info.path,
        "sha256": info.sha256,
        "size_bytes": info.size_bytes,
        "properties": info.properties,
        "labels": None if info.labels is None else list(info.labels),
        "vocabulary_size": len(info.vocabulary),
        "signatures": [{"name": s.name, **s.to_json()} for s in info.signatures],
        "operations": operations,
        "runs_on": _runs_on(graph, info),
        "bytes": weights.sizes(info.size_bytes),
        "layers": [dataclasses.asdict(layer) for layer in weights.layers()],
        "model_explorer": f"model-explorer {path}",
    }


def _runs_on(graph: Graph, info: PackageInfo) -> dict[str, dict[str, Any]]:
    """Where the package runs whole, in part or not, why, and what a check there found (None: not checked)."""
    places: dict[str, dict[str, Any]] = {
        "cpu": {"extent": rules.WHOLE, "wrong": [], "refused": [], "chips": []}
    }
    for accelerator in rules.RULES:
        verdict = rules.judge(graph, accelerator)
        places[accelerator] = {
            "extent": verdict.extent,
            "wrong": list(verdict.wrong),
            "refused": list(verdict.refused),
            "chips": list(verdict.chips),
        }
    checks = checked(info)
    return {place: {**found, "checked": checks.get(place)} for place, found in places.items()}


def _answers(place: str, found: dict[str, Any]) -> str:
    """Whether the answers there are right: what a check found, else what the rules say."""
    if (check := found["checked"]) is None:
        return "wrong" if found["wrong"] else "not checked"
    verdict = "wrong" if check["misses"] else "right"
    reference = "Keras" if place == "cpu" else "the CPU"
    return f"{verdict}: {check['agreement']:.1%} of {check['examples']} decisions as {reference}"


def _purpose(properties: dict[str, Any]) -> str:
    """The head, and the task where it has another name: `classification for sst2`."""
    kind, task = properties.get("kind"), properties.get("task")
    return str(kind) if task == kind else f"{kind} for {task}"


def table(description: dict[str, Any]) -> str:
    """The result of `describe` as tables."""
    properties, size = description["properties"], description["size_bytes"]
    limit, labels = properties.get("max_seq_length"), description["labels"] or []
    head = [
        f"{description['package']}  {size / 1e6:.2f} MB  sha256 {description['sha256'][:16]}",
        f"recipe {properties.get('recipe')}, lowering {properties.get('lowering')}, "
        f"{_purpose(properties)}, at most {limit} tokens, "
        f"{len(labels)} labels, {description['vocabulary_size']} tokens in the vocabulary",
    ]
    signatures: list[tuple[str, ...]] = [("signature", "tokens", "inputs", "outputs")]
    for signature in description["signatures"]:
        tokens = str(signature["seq_length"] or "any")
        names = (", ".join(signature[key]) for key in ("inputs", "outputs"))
        signatures.append((signature["name"], tokens, *names))
    operations: list[tuple[str, ...]] = [("operation", "XNNPACK", "LiteRT")]
    ranked = sorted(description["operations"].items(), key=lambda item: -sum(item[1].values()))
    operations += [(name, str(n["xnnpack"] or ""), str(n["litert"] or "")) for name, n in ranked]
    places: list[tuple[str, ...]] = [("runs on", "taken", "answers", "why")]
    for place, found in description["runs_on"].items():
        reasons = "; ".join([*found["wrong"], *found["refused"], *found["chips"]])
        places.append((place.upper(), found["extent"], _answers(place, found), reasons))
    sizes: list[tuple[str, ...]] = [("bytes", "MB", "share")]
    sizes += [
        (name, f"{count / 1e6:.3f}", f"{count / size:.1%}")
        for name, count in description["bytes"].items()
    ]
    layers: list[tuple[str, ...]] = [("layer", "tensors", "weights", "scales", "MB")]
    layers += [
        (x["name"], str(x["tensors"]), x["kind"], str(x["scales"]), f"{x['size_bytes'] / 1e6:.3f}")
        for x in description["layers"]
    ]
    tables: list[list[tuple[str, ...]]] = [signatures, operations, places, sizes, layers]
    parts = ["\n".join(head), *map(align, tables)]
    explorer = f"as a picture: pip install ai-edge-model-explorer; {description['model_explorer']}"
    return "\n\n".join([*parts, explorer])


class _Weights:
    """The constants of a graph, and their purpose."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._main = graph.main
        self._producers = {o: op for op in self._main.operations for o in op.outputs}

    def layers(self) -> list[Layer]:
        """In the order in which they run."""
        layers: dict[str, Layer] = {}
        largest: dict[str, int] = {}
        for name, weights in self._weights():
            layer = layers.setdefault(name, Layer(name))
            layer.tensors += 1
            size = weights.size_bytes
            if size > largest.get(name, 0):  # the word table's, not that of the small tables
                largest[name], layer.kind = size, _TYPES.get(weights.kind, str(weights.kind))
            layer.scales += len(weights.scales)
            layer.size_bytes += size
        return list(layers.values())

    def sizes(self, total: int) -> dict[str, int]:
        """Bytes by purpose, adding up to `total`; buffers that several signatures share count once."""
        purposes: dict[int, str] = {}
        for subgraph in self._graph.subgraphs:
            for operation in subgraph.operations:
                inputs = [i for i in operation.inputs if i >= 0]
                if _name(operation) in _MATMULS and len(inputs) > 2:
                    purposes.setdefault(subgraph.tensors[inputs[2]].buffer, "biases")
        for name, weights in self._weights():
            purposes[weights.buffer] = "embeddings" if name == "embeddings" else "kernels"
        sizes: collections.Counter[str] = collections.Counter(
            dict.fromkeys(("embeddings", "kernels", "biases", "other constants", "scales"), 0)
        )
        for index, size in enumerate(self._graph.buffers):
            sizes[purposes.get(index, "other constants")] += size
        # A float32 scale and an int64 zero point each; tensors that share per-channel scales count once.
        quantized = [t.scales for subgraph in self._graph.subgraphs for t in subgraph.tensors]
        channels = {s.__array_interface__["data"]: len(s) for s in quantized if len(s) > 1}
        tensors = sum(len(scale) == 1 for scale in quantized)
        sizes["scales"] += 12 * (tensors + sum(channels.values()))
        sizes["graph, metadata, vocabulary"] = total - sum(sizes.values())
        return dict(sizes)

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """(layer, kernel or table) of the first signature."""
        for operation in self._main.operations:
            name = _name(operation)
            if name not in (*_MATMULS, *_LOOK_UPS) or len(operation.inputs) < 2:
                continue
            if name in _MATMULS:
                output = self._main.tensors[operation.outputs[0]].name if operation.outputs else ""
                layer = re.match(r"(?:.*;)?(.+?)/(?:MatMul|Conv2D)", output[:_NAME_CHARACTERS])
                yield layer[1] if layer else "head", self._source(operation.inputs[1])
            else:
                # The ids of a look-up come first, those of a gather last.
                index = 1 if name == "EMBEDDING_LOOKUP" else 0
                table = self._source(operation.inputs[index])
                if len(table.shape) == 2:  # not the two values of the mask
                    yield "embeddings", table

    def _source(self, index: int) -> Tensor:
        """The constant that a tensor comes from: an operation converts float16 weights to float32."""
        tensor, seen = self._main.tensors[index], {index}
        while not tensor.size_bytes and index in self._producers:
            index = next(iter(self._producers[index].inputs), index)
            if index in seen:  # a damaged graph
                break
            seen.add(index)
            tensor = self._main.tensors[index]
        return tensor


def _name(operation: Operation) -> str:
    return _OPERATIONS.get(operation.code, str(operation.code))
