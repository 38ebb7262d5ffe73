"""`sqb.json` of a package: how its text is prepared, what it is for and how it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from sqb_tf.errors import InputError
from sqb_tf.json_schema import Count, read_json
from sqb_tf.text.encoder import MIN_SEQ_LENGTH

# The key of the sha256 of the model's bytes.
MODEL_SUM = "model_sha256"
# The key of what a package was compiled for: chip, SDK and how much of it the NPU runs.
NPU = "npu"
# The longest inputs of a known encoder are Longformer's, 16,384 tokens.
MAX_SEQ_LENGTH = 1 << 16


@dataclasses.dataclass
class _Properties:
    """The types of what this project writes, each of which a package may lack."""

    lowercase: bool | None = None
    max_seq_length: Annotated[int, msgspec.Meta(ge=MIN_SEQ_LENGTH, le=MAX_SEQ_LENGTH)] | None = None
    kind: str = ""
    task: str | None = None
    paired: bool | None = None
    settings: dict[str, Any] | None = None
    recipe: str | None = None
    weights: dict[str, str] | None = None
    activations: dict[str, str] | None = None
    lowering: str | None = None
    lowering_reason: str | None = None
    seq_lengths: list[Count] | None = None
    calibration: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    baseline: str | None = None
    npu: dict[str, Any] = dataclasses.field(default_factory=dict)  # null is none of its values
    model_sha256: str | None = None


def read(content: bytes, name: str) -> dict[str, Any]:
    """The properties, all of them; `InputError` for a known one of another type.

    Args:
        content: the file.
        name: of the package and the file in it, for messages.
    """
    read_json(content, _Properties, name)
    return read_json(content, dict[str, Any], name)


def is_compiled(properties: Mapping[str, Any]) -> bool:
    """Whether a package with these properties is for an NPU."""
    return NPU in properties


def check_for_cpu(properties: Mapping[str, Any], name: str) -> None:
    """`InputError` for a package with these properties that was compiled for an NPU.

    Args:
        properties: of the package.
        name: of the package, for the message.
    """
    if is_compiled(properties):
        chip = str(properties[NPU].get("chip"))
        emulator = ", or run it on Qualcomm's emulator: sqb verify --npu"
        raise InputError(
            f"{name}: compiled for {chip}, which alone runs it: name the package that it was compiled from"
            + (emulator if chip.startswith("qualcomm:") else "")
        )
