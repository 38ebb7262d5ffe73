"""What accelerators do with a package, by its operations and types: a table of reasons for each accelerator.

Each rule was seen with the vendors' own software (docs/accelerators.md): LiteRT's GPU accelerator over
SwiftShader, and Qualcomm's compiler for ten of its chips, both with ai-edge-litert 2.3.0. Whether
answers are right is another question than whether operations are taken: rules with `wrong` are about
operations that LiteRT takes without a word.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

from ai_edge_litert import schema_py_generated as schema

from ..package.graph import Graph, Operation, Subgraph, Tensor

WHOLE, IN_PART, NOT = "whole", "in part", "not at all"

_OPERATIONS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_FLOAT32, _FLOAT16 = schema.TensorType.FLOAT32, schema.TensorType.FLOAT16
_INT16 = schema.TensorType.INT16
_CODES = (schema.TensorType.INT8, schema.TensorType.INT4)
_FLOAT_INPUTS = (_FLOAT32, _FLOAT16)
# Operations that the accelerators were seen to take, in the packages of every head and both token mixers.
_TRIED = frozenset(
    (
        "ADD",
        "BATCH_MATMUL",
        "CAST",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEQUANTIZE",
        "DIV",
    )
    + (
        "EMBEDDING_LOOKUP",
        "FULLY_CONNECTED",
        "GATHER",
        "GELU",
        "LOGISTIC",
        "MAXIMUM",
        "MEAN",
        "MUL",
    )
    + (
        "QUANTIZE",
        "RELU",
        "RESHAPE",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPLIT",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
    )
    + ("TANH", "TRANSPOSE")
)


@dataclasses.dataclass(frozen=True)
class Node:
    """An operation with its tensors; of weights that an operation widens to float32, the stored ones."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def is_constant(self, index: int) -> bool:
        """Whether the file has the values of an input."""
        return index < len(self.inputs) and self.inputs[index].size_bytes > 0

    def stores(self, index: int, *kinds: int) -> bool:
        """Whether an input is a constant of one of these types."""
        return self.is_constant(index) and self.inputs[index].kind in kinds

    @property
    def has_float_inputs(self) -> bool:
        """Whether its first input, a matmul's activations, is float."""
        return bool(self.inputs) and self.inputs[0].kind in _FLOAT_INPUTS


@dataclasses.dataclass(frozen=True)
class Rule:
    """What an accelerator does not do.

    Attributes:
        reason: with the operation, for people.
        applies: whether it is about this operation.
        wrong: the operation is taken, but its answers are wrong.
        only: the chips that it is about, empty for all.
    """

    reason: str
    applies: Callable[[Node], bool]
    wrong: bool = False
    only: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What an accelerator does with a package, by the rules.

    Attributes:
        accelerator: a key of `RULES`.
        extent: `WHOLE`, `IN_PART` or `NOT`.
        refused: why some operations are not taken.
        wrong: why answers are wrong although operations are taken.
        chips: what holds for some chips alone: a reason and their names.
    """

    accelerator: str
    extent: str
    refused: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    chips: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Every reason not to run the package there, the gravest first; empty: it runs whole and rightly."""
        return (*self.wrong, *self.refused)


def _is_16_bit(node: Node) -> bool:
    return any(tensor.kind == _INT16 for tensor in (*node.inputs, *node.outputs))


def _looks_up(node: Node, *kinds: int) -> bool:
    """A look-up of float rows in a table of one of these types."""
    return node.name == "EMBEDDING_LOOKUP" and node.stores(1, *kinds)


def _gathers_rows_of_ids(node: Node) -> bool:
    """A gather with ids of two dimensions or more."""
    return node.name == "GATHER" and len(node.inputs[1].shape) > 1


def _adds_rows(node: Node) -> bool:
    """A computed [rows, channels] and a constant with values of its own for each row."""
    if node.name not in ("ADD", "SUB", "MUL", "DIV") or len(node.inputs) != 2:
        return False
    constants = [node.is_constant(index) for index in (0, 1)]
    if constants not in ([True, False], [False, True]):
        return False
    computed, constant = (node.inputs[constants.index(value)] for value in (False, True))
    return len(computed.shape) == 2 and math.prod(constant.shape[:-1]) > 1


def _convolves_groups(node: Node) -> bool:
    """A CONV_2D in groups, with quantized weights."""
    if node.name != "CONV_2D" or not node.stores(1, *_CODES):
        return False
    pixels, kernel = node.inputs[:2]
    return pixels.shape[-1:] != kernel.shape[-1:]


def _is_untried(node: Node) -> bool:
    return node.name not in _TRIED


_FIXED_LENGTHS = "takes fixed lengths alone (--seq-lengths)"
_UNTRIED = Rule("not tried", _is_untried)
RULES: dict[str, tuple[Rule, ...]] = {
    "gpu": (
        Rule(
            "row 0 alone is right of a sum or product of a computed [length, channels] and a constant of "
            "as many rows",
            _adds_rows,
            wrong=True,
        ),
        Rule(
            "group 0 alone is right of a grouped CONV_2D with quantized weights",
            _convolves_groups,
            wrong=True,
        ),
        Rule("16-bit integers", _is_16_bit),
        Rule("a table in float16", lambda node: _looks_up(node, _FLOAT16)),
        Rule("ids of more than one dimension", _gathers_rows_of_ids),
        _UNTRIED,
    ),
    "npu": (
        Rule(
            "an int8 or int4 table whose rows become float", lambda node: _looks_up(node, *_CODES)
        ),
        Rule(
            "int8 weights with float activations",
            lambda node: (
                node.name == "CONV_2D" and node.has_float_inputs and node.stores(1, *_CODES)
            ),
        ),
        Rule(
            "int4 weights with float activations",
            lambda node: (
                node.name == "FULLY_CONNECTED"
                and node.has_float_inputs
                and node.stores(1, schema.TensorType.INT4)
            ),
        ),
        Rule(
            "16-bit integers",
            lambda node: node.name == "BATCH_MATMUL" and node.inputs[0].kind == _INT16,
            only=("SM8350", "SM8450", "SM8475", "SA8295"),
        ),
        Rule(
            "float arithmetic",
            lambda node: node.name == "FULLY_CONNECTED" and node.has_float_inputs,
            only=("SM8350",),
        ),
        _UNTRIED,
    ),
}


def judge(graph: Graph, accelerator: str) -> Verdict:
    """What an accelerator, a key of `RULES`, does with a package."""
    if any(size < 0 for subgraph in graph.subgraphs for size in _stated_sizes(subgraph)):
        return Verdict(accelerator, NOT, refused=(_FIXED_LENGTHS,))
    refused: dict[str, None] = {}
    wrong: dict[str, None] = {}
    chips: dict[str, None] = {}
    for node in _nodes(graph):
        for rule in RULES[accelerator]:
            if not rule.applies(node):
                continue
            if rule.only:
                chips[f"{node.name}: {rule.reason}, not on {', '.join(rule.only)}"] = None
            else:
                (wrong if rule.wrong else refused)[f"{node.name}: {rule.reason}"] = None
    extent = IN_PART if refused else WHOLE
    return Verdict(accelerator, extent, tuple(refused), tuple(wrong), tuple(chips))


def _stated_sizes(subgraph: Subgraph) -> Iterator[int]:
    """Every size of the inputs, -1 where it may change."""
    for index in subgraph.inputs:
        yield from subgraph.tensors[index].signature


def _nodes(graph: Graph) -> Iterator[Node]:
    for subgraph in graph.subgraphs:
        stored = functools.partial(_stored, subgraph, _widened(subgraph))
        for operation in subgraph.operations:
            name = _OPERATIONS.get(operation.code, str(operation.code))
            inputs = tuple(stored(i) for i in operation.inputs if i >= 0)
            yield Node(name, inputs, tuple(subgraph.tensors[i] for i in operation.outputs))


def _widened(subgraph: Subgraph) -> dict[int, Operation]:
    """The DEQUANTIZE by which each such tensor is made."""
    return {
        operation.outputs[0]: operation
        for operation in subgraph.operations
        if operation.code == schema.BuiltinOperator.DEQUANTIZE
    }


def _stored(subgraph: Subgraph, widened: dict[int, Operation], index: int) -> Tensor:
    """The tensor, or the constant that is dequantized to it."""
    source = subgraph.tensors[widened[index].inputs[0] if index in widened else index]
    return source if source.size_bytes else subgraph.tensors[index]
