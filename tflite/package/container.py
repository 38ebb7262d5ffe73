"""Model, vocabulary, labels and properties in one `.tflite`, and back.

The layout is TFLite's own: a `TFLITE_METADATA` buffer inside the model, and the files that it names
as an uncompressed zip after it, so that interpreters read the front and MediaPipe reads both.
https://ai.google.dev/edge/litert/conversion/tensorflow/metadata
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import mmap
import os
import struct
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
from . import properties as package_properties
from .archive import append_files, read_files
from .graph import METADATA_NAME, MODEL_IDENTIFIER, Graph, check_identifier
from .metadata import LABELS_FILE, PROPERTIES_FILE, VOCABULARY_FILE
from .properties import MODEL_SUM

# The schema's force_align on Buffer.data: kernels read weights in place, mapped from the file.
_BUFFER_ALIGNMENT = 16
_REPACK = "package the model with `sqb convert`"
# Tokens or labels. The largest vocabularies of encoders have 250,000 tokens.
_MOST_LINES = 1 << 20
# UTF-8 bytes of a token: tensorflow-text takes no longer ones, and the longest of BERT's have 50.
_LONGEST_TOKEN = 256
# What the schema's own objects raise for a damaged model.
_DAMAGED = (struct.error, LookupError, ValueError, TypeError, OverflowError, AttributeError)


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
    _check_lines("vocabulary", vocabulary, _LONGEST_TOKEN)
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
    content = _serialize(graph, len(model))
    properties = {**properties, **sizes, MODEL_SUM: hashlib.sha256(content).hexdigest()}
    files[PROPERTIES_FILE] = json.dumps(properties, sort_keys=True, indent=2).encode()
    return append_files(content, files)


def unpack(source: str | Path | bytes) -> Package:
    """Reads what `pack` attached, from a file or from its bytes.

    Raises:
        InputError: no such file, not a TFLite model, truncated, damaged, or without metadata or vocabulary;
            labels or a vocabulary that the model has no outputs or no embeddings for.
    """
    if isinstance(source, bytes):
        return open_bytes(source, "<bytes>")[0]
    try:
        with open(source, "rb") as file:
            # Mapped: reading the weights, which nothing here needs, would take most of the time.
            empty = not os.fstat(file.fileno()).st_size
            data = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return _open(data, file, str(source))[0]
    except OSError as error:
        raise not_readable(source, error) from error


def not_readable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The error for a package that cannot be opened."""
    if os.path.isdir(path):
        return InputError(
            f"{path}: a folder; expected a packaged .tflite (a bundle goes with --model)"
        )
    return InputError(f"{path}: {error.strerror}; expected a packaged .tflite")


def open_bytes(content: bytes, origin: str) -> tuple[Package, Graph]:
    """As `unpack`, of bytes that were read from `origin`, with the model's graph."""
    return _open(content, io.BytesIO(content), origin)


def _open(data: bytes | mmap.mmap, file: BinaryIO, origin: str) -> tuple[Package, Graph]:
    """`data` are the contents of `file`."""
    graph = Graph.read(data, origin)
    metadata = _read_metadata(graph, origin)
    files, size = read_files(file, (VOCABULARY_FILE, LABELS_FILE, PROPERTIES_FILE), origin)
    if VOCABULARY_FILE not in files:
        raise InputError(f"{origin}: no {VOCABULARY_FILE} inside; {_REPACK}")
    vocabulary = _read_lines(files[VOCABULARY_FILE], f"{origin}: {VOCABULARY_FILE}", _LONGEST_TOKEN)
    labels = None
    if LABELS_FILE in files:
        labels = _read_lines(files[LABELS_FILE], f"{origin}: {LABELS_FILE}")
    properties = package_properties.read(
        files.get(PROPERTIES_FILE, b"{}"), f"{origin}: {PROPERTIES_FILE}"
    )
    _check_sum(data, size, properties.get(MODEL_SUM), origin)
    package = Package(vocabulary, labels, properties, metadata)
    _check_sizes(package, graph, origin)
    return package, graph


def _read_metadata(graph: Graph, origin: str) -> dict[str, Any]:
    if not graph.metadata:
        raise InputError(f"{origin}: no metadata inside; {_REPACK}")
    try:
        return model_metadata.read(graph.metadata)
    except ValueError as error:
        raise InputError(f"{origin}: damaged metadata: {error}; {_REPACK}") from None


def _read_lines(content: bytes, name: str, longest: int | None = None) -> list[str]:
    """The lines of a file inside, checked as `pack` checks them."""
    count = content.count(b"\n")
    if count > _MOST_LINES:
        raise InputError(f"{name}: {count:,} lines: expected {_MOST_LINES:,} at most")
    try:
        lines = split_lines(content.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 (byte {error.start}); {_REPACK}") from None
    _check_lines(name, lines, longest)
    return lines


def _check_sum(data: bytes | mmap.mmap, size: int, expected: str | None, origin: str) -> None:
    """Whether the model's bytes are those that were packaged; the zip has sums of its own for the files.

    Some 1 ms for each MB. Packages before this sum was kept have none.
    """
    if expected is None:
        return
    with memoryview(data) as content, content[:size] as model:
        actual = hashlib.sha256(model).hexdigest()
    if actual != expected:
        raise InputError(
            f"{origin}: its sha256 is not that of the packaged model: the file was damaged or changed: copy "
            "or convert it again"
        )


def _check_sizes(package: Package, graph: Graph, origin: str) -> None:
    """Whether the model has outputs for the labels and embeddings for the vocabulary."""
    if package.labels is not None:
        tensors = [graph.main.tensors[index] for index in graph.main.outputs]
        sizes = {tensor.name: tensor.shape[-1] for tensor in tensors if tensor.shape}
        if len(package.labels) not in sizes.values():
            raise InputError(
                f"{origin}: {LABELS_FILE} has {len(package.labels):,} labels, but the model's outputs "
                f"have sizes {sizes}; {_REPACK}"
            )
    rows = graph.vocabulary_size("input_word_ids")
    if rows is not None and len(package.vocabulary) > rows:
        raise InputError(
            f"{origin}: {VOCABULARY_FILE} has {len(package.vocabulary):,} tokens, but the model has "
            f"embeddings for {rows:,}; {_REPACK}"
        )


def _check_lines(what: str, lines: Sequence[str], longest: int | None = None) -> None:
    """Rejects lines that readers of the text file would number or cut differently, or longer than `longest`.

    MediaPipe skips empty lines and drops a final carriage return, the id of a repeated line depends on the
    reader, and for C a null character ends it.
    """
    seen: set[str] = set()
    for index, line in enumerate(() if _are_plain(lines, longest) else lines):
        shown = f"{what}: entry {index}, {line[:50]!r}"
        if not line or "\n" in line or "\0" in line or line.endswith("\r"):
            raise InputError(f"{shown}: expected one non-empty line without null characters")
        if longest is not None and len(line.encode()) > longest:
            raise InputError(f"{shown}: {len(line.encode()):,} bytes: expected {longest} at most")
        if line in seen:
            raise InputError(f"{shown}, appears twice; remove one")
        seen.add(line)


def _are_plain(lines: Sequence[str], longest: int | None) -> bool:
    """Whether `_check_lines` has surely nothing to reject: 5 ms for 30,000 lines; one by one they take 30."""
    joined, different = "\n".join(lines), set(lines)
    return (
        len(different) == len(lines)
        and "" not in different
        and "\0" not in joined
        and "\r" not in joined
        and joined.count("\n") == max(0, len(lines) - 1)
        and (longest is None or 4 * max(map(len, lines), default=0) <= longest)
    )


def parse(model: bytes, origin: str) -> schema.ModelT:
    """Reads a model into the schema's objects; weights stay views into `model`."""
    check_identifier(model, origin)
    try:
        graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    except _DAMAGED as error:
        raise InputError(f"{origin}: damaged TFLite model ({error}); convert it again") from error
    if not graph.buffers or not graph.subgraphs:
        raise InputError(f"{origin}: a TFLite model without buffers or subgraphs; convert it again")
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
    entry = next((entry for entry in graph.metadata if entry.name == METADATA_NAME.encode()), None)
    if entry is None:
        entry = schema.MetadataT(name=METADATA_NAME.encode(), buffer=len(graph.buffers))
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
