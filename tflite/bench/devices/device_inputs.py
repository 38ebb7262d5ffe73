"""A package at a length, ready for a device: the files to copy, and the flags that name them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...package import container
from ...runtime.runner import Runner, fit
from .. import inputs
from ..inputs import Text


@dataclasses.dataclass(frozen=True)
class Payload:
    """What the tool runs on.

    Attributes:
        signature: to run.
        several: whether the package has others, so that the tool must be told.
        names: of the inputs, in the order in which the graph takes them.
        files: of this machine, by input: int32, little-endian.
        length: of the inputs as run, in tokens; more than asked for where the package has a fixed one.
        fixed: whether the package takes no other length.
        ranges: of values, for a tool that takes no files.
    """

    signature: str
    several: bool
    names: tuple[str, ...]
    files: Mapping[str, Path]
    length: int
    fixed: bool
    ranges: str


def prepare(runner: Runner, content: bytes, text: Text, length: int, folder: Path) -> Payload:
    """Token ids, mask and segments of real text, of `length` tokens, written to `folder` by their hash."""
    signature = runner.signature_for(length)
    arrays = inputs.of_length(runner, text, length)
    if signature.seq_length is not None:
        arrays = {name: fit(values, signature.seq_length) for name, values in arrays.items()}
    files = {}
    for name, values in arrays.items():
        data = np.ascontiguousarray(values, "<i4").tobytes()
        files[name] = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.ids"
        files[name].write_bytes(data)
    names = input_order(content, signature.name)
    return Payload(
        signature.name,
        len(runner.signatures) > 1,
        names,
        files,
        arrays["input_word_ids"].shape[1],
        signature.seq_length is not None,
        ranges(names, len(runner.package.vocabulary)),
    )


def ranges(names: Sequence[str], vocabulary_size: int) -> str:
    """The tool's `--input_layer_value_range` for text of one segment: the second half of the vocabulary.

    A fallback: drawn ids miss the caches that words of a text hit.
    """
    limits = {
        "input_word_ids": f"{vocabulary_size // 2},{vocabulary_size - 1}",
        "input_mask": "1,1",
        "input_type_ids": "0,0",
    }
    return ":".join(f"{name},{limits[name]}" for name in names)


def input_order(content: bytes, signature: str) -> tuple[str, ...]:
    """The inputs of a signature in the order of its graph, in which the tool takes them."""
    graph = container.parse(content, signature)
    found = next(s for s in graph.signatureDefs if s.signatureKey.decode() == signature)
    names = {tensor.tensorIndex: tensor.name.decode() for tensor in found.inputs}
    return tuple(names[index] for index in graph.subgraphs[found.subgraphIndex].inputs)
