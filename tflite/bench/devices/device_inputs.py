"""Packages and their inputs, ready for `benchmark_model`: the files to copy and the names in its flags."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sqb_tf.errors import InputError

from ...package.info import PackageInfo
from ...package.properties import is_compiled
from ...runtime.runner import Runner, fit
from ..inputs import Text, encode_length
from .answers import Answers


@dataclasses.dataclass(frozen=True)
class DeviceInputs:
    """The inputs of a package at one length.

    Attributes:
        signature: the one to run.
        named_signature: whether the package has others, so that a flag must name it.
        names: of the inputs, in the order of the graph.
        files: on this machine, by input: int32, little-endian.
        length: in tokens as run; more than requested where the package has a fixed length.
        fixed: whether the package takes no other length.
        value_ranges: for a tool that takes no files.
        answers: what this machine computes of them; None: it cannot run a package compiled for an NPU.
    """

    signature: str
    named_signature: bool
    names: tuple[str, ...]
    files: Mapping[str, Path]
    length: int
    fixed: bool
    value_ranges: str
    answers: Answers | None


@dataclasses.dataclass(frozen=True)
class PreparedPackage:
    """A package and its inputs by requested length."""

    info: PackageInfo
    inputs: Mapping[int, DeviceInputs]


def prepare_package(
    info: PackageInfo, text: Text, lengths: Sequence[int], folder: Path
) -> PreparedPackage:
    """Token ids, mask and segments of real text at the lengths that the package takes, in `folder`.

    A package compiled for an NPU gets no text: the tool that runs it takes no files.

    Raises:
        InputError: a name in the package that cannot be a flag's value.
    """
    _check_names(info)
    taken = [length for length in lengths if length <= info.max_seq_length]
    if is_compiled(info.properties):
        return PreparedPackage(info, {length: _inputs_by_range(info, length) for length in taken})
    runner = Runner(info.path)
    inputs = {length: _prepare_inputs(info, runner, text, length, folder) for length in taken}
    return PreparedPackage(info, inputs)


def value_ranges(names: Sequence[str], vocabulary_size: int) -> str:
    """The tool's `--input_layer_value_range` for text of one segment: the second half of the vocabulary.

    A fallback: random ids miss the caches that the words of a text hit.
    """
    limits = {
        "input_word_ids": f"{vocabulary_size // 2},{vocabulary_size - 1}",
        "input_mask": "1,1",
        "input_type_ids": "0,0",
    }
    return ":".join(f"{name},{limits[name]}" for name in names)


def _check_names(info: PackageInfo) -> None:
    """Checks the names that go into the tool's flags, or come back in its output."""
    for signature in info.signatures:
        for name in (signature.name, *signature.inputs, *signature.outputs):
            if not re.fullmatch(r"[\w.:/-]+", name):
                raise InputError(
                    f"{info.path}: the name {name[:80]!r} in it: expected letters, digits and _ . : / - "
                    "alone: convert the model again"
                )


def _inputs_by_range(info: PackageInfo, length: int) -> DeviceInputs:
    signature = info.signature_for(length)
    if signature.seq_length is None:
        raise InputError(
            f"{info.path}: compiled for an NPU, and its length is not fixed: compile it again"
        )
    return DeviceInputs(
        signature.name,
        len(info.signatures) > 1,
        signature.graph_inputs,
        {},
        signature.seq_length,
        True,
        value_ranges(signature.graph_inputs, len(info.vocabulary)),
        None,
    )


def _prepare_inputs(
    info: PackageInfo, runner: Runner, text: Text, length: int, folder: Path
) -> DeviceInputs:
    """Files are named by their hash, so that equal inputs are copied once."""
    signature = info.signature_for(length)
    arrays = encode_length(runner, text, length)
    if signature.seq_length is not None:
        arrays = {name: fit(values, signature.seq_length) for name, values in arrays.items()}
    files = {}
    for name, values in arrays.items():
        data = np.ascontiguousarray(values, "<i4").tobytes()
        files[name] = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.ids"
        files[name].write_bytes(data)
    return DeviceInputs(
        signature.name,
        len(info.signatures) > 1,
        signature.graph_inputs,
        files,
        arrays["input_word_ids"].shape[1],
        signature.seq_length is not None,
        value_ranges(signature.graph_inputs, len(info.vocabulary)),
        Answers.compute(runner, signature, arrays),
    )
