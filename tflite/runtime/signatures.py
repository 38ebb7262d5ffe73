"""A package's entry points as LiteRT tells of them, and whether they fit its head."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.heads.head import Head

INPUTS = {"input_word_ids", "input_mask", "input_type_ids"}


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point: input and output names, its length in tokens (None: dynamic).

    `scales` has the scale and zero point of each output, a scale of 0 where it is float; `shapes` its sizes,
    -1 where they may change.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seq_length: int | None
    scales: Mapping[str, tuple[float, int]]
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


def read_signature(key: str, runner: Any) -> Signature:
    """That of one of LiteRT's signature runners.

    Raises:
        ValueError: it does not take token ids `[1, length]`.
    """
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    shape = inputs["input_word_ids"]["shape_signature"] if "input_word_ids" in inputs else None
    if shape is None or len(shape) != 2:
        raise ValueError(f"signature {key!r} has no input_word_ids [1, length]")
    length = int(shape[1])
    scales = {name: details["quantization"] for name, details in outputs.items()}
    shapes = {name: tuple(details["shape_signature"].tolist()) for name, details in outputs.items()}
    return Signature(
        key, tuple(inputs), tuple(outputs), None if length < 0 else length, scales, shapes
    )


def check_signatures(signatures: Collection[Signature], head: Head, origin: str) -> None:
    """`InputError` unless each has the encoder's inputs and the head's outputs, as many as labels."""
    if not signatures:
        raise InputError(f"{origin}: no signature: expected a model that `sqb convert` wrote")
    names = {output.name for output in head.outputs}
    for signature in signatures:
        where = f"{origin}: signature {signature.name!r}"
        if others := (names - set(signature.outputs)) | (INPUTS ^ set(signature.inputs)):
            raise InputError(
                f"{where} does not fit a {head.name} by {', '.join(sorted(others))}; convert it again"
            )
        for output in head.outputs if head.fixed_labels != () else ():
            shape = signature.shapes[output.name]
            if len(shape) != 2 + output.per_token or shape[-1] != len(head.labels):
                raise InputError(
                    f"{where}: {output.name} has the shape {shape}, for {len(head.labels):,} labels; "
                    "convert it again"
                )
