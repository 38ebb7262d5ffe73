"""sqb_tflite.package: contents survive a round trip, the model still runs, bad files give clear errors."""

import dataclasses
import hashlib
import io
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from sqb_tf.errors import InputError
from sqb_tflite.package.container import pack, unpack
from sqb_tflite.package.info import PackageInfo, SignatureInfo

# With a line separator and a byte-order mark, which str.splitlines or utf-8-sig would lose.
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "film", "##s", "\u2028", "\ufeff", "é"]
LABELS = ["negative", "positive"]
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> bytes:
    """Three int32 [1, length] inputs to `probabilities` [1, 2] through a 9-by-2 weight."""
    module = tf.Module()
    module.table = tf.Variable(np.linspace(-1, 1, 18, dtype=np.float32).reshape(9, 2))

    def classify(input_word_ids, input_mask, input_type_ids):
        weight = tf.cast(input_mask + input_type_ids, tf.float32)[..., None]
        logits = tf.reduce_sum(tf.gather(module.table, input_word_ids) * weight, axis=1)
        return {"probabilities": tf.nn.softmax(logits)}

    specs = [tf.TensorSpec([1, None], tf.int32, name=name) for name in INPUTS]
    module.classify = tf.function(classify, input_signature=specs)
    folder = str(tmp_path_factory.mktemp("saved"))
    tf.saved_model.save(module, folder, signatures={"serving_default": module.classify})
    return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


def package(
    model: bytes, labels=LABELS, vocabulary=VOCABULARY, lowest_score=None, **properties
) -> bytes:
    return pack(
        model,
        vocabulary,
        labels,
        name="tiny",
        lowercase=True,
        max_seq_length=16,
        lowest_score=lowest_score,
        properties=properties,
    )


def probabilities(model: bytes) -> np.ndarray:
    interpreter = Interpreter(model_content=model)
    for detail in interpreter.get_input_details():
        interpreter.resize_tensor_input(detail["index"], [1, 4])
    run = interpreter.get_signature_runner("serving_default")
    ids = np.array([[2, 4, 5, 3]], np.int32)
    return run(
        input_word_ids=ids,
        input_mask=np.ones_like(ids),
        input_type_ids=np.array([[0, 0, 1, 1]], np.int32),
    )["probabilities"]


def test_unpack_returns_what_was_packed(model, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(package(model, recipe="int8"))
    unpacked = unpack(path)
    assert unpacked.vocabulary == VOCABULARY
    assert unpacked.labels == LABELS
    content = path.read_bytes()
    expected = {"recipe": "int8", "lowercase": True, "max_seq_length": 16}
    expected["model_sha256"] = hashlib.sha256(content[: content.index(b"PK\3\4")]).hexdigest()
    assert unpacked.properties == expected
    assert unpacked.metadata["name"] == "tiny"
    assert unpacked == unpack(content)


def test_info_is_what_the_package_and_its_interpreter_say(model, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(package(model, recipe="int8", kind="classification"))
    info = PackageInfo.read(path)
    assert (info.path, info.size_bytes) == (str(path), path.stat().st_size)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (list(info.vocabulary), list(info.labels)) == (VOCABULARY, LABELS)
    assert (info.recipe, info.head, info.baseline) == ("int8", "classification", None)
    assert info.max_seq_length == 16 and info.seq_lengths == ()
    (signature,) = info.signatures
    runner = Interpreter(model_path=str(path)).get_signature_runner(signature.name)
    assert list(signature.inputs) == list(runner.get_input_details())
    assert list(signature.outputs) == list(runner.get_output_details())
    assert signature.seq_length is None and info.signature_for(99) == signature
    tensors = {details["index"]: name for name, details in runner.get_input_details().items()}
    graph = schema.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
    assert signature.graph_inputs == tuple(tensors[i] for i in graph.InputsAsNumpy())
    manifest = info.manifest()
    assert manifest["recipe"] == "int8" and set(manifest["signatures"]) == {signature.name}
    from_bytes = PackageInfo.read(path.read_bytes())
    assert from_bytes == dataclasses.replace(info, path="<bytes>")


def test_info_chooses_the_shortest_signature_that_is_long_enough():
    def signature(length: int | None) -> SignatureInfo:
        return SignatureInfo(f"seq_{length}", (), (), (), (), length)

    fixed = PackageInfo("", "", 0, (), None, {}, tuple(map(signature, (64, 16, 32))))
    assert [fixed.signature_for(n).seq_length for n in (5, 16, 17, 64, 99)] == [16, 16, 32, 64, 64]
    assert fixed.max_seq_length == 64
    with pytest.raises(InputError, match="does not say how its text is prepared"):
        _ = PackageInfo("a.tflite", "", 0, (), None, {}, (signature(None),)).max_seq_length


def test_metadata_follows_the_order_of_the_inputs(model):
    packed = package(model)
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(packed, 0)).subgraphs[0]
    names = {
        "serving_default_input_word_ids:0": "ids",
        "serving_default_input_mask:0": "mask",
        "serving_default_input_type_ids:0": "segment_ids",
    }
    subgraph = unpack(packed).metadata["subgraph_metadata"][0]
    described = [tensor["name"] for tensor in subgraph["input_tensor_metadata"]]
    assert described == [names[graph.tensors[index].name.decode()] for index in graph.inputs]
    assert graph.tensors[graph.outputs[0]].name == b"probabilities"
    (output,) = subgraph["output_tensor_metadata"]
    assert output["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"


def test_mediapipe_is_told_the_lowest_score(model):
    def units(**arguments):
        subgraph = unpack(package(model, **arguments)).metadata["subgraph_metadata"][0]
        (output,) = subgraph["output_tensor_metadata"]
        return output.get("process_units")

    options = {"ScoreThresholdingOptions": {"global_score_threshold": 0.625}}
    assert units(lowest_score=0.625) == [{"options": options}]
    assert units() is None


def test_regression_has_no_labels(model):
    unpacked = unpack(package(model, labels=None))
    assert unpacked.labels is None
    (output,) = unpacked.metadata["subgraph_metadata"][0]["output_tensor_metadata"]
    assert "associated_files" not in output


def test_same_input_gives_same_bytes(model):
    assert package(model) == package(model)


def test_packing_a_package_replaces_what_it_had(model):
    once = package(model, labels=["no", "yes"], recipe="float32")
    assert package(once, recipe="int8") == package(package(model, recipe="int8"), recipe="int8")
    assert unpack(package(once)).labels == LABELS
    with zipfile.ZipFile(io.BytesIO(package(once))) as archive:
        assert archive.namelist() == ["vocab.txt", "labels.txt", "sqb.json"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_flipped_bit_of_the_model_is_told(share, model, tmp_path):
    packed = bytearray(package(model))
    size = packed.index(b"PK\3\4")
    weights = packed.index(np.float32(-1).tobytes() + np.float32(-1 + 2 / 17).tobytes())
    packed[weights + int(share * 72)] ^= 1
    path = tmp_path / "flipped.tflite"
    path.write_bytes(packed)
    assert size > weights
    with pytest.raises(
        InputError, match=r"flipped\.tflite: its sha256 is not .* copy or convert it again"
    ):
        unpack(path)


def test_packed_model_gives_the_same_outputs(model):
    np.testing.assert_array_equal(probabilities(package(model)), probabilities(model))


def test_weights_are_aligned(model):
    packed = package(model)
    graph = schema.Model.GetRootAs(packed, 0)
    start = np.frombuffer(packed, np.uint8).ctypes.data
    buffers = [graph.Buffers(index) for index in range(graph.BuffersLength())]
    offsets = [b.DataAsNumpy().ctypes.data - start for b in buffers if not b.DataIsNone()]
    assert offsets and all(offset % 16 == 0 for offset in offsets)


def test_missing_file_raises_error(tmp_path):
    with pytest.raises(InputError, match=r"absent\.tflite"):
        unpack(tmp_path / "absent.tflite")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"not a model at all"])
def test_other_file_raises_error(content, tmp_path):
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.tflite: not a TFLite model"):
        unpack(path)
    with pytest.raises(InputError, match="not a TFLite model"):
        package(content)


def test_model_without_metadata_raises_error(model):
    with pytest.raises(InputError, match="no metadata"):
        unpack(model)


def test_package_without_vocabulary_raises_error(model):
    packed = package(model)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        start = min(info.header_offset for info in archive.infolist())
    out = io.BytesIO(packed[:start])
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("labels.txt", "negative\n")
    with pytest.raises(InputError, match=r"no vocab\.txt"):
        unpack(out.getvalue())


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.95, 0.999])
def test_truncated_package_raises_error(model, kept):
    packed = package(model)
    with pytest.raises(InputError, match="truncated"):
        unpack(packed[: int(len(packed) * kept)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["one", "two", "three"]}, "labels: 3 given.*probabilities"),
        ({"labels": ["same", "same"]}, "labels: entry 1, 'same', appears twice"),
        ({"vocabulary": [*VOCABULARY, ""]}, "vocabulary: entry 9, '': expected one non-empty line"),
        ({"vocabulary": [*VOCABULARY, "a\nb"]}, "one non-empty line"),
        ({"vocabulary": VOCABULARY[1:]}, r"vocabulary: no \[PAD\]"),
    ],
)
def test_bad_argument_raises_error(model, arguments, message):
    with pytest.raises(InputError, match=message):
        package(model, **arguments)
