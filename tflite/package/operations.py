"""What LiteRT's kernels and XNNPACK take for granted of an operation: without it they read at address 0."""

from __future__ import annotations

from collections.abc import Sequence

# Code of `BuiltinOperator`: the inputs that it cannot do without; 1 for all others.
_INPUTS = {
    0: 2,  # ADD
    3: 2,  # CONV_2D
    4: 2,  # DEPTHWISE_CONV_2D
    7: 2,  # EMBEDDING_LOOKUP
    9: 2,  # FULLY_CONNECTED
    18: 2,  # MUL
    34: 2,  # PAD
    36: 2,  # GATHER
    39: 2,  # TRANSPOSE
    40: 2,  # MEAN
    41: 2,  # SUB
    42: 2,  # DIV
    48: 2,  # TOPK_V2
    49: 2,  # SPLIT
    54: 2,  # PRELU
    55: 2,  # MAXIMUM
    56: 2,  # ARG_MAX
    57: 2,  # MINIMUM
    58: 2,  # LESS
    61: 2,  # GREATER
    62: 2,  # GREATER_EQUAL
    63: 2,  # LESS_EQUAL
    69: 2,  # TILE
    70: 2,  # EXPAND_DIMS
    71: 2,  # EQUAL
    72: 2,  # NOT_EQUAL
    74: 2,  # SUM
    78: 2,  # POW
    79: 2,  # ARG_MIN
    81: 2,  # REDUCE_PROD
    82: 2,  # REDUCE_MAX
    84: 2,  # LOGICAL_OR
    86: 2,  # LOGICAL_AND
    89: 2,  # REDUCE_MIN
    90: 2,  # FLOOR_DIV
    91: 2,  # REDUCE_ANY
    94: 2,  # FILL
    95: 2,  # FLOOR_MOD
    99: 2,  # SQUARED_DIFFERENCE
    100: 2,  # MIRROR_PAD
    105: 2,  # REVERSE_V2
    107: 2,  # GATHER_ND
    126: 2,  # BATCH_MATMUL
    128: 2,  # CUMSUM
    130: 2,  # BROADCAST_TO
    140: 2,  # REDUCE_ALL
    60: 3,  # PADV2
    64: 3,  # SELECT
    65: 3,  # SLICE
    67: 3,  # TRANSPOSE_CONV
    96: 3,  # RANGE
    102: 3,  # SPLIT_V
    122: 3,  # SCATTER_ND
    123: 3,  # SELECT_V2
    45: 4,  # STRIDED_SLICE
    85: 4,  # ONE_HOT
}
# Code: its inputs from this one on may be left out, which the file states as -1.
_OPTIONAL_FROM = {
    3: 2,  # CONV_2D
    4: 2,  # DEPTHWISE_CONV_2D
    9: 2,  # FULLY_CONNECTED
    67: 3,  # TRANSPOSE_CONV
}
_SPLIT = 49


def defect(code: int, inputs: Sequence[int], outputs: Sequence[int], splits: int) -> str | None:
    """What an operation lacks; None: nothing.

    Args:
        code: of `BuiltinOperator`.
        inputs, outputs: indices of tensors; -1: left out.
        splits: how many parts it says that it splits its input into.
    """
    needed, optional = _INPUTS.get(code, 1), _OPTIONAL_FROM.get(code, len(inputs))
    if len(inputs) < needed or min(inputs[:optional], default=0) < 0:
        return f"operation {code} with the inputs {tuple(inputs[:10])}, of which it needs {needed}"
    if not outputs or min(outputs) < 0 or (code == _SPLIT and len(outputs) != splits):
        return f"operation {code} with the outputs {tuple(outputs[:10])}"
    return None
