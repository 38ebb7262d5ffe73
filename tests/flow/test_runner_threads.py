"""One runner shared by threads: every answer is right, memory stays level, and a closed one says so."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fixtures.models import random_texts
from fixtures.paths import REPOSITORY

from sqb_tf.errors import InputError
from sqb_tflite.runtime import runner as runner_module
from sqb_tflite.runtime.runner import Runner

SOAK = REPOSITORY / "tests" / "fixtures" / "soak.py"
THREADS = 8
# What an allocator may keep of the longest inputs of eight threads; a leak of 100 bytes a text shows in a
# minute (some 100,000 texts).
MORE_MB = 8


@pytest.mark.parametrize("lengths", [(), (16, 32)], ids=["dynamic", "fixed"])
def test_every_answer_is_that_of_one_thread(lengths, converted):
    runner, texts = Runner(converted("int8", *lengths)), random_texts(200, seed=1)
    expected = runner.classify(texts)

    def classify(start: int) -> bool:
        order = [*range(start, len(texts)), *range(start)]
        results = [runner.classify([texts[i]])[0] for i in order]
        return results == [expected[i] for i in order]

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(classify, range(0, 160, 20)))


@pytest.mark.parametrize("recipe", ["int8", "int8-full"])
def test_several_texts_at_once_have_the_outputs_of_one_after_the_other(recipe, converted):
    content = converted(recipe)
    single, several = Runner(content), Runner(content, texts_at_once=3)
    requests = single.requests([(text, None) for text in random_texts(20, seed=2)])
    for expected, actual in zip(single.run(requests), several.run(iter(requests)), strict=True):
        assert expected.keys() == actual.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(actual[name], values)


def test_threads_wait_for_an_interpreter_and_hear_of_the_end(package, monkeypatch):
    monkeypatch.setattr(runner_module, "cores", lambda: 1)
    runner, errors = Runner(package), []

    def classify() -> None:
        try:
            runner.classify(["a good film"])
        except InputError as error:
            errors.append(str(error))

    with runner._model():
        waiting = [threading.Thread(target=classify, daemon=True) for _ in range(3)]
        for thread in waiting:
            thread.start()
        waiting[0].join(0.5)
        assert all(thread.is_alive() for thread in waiting)
        runner.close()
    for thread in waiting:
        thread.join(10)
    assert errors == [f"the runner of {package} was closed: open it again"] * 3


def test_another_file_of_the_name_is_not_opened(package, tmp_path, monkeypatch):
    path = tmp_path / "a.tflite"
    path.write_bytes(package.read_bytes())
    monkeypatch.chdir(tmp_path)
    runner = Runner("a.tflite")
    monkeypatch.chdir("/")
    runner._opened()  # wherever the process has gone
    path.unlink()
    path.write_bytes(package.read_bytes())
    runner.classify(["a good film"])  # by one that was open
    with pytest.raises(InputError, match=r"a\.tflite is another file since its runner was opened"):
        runner._opened()


def test_there_are_no_more_interpreters_than_threads_at_once(package):
    runner = Runner(package)
    for _ in range(3):
        runner.classify(["a good film"])
    assert len(runner._idle) == 1
    (inputs,) = runner.inputs([("a good film", None)])
    runner.prepare(inputs)()
    assert not runner._idle


@pytest.mark.parametrize(
    "seconds", [60, pytest.param(3600, marks=pytest.mark.slow)], ids=["minute", "hour"]
)
def test_soak(seconds, package):
    result = subprocess.run(
        [sys.executable, SOAK, package, str(seconds), str(THREADS)],
        input="\n".join(random_texts(100, seed=2)),
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * seconds + 60,
    )
    report = json.loads(result.stdout)
    assert report["wrong"] == 0 and report["texts"] > 50 * seconds, report
    assert report["mb"] < report["early_mb"] + MORE_MB, report


def test_a_closed_runner_says_so(package):
    with Runner(package) as runner:
        (inputs,) = runner.inputs([("a good film", None)])
        runner.classify(["a good film"])
    uses = (
        lambda: runner.classify(["a good film"]),
        lambda: runner(inputs),
        lambda: runner.prepare(inputs),
        runner.operations,
    )
    for use in uses:
        with pytest.raises(InputError, match=rf"the runner of {package} was closed: open it again"):
            use()
    runner.close()
