"""A package split by groups of operations: all of a group, with shapes and weights, and nothing else."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from fixtures.models import LABELS, tiny_config

from benchmarks import op_breakdown

LENGTH = 11
INPUTS = {
    f"input_{name}": np.ones([1, LENGTH], np.int32) for name in ("word_ids", "mask", "type_ids")
}


def run(content: bytes, inputs=None) -> Interpreter:
    """An interpreter that has run, without XNNPACK, so that every operation and its shapes are visible."""
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for details in interpreter.get_input_details():
        if inputs:
            interpreter.resize_tensor_input(details["index"], [1, LENGTH])
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        ones = np.ones(details["shape"], details["dtype"])
        interpreter.set_tensor(details["index"], ones)
    interpreter.invoke()
    return interpreter


def operations(interpreter: Interpreter, names) -> list:
    """Name, dtypes of the first inputs and all shapes of each operation in `names` with float outputs."""
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    return [
        (
            op["op_name"],
            [tensors[i]["dtype"] for i in op["inputs"] if i >= 0][:2],
            [tuple(tensors[i]["shape"]) for i in [*op["inputs"], *op["outputs"]] if i >= 0],
        )
        for op in interpreter._get_ops_details()
        if op["op_name"] in names and tensors[op["outputs"][0]]["dtype"] == np.float32
    ]


@pytest.mark.parametrize("recipe", ["float32", "int8", "int4"])
@pytest.mark.parametrize("lengths", [(), (LENGTH,)])
def test_a_part_has_all_its_operations(converted, recipe, lengths):
    content = converted(recipe, *lengths)
    whole = run(content, INPUTS)
    models = op_breakdown.split_by_part(content, INPUTS)
    assert list(models) == list(op_breakdown.PARTS)
    for part, model in models.items():
        alone = run(model)
        expected = operations(whole, op_breakdown.PARTS[part])
        assert expected and operations(alone, op_breakdown.PARTS[part]) == expected
        assert len(alone._get_ops_details()) == len(expected) + len(operations(alone, ["SLICE"]))


def constants(content: bytes) -> int:
    """Bytes in a model's buffers."""
    model = schema.Model.GetRootAs(content)
    return sum(model.Buffers(i).DataLength() for i in range(model.BuffersLength()))


def test_a_part_keeps_only_its_weights(converted):
    sizes = {
        part: constants(content)
        for part, content in op_breakdown.split_by_part(converted("float32"), INPUTS).items()
    }
    c = tiny_config()
    size, inner = c.hidden_size, c.intermediate_size
    block = size * size * (1 / c.q_groups + 1 / c.k_groups + 1 / c.v_groups)
    block += size * size / c.post_attention_groups
    block += size * inner * (1 / c.intermediate_groups + 1 / c.output_groups)
    kernels = 4 * (c.num_hidden_layers * block + size * size + size * len(LABELS))
    assert kernels < sizes["matmuls"] < 1.2 * kernels  # biases too
    assert sizes["softmax"] < sizes["matmuls"] / 20


def test_no_more_is_live_than_in_the_whole(converted):
    """A matmul reads the output of an earlier one: with inputs of its own, memory would make it slow."""
    alone = run(op_breakdown.split_by_part(converted("float32"), INPUTS)["matmuls"])
    assert len(alone.get_input_details()) < len(alone._get_ops_details()) / 4
    assert all(np.prod(details["shape"]) == 1 for details in alone.get_output_details())


def test_times_of_the_whole_and_its_parts(converted, tmp_path):
    path = tmp_path / "one.tflite"
    path.write_bytes(converted("int8"))
    times = op_breakdown.measure([path], INPUTS, runs=2)
    assert list(times) == ["one"]
    assert list(times["one"]) == ["whole", *op_breakdown.PARTS]
    assert all(milliseconds > 0 for milliseconds in times["one"].values())
