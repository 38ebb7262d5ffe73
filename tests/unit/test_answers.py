"""Whether a device computes what this machine does: its outputs beside ours, as the tool writes them."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from sqb_tflite.bench.devices import answers
from sqb_tflite.bench.devices.answers import Answers, _Part, check
from sqb_tflite.bench.devices.shells import DeviceError
from sqb_tflite.package.info import PackageInfo
from sqb_tflite.runtime.runner import Runner

IDS = {"input_word_ids": [2, 20, 14, 31, 16, 22, 17, 3]}
INPUTS = {
    name: np.array([IDS.get(name, [fill] * 8)], np.int32)
    for name, fill in {"input_word_ids": 0, "input_mask": 1, "input_type_ids": 0}.items()
}


def written(content: bytes) -> list[bytes]:
    """Each output of a run in the order of the graph, by which the tool writes them."""
    interpreter = Interpreter(model_content=content)
    for details in interpreter.get_input_details():
        interpreter.resize_tensor_input(details["index"], (1, 8))
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        (values,) = (v for name, v in INPUTS.items() if name in details["name"])
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()
    details = interpreter.get_output_details()
    return [interpreter.get_tensor(output["index"]).tobytes() for output in details]


@pytest.fixture
def span(head_package) -> bytes:
    return head_package("span", "float32")


def computed(content: bytes) -> Answers:
    (signature,) = PackageInfo.read(content).signatures
    return Answers.compute(Runner(content), signature, INPUTS)


def test_outputs_are_told_apart_by_their_order(span):
    first, second = written(span)
    expected = computed(span)
    assert [part.name for part in expected.parts] in (
        ["start_logits", "end_logits"],
        ["end_logits", "start_logits"],
    )
    assert expected.difference(first + second) < 1e-5
    assert expected.difference(second + first) > 0.1


def test_the_start_of_large_outputs_is_compared(span, monkeypatch):
    data = b"".join(written(span))
    monkeypatch.setattr(
        answers, "MAX_BYTES", 36
    )  # the first output's 8 logits, and one of the second
    expected = computed(span)
    assert [part.values.size for part in expected.parts] == [8, 1] and expected.size == len(data)
    assert expected.difference(data[:36]) < 1e-5
    assert expected.difference(bytes(36)) == pytest.approx(1.0)
    with pytest.raises(DeviceError, match="its outputs have 64 bytes, not 36"):
        expected.difference(data)


def test_integers_are_scaled_and_small_answers_are_no_excuse():
    stored = np.array([-128, 127], np.int8)
    expected = Answers((_Part("probabilities", stored, 1 / 256, -128),), 2)
    step = np.array([-127, 127], np.int8).tobytes()
    assert expected.difference(step) == pytest.approx((1 / 256) / (255 / 256))
    small = Answers((_Part("logits", np.array([0.01], np.float32), 0.0, 0),), 4)
    assert small.difference(np.array([0.02], np.float32).tobytes()) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("recipe", "delegate", "value", "passes"),
    [
        ("float32", "xnnpack", 1.001, True),
        ("float32", "none", 1.05, False),
        ("float32", "gpu", 1.05, True),  # float16
        ("int8", "xnnpack", 1.3, True),
        ("int8", "nnapi", 1.6, False),
        ("int8", "nnapi", float("nan"), False),
    ],
)
def test_what_other_kernels_explain_depends_on_the_arithmetic(recipe, delegate, value, passes):
    expected = Answers((_Part("logits", np.array([1.0], np.float32), 0.0, 0),), 4)
    data = np.array([value], np.float32).tobytes()
    if passes:
        assert check(expected, data, recipe, delegate) == pytest.approx(value - 1, rel=1e-3)
        return
    with pytest.raises(DeviceError) as caught:
        check(expected, data, recipe, delegate)
    assert caught.value.cause == "wrong answers" and not caught.value.lost
