"""A text goes straight from tools/predict.py to its label: at most seven files, none entered twice."""

import json
import sys
from pathlib import Path

import pytest
from fixtures.commands import call
from fixtures.paths import REPOSITORY

# Files that a text may pass on its way, tools/predict.py included.
MOST = 7
FOLDERS = ("sqb_tf", "tflite", "tools")


def walk(action) -> list[str]:
    """The repository's files in the order in which calls from other files enter them.

    A call within a file enters nothing, and neither does a resumed generator.
    """
    frames, files = [], []

    def profile(frame, event, argument):
        if event != "call" or any(frame is seen for seen in frames):
            return
        frames.append(frame)
        name, caller = frame.f_code.co_filename, frame.f_back.f_code.co_filename
        path = Path(name).resolve()
        inside = any(path.is_relative_to(REPOSITORY / folder) for folder in FOLDERS)
        if inside and name != caller:
            name = str(path.relative_to(REPOSITORY))
            # Equal: a generator that starts later than the call that returned it.
            if files[-1:] != [name]:
                files.append(name)

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return files


@pytest.fixture
def package(converted, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(converted("float32"))
    return path


def test_a_text_passes_seven_files_at_most_and_none_twice(package, monkeypatch, capsys):
    from sqb_tflite.runtime.runner import Runner

    passed = []
    stream = Runner.stream

    def watched(self, rows, batch_size):
        rows = list(rows)  # read, as the text leaves tools/predict.py
        list(stream(self, rows, batch_size))  # characters are looked up once
        results = []
        passed.extend(walk(lambda: results.extend(stream(self, rows, batch_size))))
        return iter(results)

    monkeypatch.setattr(Runner, "stream", watched)
    assert call("predict", "--package", package, "a good film", "--jsonl") == 0
    assert json.loads(capsys.readouterr().out)["label"]
    files = ["tools/predict.py", *passed]
    assert len(files) <= MOST and len(set(files)) == len(files), files
    assert (
        "sqb_tf/text/encoder.py" in files
        and files.index("tflite/runtime/runner.py") < len(files) - 1
    )
