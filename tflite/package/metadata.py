"""The TFLite Model Metadata flatbuffer: nested dicts to bytes and back.

Schema: `metadata_schema.fbs` of tflite-support and MediaPipe (file identifier M001). The packages
that ship generated code for it cannot be installed beside TensorFlow 2.20, so the tables used here
are listed below and written with `flatbuffers.Builder` directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers

from .flatbuffer import BYTE, FLOAT, UBYTE, Damaged, Flatbuffer, Table

FILE_IDENTIFIER = b"M001"
# Ours has 1.1 kB, and takes a hundred times as much memory when it is read.
MAX_BYTES = 1 << 18
# The oldest metadata parser that knows input_process_units, which the tokenizer needs.
MIN_PARSER_VERSION = "1.1.0"

VOCABULARY_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"
PROPERTIES_FILE = "sqb.json"

# What MediaPipe's BertPreprocessorCalculator looks for in TensorMetadata.name, by our input names.
_MEDIAPIPE_INPUTS = {
    "input_word_ids": ("ids", "Token ids of the text."),
    "input_type_ids": ("segment_ids", "0 for the first text, 1 for the second."),
    "input_mask": ("mask", "1 for a token, 0 for padding."),
}

# The types of a field, besides a table's name and, in a list, a vector of such tables.
_STRING, _FLOAT, _FLOATS, _FILE_TYPE = "string", "float", "[float]", "AssociatedFileType"
# A union is a byte that tells the type, in the slot before the value's: {type code: table}.
_CONTENT_PROPERTIES = {1: "FeatureProperties"}
_PROCESS_UNIT_OPTIONS = {3: "ScoreThresholdingOptions", 4: "BertTokenizerOptions"}

# AssociatedFileType, in the order of its values.
_FILE_TYPES = (
    "UNKNOWN",
    "DESCRIPTIONS",
    "TENSOR_AXIS_LABELS",
    "TENSOR_VALUE_LABELS",
    "TENSOR_AXIS_SCORE_CALIBRATION",
    "VOCABULARY",
    "SCANN_INDEX_FILE",
)

# table: {field: (slot, type)}. A field's slot is its index in the schema's table; unions take two.
_TABLES: dict[str, dict[str, tuple[int, Any]]] = {
    "ModelMetadata": {
        "name": (0, _STRING),
        "description": (1, _STRING),
        "version": (2, _STRING),
        "subgraph_metadata": (3, ["SubGraphMetadata"]),
        "author": (4, _STRING),
        "license": (5, _STRING),
        "associated_files": (6, ["AssociatedFile"]),
        "min_parser_version": (7, _STRING),
    },
    "SubGraphMetadata": {
        "name": (0, _STRING),
        "description": (1, _STRING),
        "input_tensor_metadata": (2, ["TensorMetadata"]),
        "output_tensor_metadata": (3, ["TensorMetadata"]),
        "associated_files": (4, ["AssociatedFile"]),
        "input_process_units": (5, ["ProcessUnit"]),
        "output_process_units": (6, ["ProcessUnit"]),
    },
    "TensorMetadata": {
        "name": (0, _STRING),
        "description": (1, _STRING),
        "content": (3, "Content"),  # 2 is dimension_names
        "process_units": (4, ["ProcessUnit"]),
        "stats": (5, "Stats"),
        "associated_files": (6, ["AssociatedFile"]),
    },
    "Content": {"content_properties": (0, _CONTENT_PROPERTIES)},
    "FeatureProperties": {},
    "Stats": {"max": (0, _FLOATS), "min": (1, _FLOATS)},
    "ProcessUnit": {"options": (0, _PROCESS_UNIT_OPTIONS)},
    "ScoreThresholdingOptions": {"global_score_threshold": (0, _FLOAT)},
    "BertTokenizerOptions": {"vocab_file": (0, ["AssociatedFile"])},
    "AssociatedFile": {
        "name": (0, _STRING),
        "description": (1, _STRING),
        "type": (2, _FILE_TYPE),
    },
}


def text_model_metadata(
    inputs: Sequence[str],
    outputs: Sequence[str],
    labelled: Sequence[str],
    *,
    name: str,
    description: str,
    lowest_score: float | None = None,
) -> dict[str, Any]:
    """Describes a BERT-like model the way MediaPipe's text tasks expect it.

    Args:
        inputs: signature names of the first subgraph's inputs, in the subgraph's own order, by
            which MediaPipe identifies the ids, the segment ids and the mask.
        outputs: signature names of its outputs, in the subgraph's order.
        labelled: those outputs whose last axis the labels file names.
        name: the model's name.
        description: one sentence on what it does.
        lowest_score: labels of a lower score are left out; None: none are.

    Returns:
        The `ModelMetadata` table as a nested dict, for `build`.

    Source: mediapipe/tasks/python/metadata/metadata_writers/metadata_writer.py,
    `add_bert_text_input` and `add_classification_output`.
    """
    vocabulary = _file(VOCABULARY_FILE, "VOCABULARY", "WordPiece vocabulary, one token per line.")
    labels = _file(LABELS_FILE, "TENSOR_AXIS_LABELS", "Labels in the order of the scores.")
    subgraph = {
        "input_tensor_metadata": [
            _tensor(*_MEDIAPIPE_INPUTS.get(name, (name, ""))) for name in inputs
        ],
        "output_tensor_metadata": [
            _tensor(name, "", [labels], lowest_score) if name in labelled else _tensor(name)
            for name in outputs
        ],
        "input_process_units": [
            {"options": {"BertTokenizerOptions": {"vocab_file": [vocabulary]}}}
        ],
    }
    return {
        "name": name,
        "description": description,
        "subgraph_metadata": [subgraph],
        "associated_files": [_file(PROPERTIES_FILE, "UNKNOWN", "Casing, lengths, recipe, task.")],
        "min_parser_version": MIN_PARSER_VERSION,
    }


def build(metadata: dict[str, Any]) -> bytes:
    """Writes a `ModelMetadata` flatbuffer.

    Args:
        metadata: the table's fields by schema name: strings, lists, and dicts for tables; a union
            is `{table name: table}`, a file type its name in the schema.

    Raises:
        KeyError: a field that `_TABLES` does not list.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, "ModelMetadata", metadata), FILE_IDENTIFIER)
    return bytes(builder.Output())


def read(buffer: bytes) -> dict[str, Any]:
    """Reads a `ModelMetadata` flatbuffer back into what `build` takes.

    Fields that `_TABLES` does not list, from other writers, are left out.

    Raises:
        ValueError: the buffer has not the identifier M001, is damaged, or larger than `MAX_BYTES`.
    """
    if len(buffer) > MAX_BYTES:
        raise Damaged(f"{len(buffer):,} bytes: expected {MAX_BYTES:,} at most")
    if buffer[4:8] != FILE_IDENTIFIER:
        raise Damaged(f"file identifier {buffer[4:8]!r}, expected {FILE_IDENTIFIER!r}")
    return _read(Flatbuffer(buffer).root, "ModelMetadata")


def _file(name: str, file_type: str, description: str) -> dict[str, Any]:
    return {"name": name, "description": description, "type": file_type}


def _tensor(
    name: str,
    description: str = "",
    files: Sequence[dict] = (),
    lowest_score: float | None = None,
) -> dict[str, Any]:
    threshold = {"ScoreThresholdingOptions": {"global_score_threshold": lowest_score}}
    tensor = {
        "name": name,
        "description": description,
        "content": {"content_properties": {"FeatureProperties": {}}},
        "process_units": [] if lowest_score is None else [{"options": threshold}],
        "stats": {"max": [1.0], "min": [0.0]} if name == "probabilities" else {},
        "associated_files": list(files),
    }
    return {field: value for field, value in tensor.items() if value}


def _write(builder: flatbuffers.Builder, table: str, values: dict[str, Any]) -> int:
    """Writes one table, its children first as the format demands, and returns its offset."""
    fields = []
    for name, value in values.items():
        slot, field_type = _TABLES[table][name]
        if field_type == _FILE_TYPE:
            fields.append((builder.PrependInt8Slot, slot, _FILE_TYPES.index(value)))
            continue
        if field_type == _FLOAT:
            fields.append((builder.PrependFloat32Slot, slot, value))
            continue
        if isinstance(field_type, dict):
            ((member, value),) = value.items()
            code = next(code for code, candidate in field_type.items() if candidate == member)
            fields.append((builder.PrependUint8Slot, slot, code))
            slot, field_type = slot + 1, member
        offset = _write_child(builder, field_type, value)
        fields.append((builder.PrependUOffsetTRelativeSlot, slot, offset))
    # One slot more than the highest one used; a reader takes missing slots for defaults.
    builder.StartObject(max((slot for _, slot, _ in fields), default=-1) + 1)
    for prepend, slot, value in fields:
        prepend(slot, value, 0)
    return builder.EndObject()


def _write_child(builder: flatbuffers.Builder, field_type: Any, value: Any) -> int:
    """Writes a string, vector or table that a field refers to, and returns its offset."""
    if field_type == _STRING:
        return builder.CreateString(value)
    if field_type == _FLOATS:
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
        return builder.EndVector()
    if isinstance(field_type, str):
        return _write(builder, field_type, value)
    offsets = [_write(builder, field_type[0], item) for item in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _read(table: Table, name: str) -> dict[str, Any]:
    """Reads the fields that are present in a table."""
    values: dict[str, Any] = {}
    for field, (slot, field_type) in _TABLES[name].items():
        if isinstance(field_type, dict):
            member = field_type.get(table.number(slot, UBYTE))
            if member and (child := table.table(slot + 1)):
                values[field] = {member: _read(child, member)}
        elif field_type == _FILE_TYPE:
            code = table.number(slot, BYTE)
            # A type of a later schema is unknown to this one.
            values[field] = _FILE_TYPES[code if 0 <= code < len(_FILE_TYPES) else 0]
        elif field_type == _FLOAT:
            values[field] = table.number(slot, FLOAT, 0.0)
        elif table.has(slot):
            values[field] = _read_child(table, slot, field_type)
    return values


def _read_child(table: Table, slot: int, field_type: Any) -> Any:
    """Reads the string, vector or table of a field."""
    if field_type == _STRING:
        return table.string(slot)
    if field_type == _FLOATS:
        return list(table.numbers(slot, "f"))
    if isinstance(field_type, str):
        child = table.table(slot)
        return {} if child is None else _read(child, field_type)
    return [_read(item, field_type[0]) for item in table.tables(slot)]
