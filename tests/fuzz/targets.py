"""What is fuzzed: readers of files that may come from anywhere.

A reader is added as a function from a file's bytes to None, an entry in `TARGETS`, a fixture in `conftest.py`
for its valid files, and inputs that were bad once in `inputs/NAME/`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tflite.bench.devices.shells import DeviceError
from sqb_tflite.bench.devices.tool_lines import ToolError
from sqb_tflite.package.flatbuffer import Damaged


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: reads a file's bytes. Imports what it needs inside.
        seeds: the fixture that gives valid files, as a list of bytes.
        refusals: the exceptions by which it refuses a file, with a message of one line.
        prepare: imports what it needs, before the forks; None: by reading a valid file. TensorFlow must have
            computed nothing before a fork, where its threads are missing.
    """

    read: Callable[[bytes], None]
    seeds: str
    refusals: tuple[type[Exception], ...] = (InputError,)
    prepare: Callable[[], None] | None = None


def read_package(content: bytes) -> None:
    """Unpacks a package, and reads what it says of itself, from bytes and as the tools do from a file."""
    from sqb_tflite.package import container
    from sqb_tflite.package.info import PackageInfo

    info = PackageInfo.read(content)
    _ = (info.recipe, info.head, info.versions, info.max_seq_length, info.manifest())
    with _file(content, ".tflite") as path:
        container.unpack(path)


def read_metadata(content: bytes) -> None:
    """Reads the metadata flatbuffer alone."""
    from sqb_tflite.package import metadata

    metadata.read(content)


def describe(content: bytes) -> None:
    """Describes a package, as tables too."""
    from sqb_tflite.runtime.describe import describe, table

    with _file(content, ".tflite") as path:
        table(describe(path))


def run_package(content: bytes) -> None:
    """Opens a package and gives it a text."""
    from sqb_tflite.runtime.runner import Runner

    runner = Runner(content)
    list(runner.stream([("a good film zz \u00e9", None)]))


def read_torch_file(content: bytes) -> None:
    """Reads a weight file of torch.save."""
    from sqb_tf.checkpoint import torch_file

    with _file(content, ".bin") as path:
        torch_file.read(path)


def read_bundle(content: bytes) -> None:
    """Reads all of a bundle but the arrays, and compares its config with these."""
    from sqb_tf.checkpoint import bundle, checksum

    with _folder(content) as folder:
        info = bundle.read_info(folder)
        bundle._check_config(info.config, folder / bundle.WEIGHTS)
        checksum.check(folder / bundle.WEIGHTS)
        _ = (info.head, info.sample("calibration"), info.sample("verification"))


def read_transformers_folder(content: bytes) -> None:
    """Reads a folder of transformers, or of sentence-transformers, with its weights."""
    from sqb_tf.checkpoint import transformers_folder

    with _folder(content) as path:
        folder = transformers_folder.read(path)
        _ = (folder.config, folder.seq_length, folder.labels(folder.head), folder.arrays)


def load(content: bytes) -> None:
    """Makes the Keras model of a bundle or a folder of transformers."""
    import sqb_tf

    with _folder(content) as folder:
        sqb_tf.load(folder)


def import_keras() -> None:
    """All that `load` imports."""
    for name in ("sqb_tf.checkpoint.source", "sqb_tf.model.heads", "sqb_tf.text.tokenizer"):
        importlib.import_module(name)


def read_shards(content: bytes) -> None:
    """Reads a folder of shards and all of its records."""
    import numpy as np

    from sqb_tf.training.pretraining.shards import Shards

    with _folder(content) as folder:
        shards = Shards(folder)
        for split in ("train", "dev"):
            shards.read(split, np.arange(shards.count(split)))


def read_result(content: bytes) -> None:
    """Reads records.json, shows it and compares it with itself."""
    from sqb_tflite.bench.record import Result
    from sqb_tflite.bench.reports import compare, report

    with _file(content, ".json") as path:
        result = Result.read(path)
    report.table(result)
    report.markdown(result)
    compare.table(compare.compare(result, result))


def read_recipe(content: bytes) -> None:
    """Reads a mixed recipe."""
    from sqb_tflite.conversion.recipes import read_patterns

    with _file(content, ".json") as path:
        read_patterns(path)


def read_examples(content: bytes, suffix: str) -> None:
    """Reads a delimited file."""
    from sqb_tf.data.delimited import DelimitedFile
    from sqb_tf.data.example import Columns

    with _file(content, suffix) as path:
        list(DelimitedFile(path, Columns("text", None, "label")))


def read_squad(content: bytes) -> None:
    """Reads a file of SQuAD 2.0."""
    from sqb_tf.data.squad import SquadFile

    with _file(content, ".json") as path:
        list(SquadFile(path, with_impossible=True))


def read_conll(content: bytes) -> None:
    """Reads a file of tagged words."""
    from sqb_tf.data.conll import ConllFile

    with _file(content, ".conll") as path:
        list(ConllFile(path))


def read_tool_output(content: bytes) -> None:
    """Reads what TFLite's benchmark tool printed, as a device sends it."""
    from sqb_tflite.bench.devices import tool_output

    tool_output.parse(content.decode(errors="replace"))


def read_device_answer(content: bytes) -> None:
    """Reads a device's answer to a question, whose number is the first line."""
    from fixtures.device_answers import ANSWERS, Device

    number, _, answer = content.decode(errors="replace").partition("\n")
    questions = {str(number): question for number, (question, _) in enumerate(ANSWERS)}
    if number not in questions:
        raise InputError("no question")
    json.dumps(questions[number](Device(answer)), allow_nan=False)


def read_journal(content: bytes) -> None:
    """Reads what an unfinished benchmark has kept."""
    from sqb_tflite.bench.devices.journal import Journal

    with _file(content, ".jsonl") as path:
        Journal(path)


class _folder:
    """A temporary folder with the files of a zip; `with` gives its path. A zip that is none is refused."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> Path:
        folder = Path(tempfile.mkdtemp())
        try:
            with zipfile.ZipFile(io.BytesIO(self._content)) as archive:
                for name in archive.namelist():
                    if "/" not in name and "\0" not in name:
                        (folder / name).write_bytes(archive.read(name))
        except Exception as error:
            shutil.rmtree(folder)
            raise InputError("not a zip: no folder to read") from error
        self._path = folder
        return folder

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._path)


class _file:
    """A temporary file of this content; `with` gives its path."""

    def __init__(self, content: bytes, suffix: str) -> None:
        self._content, self._suffix = content, suffix

    def __enter__(self) -> Path:
        descriptor, path = tempfile.mkstemp(self._suffix)
        with open(descriptor, "wb") as file:
            file.write(self._content)
        self._path = Path(path)
        return self._path

    def __exit__(self, *_error: object) -> None:
        os.unlink(self._path)


TARGETS = {
    "package": Target(read_package, "fuzz_packages"),
    "metadata": Target(read_metadata, "fuzz_metadata", (Damaged,)),
    "describe": Target(describe, "fuzz_packages"),
    "runner": Target(run_package, "fuzz_packages"),
    "torch file": Target(read_torch_file, "fuzz_torch_files"),
    "bundle": Target(read_bundle, "fuzz_bundles"),
    "transformers folder": Target(read_transformers_folder, "fuzz_transformers_folders"),
    "shards": Target(read_shards, "fuzz_shards"),
    "result": Target(read_result, "fuzz_results"),
    "recipe": Target(read_recipe, "fuzz_recipes"),
    **{
        suffix: Target(functools.partial(read_examples, suffix=suffix), f"fuzz_{suffix[1:]}")
        for suffix in (".tsv", ".csv", ".jsonl")
    },
    "squad": Target(read_squad, "fuzz_squad"),
    "conll": Target(read_conll, "fuzz_conll"),
    "tool output": Target(read_tool_output, "fuzz_tool_output", (ToolError,)),
    "device answer": Target(read_device_answer, "fuzz_device_answers", (InputError, DeviceError)),
    "journal": Target(read_journal, "fuzz_journals"),
}

# Slow: TensorFlow has 1 s for each mutant.
LOADED = {
    "loaded bundle": Target(load, "fuzz_bundles", prepare=import_keras),
    "loaded transformers folder": Target(load, "fuzz_transformers_folders", prepare=import_keras),
}
ALL = {**TARGETS, **LOADED}


def misbehave(content: bytes) -> None:
    """Does what its input says, for the test of the guard itself."""
    if content == b"crash":
        os.abort()
    if content == b"memory":
        _ = b"x" * (1 << 30)
    while content == b"endless":
        pass
    if content == b"traceback":
        raise KeyError(content)
    if content == b"refuse":
        raise InputError("file: bad; expected a good one")
    if content == b"lines":
        raise InputError("file: bad;\nexpected a good one")


MISBEHAVING = Target(misbehave, "")
