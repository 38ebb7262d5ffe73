"""Damaged and hostile answers of devices: a description, a state, or an error of that device alone."""

import json
import random
import threading

import pytest
from fixtures.device_answers import ANSWERS, BATTERY, SEPARATOR, THERMAL, Device
from fixtures.tool_logs import LITERT, LOG, PROFILE, message

from sqb_tf.errors import InputError
from sqb_tflite.bench.devices import android, binaries, linux, tool_output, tool_result
from sqb_tflite.bench.devices.shells import DeviceError, SshShell
from sqb_tflite.bench.devices.tool_lines import ToolError

# Digits that `int` refuses or takes as others, floats that are none, too many digits, markup, escapes.
SPLICES = (
    *("²", "٣", "31..", "-", "--5", "1e999", "nan", "inf", "9" * 5000, "", " ", "\n", "\n@@\n"),
    *("[/x]", "[bold]", "\x1b]0;t\x07", "$(touch PWNED)", "\0", "\ud800", "mValue=31.., mType=3"),
)


def damaged(text: str, chance: random.Random) -> str:
    """One to three changes: characters lost, doubled or replaced by one of `SPLICES`; numbers too."""
    for _ in range(chance.randint(1, 3)):
        words = [i for i, letter in enumerate(text) if letter.isdigit()]
        start = (
            chance.choice(words)
            if words and chance.random() < 0.7
            else chance.randrange(len(text) + 1)
        )
        end = start + chance.choice((0, 1, 1, 2, 8, 60))
        new = chance.choice((text[start:end] * 2, *SPLICES))
        text = text[:start] + new + text[end:]
    return text


@pytest.mark.parametrize(("question", "parts"), ANSWERS)
def test_answers_are_read_or_are_an_error_of_the_device(question, parts):
    """1,000 damaged answers in all."""
    chance, read = random.Random(f"{question.__module__} {question.__name__}"), 0
    intact = question(Device(SEPARATOR.join(parts)))
    for _ in range(250):
        try:
            answer = question(Device(damaged(SEPARATOR.join(parts), chance)))
        except DeviceError as error:
            assert error.cause == "unreadable" and not error.lost
            continue
        assert answer.keys() == intact.keys()
        json.dumps(answer, allow_nan=False)
        read += 1
        if "abis" in answer:  # it goes on with any answer: a tool is found, or the error is one
            with pytest.raises(InputError):
                binaries.find_binary([], "of no kind", answer["abis"])
    assert 100 < read < 250


@pytest.mark.parametrize("text", [LOG, LITERT, PROFILE], ids=["tflite", "litert", "profile"])
def test_the_tools_output_is_read_or_is_an_error_of_the_tool(text):
    chance = random.Random(text)
    for _ in range(100):
        for parse in (tool_output.parse, tool_output.parse_flags, tool_output.detect_flavor):
            try:
                parse(damaged(text, chance))
            except ToolError as error:
                assert "\n" not in str(error)


def test_result_files_are_read_or_are_an_error_of_the_tool():
    chance, content = random.Random(0), message().SerializeToString()
    for _ in range(300):
        edited = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            edited[chance.randrange(len(edited))] = chance.randrange(256)
        try:
            tool_result.parse_result(bytes(edited[: chance.randint(1, len(edited))]))
        except ToolError as error:
            assert error.cause == "garbled"


@pytest.mark.parametrize("number", ["²", "", "0; touch PWNED", "sh: id: not found", "../../x"])
def test_a_boards_folder_has_a_number_in_its_name(tmp_path, monkeypatch, number):
    shell = SshShell(threading.Event(), "board", None, None, tmp_path)
    monkeypatch.setattr(shell, "run", Device(number).run)
    with pytest.raises(DeviceError, match="expected the user's number") as caught:
        _ = shell.folder
    assert caught.value.cause == "unreadable"
    monkeypatch.setattr(shell, "run", Device("1000\n").run)
    assert shell.folder == "/tmp/squeezebert-mobile-1000"


def test_three_words_of_uname_and_odd_numbers():
    """The answers that ended everything before."""
    _, parts = ANSWERS[2]
    with pytest.raises(DeviceError, match="does not say what it is: Linux 6 x"):
        linux.describe(Device(SEPARATOR.join(("Linux 6 x", *parts[1:]))))
    assert linux.state(Device("²\n@@\nmany\n@@\n\n@@\nboot"))["temperature_c"] is None
    thermal = THERMAL.replace("41.25", "31..")
    hot = android.state(Device(SEPARATOR.join((BATTERY, thermal, "", "", "boot"))))
    assert hot["temperature_c"] == 28.7  # the battery's
