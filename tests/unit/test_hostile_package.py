"""Packages made to harm: each is refused in one line that names it, before it costs memory or time."""

import io
import json
import struct
import zipfile
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fixtures.hostile import unsummed

from sqb_tf.errors import InputError
from sqb_tflite.package import container, metadata
from sqb_tflite.package.archive import MAX_BYTES
from sqb_tflite.package.flatbuffer import Damaged
from sqb_tflite.package.info import PackageInfo
from sqb_tflite.runtime.describe import describe
from sqb_tflite.runtime.runner import Runner


@pytest.fixture(scope="module")
def content(converted) -> bytes:
    return unsummed(converted("int8"))


@pytest.fixture(scope="module")
def fixed(converted) -> bytes:
    return unsummed(converted("int8", 16, 32))


def files(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def model_of(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min(info.header_offset for info in archive.infolist())]


def with_files(content: bytes, method: int = zipfile.ZIP_STORED, **changed: bytes | None) -> bytes:
    """The package with other files: `sqb`, `labels` and `vocab` by their first names; None: without it."""
    names = {"sqb": "sqb.json", "labels": "labels.txt", "vocab": "vocab.txt"}
    parts = files(content) | {names.get(name, name): value for name, value in changed.items()}
    out = io.BytesIO(model_of(content))
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a", method) as archive:
        for name, value in parts.items():
            if value is not None:
                archive.writestr(name, value)
    return out.getvalue()


def with_graph(content: bytes, change: Callable) -> bytes:
    """The package with a changed graph: `change` is given the schema's object."""
    model = model_of(content)
    graph = container.parse(model, "model")
    change(graph)
    return with_files(bytes(container._serialize(graph, len(model))) + content[len(model) :])


def refused(match: str, read: Callable, source) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    assert message.startswith("<bytes>" if isinstance(source, bytes) else str(source))


def classify(source: bytes) -> None:
    Runner(source).classify(["a film"])


# --- The zip -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_part_is_refused_and_not_inflated(content, method):
    bomb = with_files(content, method, vocab=bytes(50_000_000))
    assert len(bomb) < len(content) + 60_000
    refused(r"vocab\.txt is compressed \(method \d+\): expected it stored", container.unpack, bomb)


def test_part_that_nothing_uses_is_not_read(content):
    """A compressed one is no error, and damage in it is not seen."""
    odd = with_files(content, zipfile.ZIP_STORED, odd=b"odd content")
    odd = odd.replace(b"odd content", b"odd damaged")
    assert container.unpack(odd) == container.unpack(content)


def test_part_larger_than_the_limit_is_refused(content):
    large = with_files(content, labels=b"a" * (MAX_BYTES + 1))
    refused(r"labels\.txt has 16,777,217 bytes: expected 16,777,216", container.unpack, large)


def directory_field(content: bytes, offset: int, value: int, size: int = 2) -> bytes:
    """Another value in the first entry of the zip's directory."""
    at = content.index(b"PK\1\2") + offset
    return content[:at] + value.to_bytes(size, "little") + content[at + size :]


@pytest.mark.parametrize(
    ("offset", "value", "size", "match"),
    [
        (6, 99, 2, "zip file version 9.9"),
        (8, 1, 2, "password required"),
        (8, 1 << 5, 2, "compressed patched data"),
        (10, 98, 2, "compressed"),
        (10, 99, 2, "compressed"),
        (20, 1 << 31, 4, "bytes: expected"),
        (24, 1 << 31, 4, "bytes: expected"),
        (42, 1 << 31, 4, "truncated, or no files"),
    ],
)
def test_odd_zip_entry_is_one_line(content, offset, value, size, match, tmp_path):
    damaged = directory_field(content, offset, value, size)
    refused(match, container.unpack, damaged)
    path = tmp_path / "p.tflite"
    path.write_bytes(damaged)
    refused(match, container.unpack, path)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        (12, 1 << 30, "a zip directory of 1,073,741,824 bytes"),
        (12, 900_000, "truncated"),
        (16, 1 << 30, "truncated"),
    ],
)
def test_odd_zip_directory_is_one_line(content, field, value, match):
    at = content.rindex(b"PK\5\6") + field
    refused(match, container.unpack, content[:at] + struct.pack("<I", value) + content[at + 4 :])


# --- Flatbuffers ---------------------------------------------------------------------------------


def shared_metadata(count: int) -> bytes:
    """Metadata of 1.5 kB in which three vectors have `count` times the same element."""
    builder = flatbuffers.Builder(1024)

    def table(**slots: int) -> int:
        builder.StartObject(8)
        for slot, offset in slots.items():
            builder.PrependUOffsetTRelativeSlot(int(slot[1:]), offset, 0)
        return builder.EndObject()

    def vector(item: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(item)
        return builder.EndVector()

    tensor = table(_6=vector(table()))
    subgraph = table(_2=vector(tensor))
    builder.Finish(table(_3=vector(subgraph)), metadata.FILE_IDENTIFIER)
    return bytes(builder.Output())


def test_metadata_that_shares_elements_is_refused_at_once(content):
    few = metadata.read(shared_metadata(2))["subgraph_metadata"]
    assert len(few) == len(few[0]["input_tensor_metadata"]) == 2
    many = shared_metadata(120)
    assert len(many) < 2000
    with pytest.raises(Damaged, match="more tables than it has room for"):
        metadata.read(many)
    hostile = with_graph(content, lambda graph: container._set_metadata(graph, many))
    refused("damaged metadata: more tables", container.unpack, hostile)


def test_large_metadata_is_refused(content):
    large = b"\0\0\0\0M001" + bytes(metadata.MAX_BYTES)
    hostile = with_graph(content, lambda graph: container._set_metadata(graph, large))
    refused(r"damaged metadata: 262,152 bytes: expected 262,144", container.unpack, hostile)


def operator(graph, operation) -> int:
    code = graph.operatorCodes[operation.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def split(graph):
    """The first operation that splits its input."""
    operations = graph.subgraphs[0].operators
    return next(o for o in operations if operator(graph, o) == schema.BuiltinOperator.SPLIT)


GRAPHS = {
    "no signature": (lambda g: setattr(g, "signatureDefs", None), "no signature", Runner),
    "no subgraph": (lambda g: setattr(g, "subgraphs", []), "no subgraph", container.unpack),
    "no buffers": (lambda g: setattr(g, "buffers", []), "buffer 0 of 0", container.unpack),
    "operator code": (
        lambda g: setattr(g.subgraphs[0].operators[0], "opcodeIndex", 1 << 30),
        "operator code 1073741824 of",
        container.unpack,
    ),
    "operation without inputs": (
        lambda g: setattr(g.subgraphs[0].operators[0], "inputs", []),
        r"operation 77 with the inputs \(\), of which it needs 1",
        container.unpack,
    ),
    "input left out": (
        lambda g: setattr(g.subgraphs[0].operators[0], "inputs", [-1]),
        r"operation 77 with the inputs \(-1,\)",
        container.unpack,
    ),
    "operation without outputs": (
        lambda g: setattr(g.subgraphs[0].operators[0], "outputs", []),
        r"operation 77 with the outputs \(\)",
        container.unpack,
    ),
    "parts of a split": (
        lambda g: setattr(split(g), "outputs", split(g).outputs[:-1]),
        r"operation 49 with the outputs \(",
        container.unpack,
    ),
    "operation's tensor": (
        lambda g: setattr(g.subgraphs[0].operators[0], "inputs", [1 << 30]),
        "tensors 1073741824 to 1073741824 of",
        container.unpack,
    ),
    "tensor's buffer": (
        lambda g: setattr(g.subgraphs[0].tensors[0], "buffer", 1 << 30),
        "buffer 1073741824 of",
        container.unpack,
    ),
    "signature's tensor": (
        lambda g: setattr(g.signatureDefs[0].inputs[0], "tensorIndex", 1 << 30),
        "tensor 1073741824 of",
        container.unpack,
    ),
    "signature's subgraph": (
        lambda g: setattr(g.signatureDefs[0], "subgraphIndex", 7),
        "subgraph 7 of 1",
        container.unpack,
    ),
    "name of an input": (
        lambda g: setattr(g.signatureDefs[0].inputs[0], "name", b"ids"),
        "does not fit a classification by ids, input_",
        Runner,
    ),
    "name that is not UTF-8": (
        lambda g: setattr(g.subgraphs[0].tensors[9], "name", b"\xff\xfe"),
        "a text that is not UTF-8",
        container.unpack,
    ),
    "constant beyond the file": (
        lambda g: g.buffers[9].__dict__.update(offset=1 << 40, size=1 << 20, data=None),
        "a constant of 1,048,576 bytes at 1,099,511,627,776 of",
        container.unpack,
    ),
    "gigantic tensor": (
        lambda g: setattr(g.subgraphs[0].tensors[-1], "shape", [1 << 15, 1 << 15]),
        r"a tensor of shape \(32768, 32768\) in a file of",
        container.unpack,
    ),
    "negative shape": (
        lambda g: setattr(g.subgraphs[0].tensors[-1], "shape", [1, -7]),
        r"2 dimensions, \(1, -7\)",
        container.unpack,
    ),
    "many dimensions": (
        lambda g: setattr(g.subgraphs[0].tensors[-1], "shape", [1] * 5000),
        "a tensor of 5000 dimensions",
        container.unpack,
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_odd_graph_is_one_line(case, content):
    change, match, read = GRAPHS[case]
    refused(match, read, with_graph(content, change))
    refused("<bytes>: ", classify, with_graph(content, change))


def test_input_of_a_signature_without_a_name_is_one_line(content):
    change = lambda g: g.signatureDefs[0].inputs.pop()  # noqa: E731
    refused("has no name for input", PackageInfo.read, with_graph(content, change))


def kernels(graph) -> list:
    return [
        tensor
        for tensor in graph.subgraphs[0].tensors
        if tensor.quantization is not None
        and tensor.quantization.scale is not None
        and len(tensor.quantization.scale) > 1
    ]


def spoil_scales(graph) -> None:
    for tensor in kernels(graph):
        tensor.quantization.zeroPoint = np.full(len(tensor.quantization.scale), 1 << 24)


def spoil_operations(graph) -> None:
    """Kernels of one dimension."""
    main = graph.subgraphs[0]
    for operation in main.operators:
        if operator(graph, operation) == schema.BuiltinOperator.FULLY_CONNECTED:
            kernel = main.tensors[operation.inputs[1]]
            kernel.shape, kernel.quantization = [int(np.prod(kernel.shape))], None


def test_errors_of_litert_are_one_line(content, fixed, tmp_path):
    """XNNPACK's about scales, and the interpreter's: when a package runs, is prepared or described."""
    (inputs,) = Runner(content).inputs([("a film", None)])
    spoiled = with_graph(content, spoil_scales)
    refused("LiteRT cannot run it: .*zero-point", lambda p: Runner(p)(inputs), spoiled)
    refused("LiteRT cannot run it", lambda p: Runner(p).prepare(inputs)(), spoiled)
    # Of a fixed length: of others, operations are prepared when they run.
    spoiled = with_graph(fixed, spoil_operations)
    refused("LiteRT cannot run it: .*filter", lambda p: Runner(p)(inputs), spoiled)
    refused("LiteRT cannot prepare it: .*filter", lambda p: Runner(p).prepare(inputs), spoiled)
    path = tmp_path / "p.tflite"
    path.write_bytes(spoiled)
    refused("LiteRT cannot prepare it: .*filter", describe, path)


def test_describe_ends_where_operations_feed_themselves(content, tmp_path):
    """A kernel that comes from an operation that reads what it writes."""

    def change(graph) -> None:
        main = graph.subgraphs[0]
        operation = next(o for o in main.operators if len(o.inputs) > 1)
        for other in main.operators:
            other.inputs = [operation.outputs[0]] * max(2, len(other.inputs))

    path = tmp_path / "p.tflite"
    path.write_bytes(with_graph(content, change))
    refused("LiteRT cannot", describe, path)


# --- The files inside ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("max_seq_length", value) for value in (-5, 0, 4, 65537, 10**30, 1.5, "64", True, [64])],
        *[("kind", value) for value in (None, [], 1, "ranking")],
        *[("settings", value) for value in ([1], "x", 1, {"colour": 1})],
        *[("lowercase", value) for value in ([1], "yes", 1)],
        *[("recipe", 5), ("versions", [1]), ("versions", {"keras": 3}), ("seq_lengths", [0])],
        *[("paired", "no"), ("task", 5), ("weights", {"a": 1}), ("calibration", [])],
    ],
)
def test_property_of_another_type_is_one_line(key, value, content):
    properties = json.loads(files(content)["sqb.json"]) | {key: value}
    changed = with_files(content, sqb=json.dumps(properties).encode())
    refused(r"sqb\.json: ", Runner, changed)


@pytest.mark.parametrize(
    "text",
    [b"[1]", b"null", b'"x"', b"5", b"", b"{", b"\xff", b"[" * 200_000, b'{"a":' * 200_000]
    + [b'{"max_seq_length": NaN}', b'{"a": ' + b"1" * 5000 + b"}"],
    ids=repr,
)
def test_properties_that_are_no_object_are_one_line(text, content):
    refused(r"sqb\.json: ", container.unpack, with_files(content, sqb=text))


def test_properties_of_later_versions_are_kept(content):
    properties = json.loads(files(content)["sqb.json"]) | {"later": [{"a": None}]}
    changed = with_files(content, sqb=json.dumps(properties).encode())
    assert container.unpack(changed).properties["later"] == [{"a": None}]


@pytest.mark.parametrize("labels", [b"bad\ngood\n", b"bad\nfair\ngood\nfine\n"])
def test_labels_that_the_model_has_no_outputs_for_are_refused(labels, content):
    count = labels.count(b"\n")
    changed = with_files(content, labels=labels)
    refused(
        rf"labels\.txt has {count} labels, but the model's outputs .*3", container.unpack, changed
    )


def test_labels_are_counted_in_every_signature(fixed):
    def change(graph) -> None:
        graph.subgraphs[1].tensors[graph.subgraphs[1].outputs[0]].shape = [1, 2]

    refused(
        r"signature 'seq_32': probabilities has the shape \(1, 2\), for 3 labels",
        Runner,
        with_graph(fixed, change),
    )


def test_classifier_without_labels_is_refused(content):
    refused("for 1 labels", Runner, with_files(content, **{"labels": None}))


def test_vocabulary_larger_than_the_embeddings_is_refused(content, fixed):
    for package in (content, fixed):
        vocabulary = files(package)["vocab.txt"] + b"more\n"
        count = vocabulary.count(b"\n")
        refused(
            rf"vocab\.txt has {count} tokens, but the model has embeddings for {count - 1}",
            container.unpack,
            with_files(package, vocab=vocabulary),
        )


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (b"", r"entry 1, '': expected one non-empty line"),
        (b"\0\0", r"entry 1, '\\x00\\x00': expected one non-empty line without null"),
        (b"a" * 257, r"entry 1, 'a{50}': 257 bytes: expected 256"),
        (b"[PAD]", r"entry 1, '\[PAD\]', appears twice"),
        (b"\xff", r"not UTF-8 \(byte 6\)"),
        (b"\n" * (1 << 20), r"1,048,\d+ lines: expected 1,048,576 at most"),
    ],
)
def test_odd_token_is_one_line(line, match, content):
    tokens = files(content)["vocab.txt"].split(b"\n")
    tokens[1] = line
    refused(
        rf"vocab\.txt: .*{match}", container.unpack, with_files(content, vocab=b"\n".join(tokens))
    )
