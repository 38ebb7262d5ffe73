"""Which accelerator really ran: what the tool's lines on delegates say, by the delegates' names.

The names are those of public logs of phones: `TfLiteXNNPackDelegate`, `TfLiteGpuDelegateV2`, LiteRT's
`LITERT_CL`, `LITERT_OPENGL` and `LITERT_WEBGPU`, and `DispatchDelegate` for the NPUs of all makers; where a
flag asked for a delegate, the tool concludes by its own names, `XNNPACK`, `GPU` and `NNAPI`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..record import Compiled, Delegation

# A part of a delegate's name in lower case, and what it runs on.
_ACCELERATORS = {
    "dispatchdelegate": "npu",
    "nnapi": "nnapi",
    "xnnpack": "cpu",
    "gpu": "gpu",
    "litert_": "gpu",
}
# What a measurement's delegate is to run on.
_MEANT = {"xnnpack": "cpu", "none": "cpu", "gpu": "gpu", "nnapi": "nnapi", "npu": "npu"}
_EXTENTS = ("none", "partial", "full")


def find_delegation(delegations: Sequence[Delegation], delegate: str) -> Delegation | None:
    """A delegate's share of the graph, or of the subgraph delegated most; None if the tool reports none.

    A tool that applies the GPU delegate reports XNNPACK too, which takes the rest.
    """
    if delegate == "none":
        return None
    matches = [d for d in delegations if _accelerator(d.name) == _MEANT[delegate]]
    return max(matches, key=_rank, default=None)


def _rank(delegation: Delegation) -> tuple[int, int]:
    return _EXTENTS.index(delegation.extent), delegation.nodes or 0


def what_ran(
    delegate: str, delegation: Delegation | None, npu: Compiled | None
) -> tuple[str, float | None]:
    """The accelerator of a measurement, and the share of the operations that it ran; None: not printed.

    Args:
        delegation: of `delegate`.
        npu: of a compiled package, whose binaries are nodes of the graph: the operations in them count.
    """
    accelerator = _MEANT[delegate]
    if accelerator == "cpu" or (delegation and delegation.extent == "none"):
        return "cpu", 1.0
    if accelerator == "npu" and npu and npu.operations:
        return accelerator, round(npu.taken / npu.operations, 4)
    return accelerator, _share(delegation) if delegation else None


def _share(delegation: Delegation) -> float | None:
    if delegation.nodes is not None and delegation.total:
        return round(delegation.nodes / delegation.total, 4)
    return 1.0 if delegation.extent == "full" else None


def _accelerator(name: str) -> str | None:
    name = name.lower()
    return next((on for part, on in _ACCELERATORS.items() if part in name), None)
