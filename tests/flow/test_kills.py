"""kill -9 at random moments of every tool: nothing half-written, then the same result, nothing left running.

`SQB_KILLS=100 pytest -s tests/flow/test_kills.py` tries more moments than `make test-all`.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.bundles import TEXTS
from fixtures.commands import ROOT, listing
from fixtures.fork_server import LOG, ForkServer
from fixtures.models import VOCABULARY, randomize, stored_weights, tiny_config
from simulators.phone import tool as stand_in_tool

import sqb_tf
from sqb_tf.config import GROUP_FIELDS
from sqb_tf.model import heads
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.run_directory import run_directory
from sqb_tflite.bench.devices.journal import FILE as UNFINISHED
from sqb_tools.__main__ import NAMES

pytestmark = [pytest.mark.slow, pytest.mark.device]

GOLDEN = ROOT / "tests" / "golden"
KILLS = int(os.environ.get("SQB_KILLS", 2 * len(NAMES)))
EPOCHS = ["--epochs", 2, "--batch-size", 16, "--seq-length", 16, "--save-every", 2]
STEPS = ["--steps", 6, "--batch-size", 8, "--save-every", 2, "--evaluate-every", 3]
MEASURING = ["--lengths", 8, "--runs", 2, "--repeats", 1, "--min-seconds", 0.01]
# What differs between two runs that do the same: times and dates.
VOLATILE = {"seconds", "date", "command", "tokens_per_second"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A tool's command in a folder, and what it writes there."""

    tool: str
    arguments: list[Any]
    outputs: tuple[str, ...]
    resumes: bool = False
    overwrite: bool = False  # an earlier output is refused without the flag
    timed: bool = False  # it measures times: two runs write different figures
    report: bool = False  # `out` is a folder of files, each whole, that need not all be there

    def flags(self, again: bool, earlier: bool) -> list[str]:
        """The arguments of the run that is killed, or of the one after it."""
        flags = list(map(str, self.arguments))
        return (
            flags
            + ["--resume"] * (again and self.resumes)
            + ["--overwrite"] * (earlier and self.overwrite)
        )


@pytest.fixture(scope="module")
def inputs(bundle_dir, head_package, converted, text, tmp_path_factory) -> Path:
    """A folder of all that the tools read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "package.tflite").write_bytes(converted("int8"))
    (folder / "embedder.tflite").write_bytes(head_package("embedding", "int8"))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "data").mkdir()
    for split in ("train", "dev"):
        shutil.copy(bundle_dir / "verification.jsonl", folder / "data" / f"{split}.jsonl")
    shutil.copytree(bundle_dir, folder / "bundle")
    shutil.copytree(GOLDEN / "squeezebert" / "classification" / "0", folder / "transformers")
    shutil.copy(text, folder / "text.txt")
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    dense = tiny_config(num_hidden_layers=4, **dict.fromkeys(GROUP_FIELDS, 1))
    teacher = heads.SqueezeBertEmbedder(dense)
    randomize(teacher)
    tokenizer = WordPieceTokenizer(VOCABULARY)
    sqb_tf.save(teacher, folder / "teacher", tokenizer=tokenizer, seq_length=48)
    stand_in_tool(folder)
    return folder


@pytest.fixture(scope="module")
def runs(inputs) -> list[Run]:
    """A run of every tool."""
    bundle, data = inputs / "bundle", ["--data", inputs / "data"]
    text, texts = inputs / "text.txt", inputs / "texts.txt"
    package, embedder = (["--package", inputs / f"{n}.tflite"] for n in ("package", "embedder"))
    model, out, as_json = ["--model", bundle], ["--output", "out"], ["--json", "out.json"]
    new = ["--preset", "squeezebert-tiny", "--vocab-size", 100]
    local = ["--device", "local", "--tool", inputs / "benchmark_model"]
    json_too = ("out", "out.json")
    return [
        Run("survey", [*data, "--page", "out.html", *as_json], ("out.html", "out.json")),
        Run(
            "pretrain",
            ["--text", text, *new, *STEPS, "--seq-length", 16, *out],
            ("out",),
            True,
            True,
        ),
        Run(
            "squeeze",
            ["--teacher", inputs / "teacher", "--text", text, "--layers", 2, "--groups", 2, *STEPS]
            + ["--seq-length", 16, *out],
            ("out",),
            True,
            True,
        ),
        Run("finetune", [*data, *EPOCHS, *new, *out, *as_json], json_too, True, True),
        Run(
            "distill",
            [*data, *EPOCHS, "--teacher", bundle, "--init", bundle, *out, *as_json],
            json_too,
            True,
            True,
        ),
        Run("evaluate", [*package, *data, "--report", "out", *as_json], json_too, report=True),
        Run(
            "convert",
            [*model, "--output", "out.tflite", "--allow-loss"],
            ("out.tflite", "out.json"),
        ),
        Run("verify", [*model, *package, *as_json], ("out.json",)),
        Run("describe", [*package, *as_json], ("out.json",)),
        Run("predict", [*embedder, "--input", texts, "--output", "out.npy"], ("out.npy",)),
        Run("search", [*embedder, "--corpus", texts, "--index", "out", "film", *as_json], json_too),
        Run(
            "benchmark",
            [*package, *local, *MEASURING, "--report", "out"],
            ("out",),
            timed=True,
            report=True,
        ),
        Run("import_hf", ["--source", inputs / "transformers", *out], ("out",), overwrite=True),
        Run("export_hf", [*model, *out], ("out",), overwrite=True),
        Run("share", [*model, *out], ("out",), overwrite=True),
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


def stable(path: Path, timed: bool) -> Any:
    """What a file or folder holds, without what differs between two runs that do the same; None: nothing."""
    if path.is_dir():
        files = (p for p in sorted(path.rglob("*")) if p.is_file() and "logs" not in p.parts)
        return {str(p.relative_to(path)): stable(p, timed) for p in files}
    if not path.exists():
        return None
    content = path.read_bytes()
    if path.suffix == ".h5":
        return {name: array.tobytes() for name, array in stored_weights(path.parent).items()}
    if path.suffix == ".npy":
        return np.load(path).tobytes()
    if path.suffix == ".json":
        return _stable_json(json.loads(content), timed)
    if path.suffix == ".html":
        assert content.rstrip().endswith(b"</html>")
    return len(content) > 0 if timed else hashlib.sha256(content).hexdigest()


def _stable_json(value: Any, timed: bool) -> Any:
    if isinstance(value, dict):
        return {k: _stable_json(v, timed) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [_stable_json(v, timed) for v in value]
    return type(value).__name__ if timed else value


def outputs(run: Run, folder: Path) -> dict[str, Any]:
    return {name: stable(folder / name, run.timed) for name in run.outputs}


def is_whole(content: Any, expected: Any, report: bool) -> bool:
    """Whether an output is the expected one; of a report, each file that is there and no journal."""
    if report and isinstance(content, dict):
        return all(c == expected.get(n) for n, c in content.items() if n != UNFINISHED)
    return content == expected


def test_killed_at_any_moment(runs, server, tmp_path):
    """Half of the runs find an earlier output, which is there, whole, until the new one replaces it."""
    assert {run.tool for run in runs} == set(NAMES) - {"compile"}  # whose compilers are not ours
    rng, faults, seconds, expected = random.Random(0), [], {}, {}
    for run in runs:
        folder = tmp_path / run.tool
        folder.mkdir()
        answer = server.run(run.tool, run.flags(False, False), folder)
        assert answer["code"] == 0, f"{run.tool}: {(folder / LOG).read_text()[-2000:]}"
        seconds[run.tool], expected[run.tool] = answer["seconds"], outputs(run, folder)
        assert None not in expected[run.tool].values()
    counts: collections.Counter[str] = collections.Counter()
    for number in range(KILLS):
        run = runs[number % len(runs)]
        folder = tmp_path / f"{number}"
        earlier = number // len(runs) % 2 == 1
        moment = rng.uniform(0, seconds[run.tool])
        if earlier:
            shutil.copytree(tmp_path / run.tool, folder)
        else:
            folder.mkdir()
        killed = server.run(run.tool, run.flags(False, earlier), folder, moment)
        counts["killed" if killed["code"] == -9 else "ended before"] += 1
        place = f"{run.tool} after {moment:.2f} of {seconds[run.tool]:.2f} s"
        faults += [f"{place}: still runs: {command}" for command in killed["left"]]
        for name, content in outputs(run, folder).items():
            if (content is not None or earlier) and not is_whole(
                content, expected[run.tool][name], run.report
            ):
                faults.append(f"{place}: {name} is {'gone' if content is None else 'not whole'}")
        if run_directory(folder / "out").exists():
            counts["with a state to resume"] += 1
        # A run without --resume that was killed after its last write finds its own output.
        is_there = not run.resumes and any((folder / name).exists() for name in run.outputs)
        again = server.run(run.tool, run.flags(True, earlier or is_there), folder)
        if again["code"] != 0:
            faults.append(f"{place}: then failed: {(folder / LOG).read_text()[-500:]}")
        elif outputs(run, folder) != expected[run.tool]:
            faults.append(f"{place}: then another result")
        left = {n for n in listing(folder) if not n.startswith(".")} - set(
            listing(tmp_path / run.tool)
        )
        faults += [f"{place}: left {name}" for name in sorted(left)]
        counts["temporary files left"] += sum(n.startswith(".") for n in listing(folder))
        shutil.rmtree(folder)
    print(dict(counts))
    assert not faults, "\n".join([f"{len(faults)} faults", *faults])
    assert counts["killed"] > 0.8 * KILLS
