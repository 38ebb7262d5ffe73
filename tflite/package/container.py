"""Model, vocabulary, labels and properties in one `.tflite`, and back.

The layout is TFLite's own: a `TFLITE_METADATA` buffer inside the model, and the files that it names
as an uncompressed zip after it, so that interpreters read the front and MediaPipe reads both.
https://ai.google.dev/edge/litert/conversion/tensorflow/metadata
"""

from __future__ import annotations

import dataclasses
import io
import json
import mmap
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sqb_tf.errors import InputError
from sqb_tf.line_file import join_lines, split_lines
from sqb_tf.text.vocabulary import REQUIRED_TOKENS

from . import metadata as model_metadata
from .metadata import LABELS_FILE, PROPERTIES_FILE, VOCABULARY_FILE

METADATA_NAME = b"TFLITE_METADATA"
MODEL_IDENTIFIER = b"TFL3"

# The schema's force_align on Buffer.data: kernels read weights in place, mapped from the file.
_BUFFER_ALIGNMENT = 16
# The earliest time a zip entry can have; a real one would make two equal packages differ.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_REPACK = "package the model with `sqb convert`"
# What reading a damaged flatbuffer raises, there being no verifier in Python.
DAMAGED = (struct.error, IndexError, ValueError, TypeError, OverflowError)


@dataclasses.dataclass(frozen=True)
class Package:
    """What a packaged `.tflite` carries besides the model.

    Attributes:
        vocabulary: tokens in the order of their ids.
        labels: label names in the order of the scores; None for a model without, as in regression.
        properties: casing, lengths, recipe and the rest of `sqb.json`; empty in packages of other projects.
        metadata: the metadata flatbuffer as nested dicts, see `sqb_tflite.package.metadata.build`.
    """

    vocabulary: list[str]
    labels: list[str] | None
    properties: dict[str, Any]
    metadata: dict[str, Any]


def pack(
    model: bytes,
    vocabulary: Sequence[str],
    labels: Sequence[str] | None,
    *,
    name: str,
    description: str = "",
    lowercase: bool,
    max_seq_length: int,
    lowest_score: float | None = None,
    properties: dict[str, Any],
) -> bytes:
    """Attaches metadata and files to a model; the files inside a package are replaced.

    Tensors are renamed after the signatures, see `_name_tensors`. Equal arguments give equal bytes.

    Args:
        model: a `.tflite` whose first subgraph has a signature.
        vocabulary: WordPiece tokens in id order.
        labels: names for the last axis of the scores, or None.
        name: the model's name, for people.
        description: one sentence on what it does.
        lowercase: whether the tokenizer lowercases and strips accents.
        max_seq_length: the most tokens per text, [CLS] and [SEP] included, that the model is for.
        lowest_score: below it, MediaPipe leaves a label out; None: it gives all of them.
        properties: JSON values to keep as `sqb.json` (recipe, lowering, task and so on).

    Raises:
        InputError: not a TFLite model, no signature, or a vocabulary or labels that cannot be kept.
    """
    _check_lines("vocabulary", vocabulary)
    if missing := [token for token in REQUIRED_TOKENS if token not in set(vocabulary)]:
        raise InputError(f"vocabulary: no {', '.join(missing)}; expected all of {REQUIRED_TOKENS}")
    if labels is not None:
        _check_lines("labels", labels)
    graph = parse(model, "model")
    _follow_outputs(graph)
    inputs, outputs = _name_tensors(graph)
    described = model_metadata.text_model_metadata(
        list(inputs.values()),
        list(outputs.values()),
        [] if labels is None else _labelled_outputs(graph, outputs, len(labels)),
        name=name,
        description=description,
        lowest_score=lowest_score,
    )
    _set_metadata(graph, model_metadata.build(described))
    sizes = {"lowercase": lowercase, "max_seq_length": max_seq_length}
    files = {VOCABULARY_FILE: join_lines(vocabulary).encode()}
    if labels is not None:
        files[LABELS_FILE] = join_lines(labels).encode()
    files[PROPERTIES_FILE] = json.dumps({**properties, **sizes}, sort_keys=True, indent=2).encode()
    return _append_files(_serialize(graph, len(model)), files)


def unpack(source: str | Path | bytes) -> Package:
    """Reads what `pack` attached, from a file or from its bytes.

    Raises:
        InputError: no such file, not a TFLite model, truncated, or without metadata or vocabulary.
    """
    if isinstance(source, bytes):
        return unpack_bytes(source, "<bytes>")
    try:
        with open(source, "rb") as file:
            # Mapped: reading the weights, which nothing here needs, would take most of the time.
            empty = not os.fstat(file.fileno()).st_size
            data = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return _unpack(data, file, str(source))
    except OSError as error:
        raise not_readable(source, error) from error


def not_readable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The error for a package that cannot be opened."""
    if os.path.isdir(path):
        return InputError(
            f"{path}: a folder; expected a packaged .tflite (a bundle goes with --model)"
        )
    return InputError(f"{path}: {error.strerror}; expected a packaged .tflite")


def unpack_bytes(content: bytes, origin: str) -> Package:
    """As `unpack`, of bytes that were read from `origin`."""
    return _unpack(content, io.BytesIO(content), origin)


def _unpack(data: bytes | mmap.mmap, file: BinaryIO, origin: str) -> Package:
    """`data` are the contents of `file`."""
    metadata = _read_metadata(data, origin)
    files = _read_files(file, origin)
    if VOCABULARY_FILE not in files:
        raise InputError(f"{origin}: no {VOCABULARY_FILE} inside; {_REPACK}")
    try:
        return Package(
            vocabulary=split_lines(files[VOCABULARY_FILE].decode()),
            labels=split_lines(files[LABELS_FILE].decode()) if LABELS_FILE in files else None,
            properties=json.loads(files.get(PROPERTIES_FILE, b"{}")),
            metadata=metadata,
        )
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise InputError(f"{origin}: a file inside is damaged ({error}); {_REPACK}") from error


def _check_lines(what: str, lines: Sequence[str]) -> None:
    """Rejects lines that a reader of the text file would number differently.

    MediaPipe skips empty lines and drops a final carriage return, and the id of a repeated line depends on
    the reader.
    """
    seen: set[str] = set()
    for index, line in enumerate(lines):
        if not line or "\n" in line or line.endswith("\r"):
            raise InputError(f"{what}: entry {index} is {line!r}; expected one non-empty line")
        if line in seen:
            raise InputError(f"{what}: entry {index}, {line!r}, appears twice; remove one")
        seen.add(line)


def parse(model: bytes, origin: str) -> schema.ModelT:
    """Reads a model into the schema's objects; weights stay views into `model`."""
    _check_identifier(model, origin)
    try:
        graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    except DAMAGED as error:
        raise InputError(f"{origin}: damaged TFLite model ({error}); convert it again") from error
    for buffer in graph.buffers:
        # After the flatbuffer, where ai-edge-quantizer puts the buffers of a large model.
        if buffer.offset:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    if not any(signature.subgraphIndex == 0 for signature in graph.signatureDefs or []):
        raise InputError(
            f"{origin}: no signature for the first subgraph; convert from functions with named "
            "inputs and outputs"
        )
    return graph


def _check_identifier(data: bytes | mmap.mmap, origin: str) -> None:
    if bytes(data[4:8]) != MODEL_IDENTIFIER:
        raise InputError(f"{origin}: not a TFLite model; expected a file that `sqb convert` wrote")


def _follow_outputs(graph: schema.ModelT) -> None:
    """Points signatures at the subgraphs' outputs where ai-edge-quantizer added an operation after one."""
    for signature in graph.signatureDefs:
        subgraph = graph.subgraphs[signature.subgraphIndex]
        outputs = set(subgraph.outputs.tolist())
        moved = {o.inputs[0]: o.outputs[0] for o in subgraph.operators if o.outputs[0] in outputs}
        for tensor in signature.outputs:
            if tensor.tensorIndex not in outputs:
                tensor.tensorIndex = moved[tensor.tensorIndex]


def _name_tensors(graph: schema.ModelT) -> tuple[dict[int, str], dict[int, str]]:
    """Renames input and output tensors after their signatures.

    Outputs take their signature names. Inputs become `serving_default_<name>:0` in the first
    subgraph, the names by which MediaPipe's writers and other tools know BERT's inputs, and
    `<signature>_<name>:0` in others.

    Returns:
        {tensor index: signature name} of the first subgraph's inputs and of its outputs, in the
        subgraph's order, which is the order of the metadata.
    """
    for signature in graph.signatureDefs:
        subgraph = graph.subgraphs[signature.subgraphIndex]
        prefix = signature.signatureKey.decode() if signature.subgraphIndex else "serving_default"
        for tensor in signature.outputs:
            subgraph.tensors[tensor.tensorIndex].name = tensor.name
        for tensor in signature.inputs:
            name = f"{prefix}_{tensor.name.decode()}:0"
            subgraph.tensors[tensor.tensorIndex].name = name.encode()
    first = next(signature for signature in graph.signatureDefs if signature.subgraphIndex == 0)
    inputs = {tensor.tensorIndex: tensor.name.decode() for tensor in first.inputs}
    outputs = {tensor.tensorIndex: tensor.name.decode() for tensor in first.outputs}
    subgraph = graph.subgraphs[0]
    return (
        {index: inputs[index] for index in subgraph.inputs.tolist()},
        {index: outputs[index] for index in subgraph.outputs.tolist()},
    )


def _labelled_outputs(graph: schema.ModelT, outputs: dict[int, str], count: int) -> list[str]:
    """The first subgraph's outputs whose last axis has one entry per label."""
    tensors = graph.subgraphs[0].tensors
    sizes = {name: int(tensors[index].shape[-1]) for index, name in outputs.items()}
    labelled = [name for name, size in sizes.items() if size == count]
    if not labelled:
        raise InputError(f"labels: {count} given, but the model's outputs have sizes {sizes}")
    return labelled


def _set_metadata(graph: schema.ModelT, metadata: bytes) -> None:
    """Stores the metadata buffer in the model, replacing an earlier one."""
    graph.metadata = graph.metadata or []
    entry = next((entry for entry in graph.metadata if entry.name == METADATA_NAME), None)
    if entry is None:
        entry = schema.MetadataT(name=METADATA_NAME, buffer=len(graph.buffers))
        graph.metadata.append(entry)
        graph.buffers.append(schema.BufferT())
    graph.buffers[entry.buffer].data = np.frombuffer(metadata, np.uint8)


class _AlignedBuffer(schema.BufferT):
    """A buffer that keeps the schema's alignment of its data, which generated Python drops."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # the generated name
        if self.data is not None:
            builder.Prep(_BUFFER_ALIGNMENT, len(self.data))
        return super().Pack(builder)


class _PackedOnce(schema.QuantizationParametersT):
    """Scales that several tensors refer to and that are written once."""

    _offset: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # the generated name
        if self._offset is None:
            self._offset = super().Pack(builder)
        return self._offset


def _share_scales(graph: schema.ModelT) -> None:
    """Writes equal per-channel scales once: a copy for each signature would add 3% to the file."""
    shared: dict[tuple[bytes, bytes, int], _PackedOnce] = {}
    for tensor in (tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors):
        scales = tensor.quantization
        if scales is None or scales.scale is None or len(scales.scale) < 2 or scales.details:
            continue
        values = np.asarray(scales.scale).tobytes(), np.asarray(scales.zeroPoint).tobytes()
        scales.__class__ = _PackedOnce
        tensor.quantization = shared.setdefault((*values, scales.quantizedDimension), scales)


def _serialize(graph: schema.ModelT, size_hint: int) -> memoryview:
    """Writes the model; the builder starts large enough to copy the weights only once."""
    _share_scales(graph)
    graph.buffers = [_AlignedBuffer(b.data, b.offset, b.size) for b in graph.buffers]
    builder = flatbuffers.Builder(size_hint + (1 << 20))
    builder.Finish(graph.Pack(builder), MODEL_IDENTIFIER)
    return memoryview(builder.Bytes)[builder.Head() :]


def _append_files(model: memoryview, files: dict[str, bytes]) -> bytes:
    """Appends the files as a zip with offsets from the model's first byte."""
    out = io.BytesIO()
    out.write(model)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
    return out.getvalue()


def _read_metadata(data: bytes | mmap.mmap, origin: str) -> dict[str, Any]:
    """Finds and reads the metadata buffer without unpacking the model."""
    _check_identifier(data, origin)
    try:
        model = schema.Model.GetRootAs(data, 0)
        entries = (model.Metadata(index) for index in range(model.MetadataLength()))
        indices = [entry.Buffer() for entry in entries if entry.Name() == METADATA_NAME]
        if indices:
            buffer = model.Buffers(indices[0]).DataAsNumpy()
            return model_metadata.read(buffer.tobytes())
    except (*DAMAGED, AttributeError) as error:
        raise InputError(f"{origin}: damaged or truncated ({error}); {_REPACK}") from error
    raise InputError(f"{origin}: no metadata inside; {_REPACK}")


def _read_files(file: BinaryIO, origin: str) -> dict[str, bytes]:
    """Reads the zip after the model; an incomplete zip means that the file was cut."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{origin}: truncated, or no files inside ({error}); {_REPACK}") from error
