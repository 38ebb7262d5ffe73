"""Packages compiled for Qualcomm's NPUs, whole, and the binaries run on Qualcomm's emulator."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.bundles import TEXTS
from fixtures.commands import call, listing, rejects
from fixtures.paths import REPOSITORY

from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tflite.conversion.recipes import LOWERINGS
from sqb_tflite.npu import chips, compiler, sdk
from sqb_tflite.npu.chips import Chip
from sqb_tflite.npu.compiled import partitions, with_files
from sqb_tflite.npu.compiler import Compilation
from sqb_tflite.npu.emulator import EmulatedRunner
from sqb_tflite.package import container
from sqb_tflite.runtime.runner import Runner

PYTHON = REPOSITORY / ".venv-npu" / "bin" / "python"
SM8750 = Chip("qualcomm", "SM8750")
# dB between the NPU and the CPU of the same file. Measured on every head: 29 to 43, and 38 to 56; on the
# classifier with the largest random weights 24 and 37.
LEAST_DB = {"int8-full": 20.0, "fp16": 30.0}
every_recipe = pytest.mark.parametrize("recipe", LEAST_DB)


def _reason() -> str:
    """Why these tests cannot run; empty where they can."""
    try:
        sdk.qnn_python(str(PYTHON))
    except InputError as error:
        return str(error)
    return ""


pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.skipif(bool(_reason()), reason=f"`make test-all` makes .venv-npu: {_reason()}"),
]


@pytest.fixture
def compiled(tmp_path) -> Callable[..., list[Compilation]]:
    """`compiled(package, *chips)`: what becomes of a package's bytes, by default for SM8750."""

    def compile_bytes(content: bytes, *targets: Chip) -> list[Compilation]:
        path = tmp_path / "a.tflite"
        path.write_bytes(content)
        outputs = compiler.output_paths(path, targets or [SM8750])
        return compiler.compile_package(path, outputs, npu_python=str(PYTHON))

    return compile_bytes


def _whole(compilation: Compilation) -> Path:
    """The compiled file, of which the NPU takes all in one binary a signature."""
    assert compilation.failure is None and compilation.refused == ()
    assert compilation.taken == compilation.operations > 50
    assert compilation.file is not None
    assert compilation.size_bytes == compilation.file.stat().st_size
    return compilation.file


def _sqnr_db(expected: list[np.ndarray], actual: list[np.ndarray]) -> float:
    signal, other = (
        np.concatenate([x.ravel() for x in side]).astype(float) for side in (expected, actual)
    )
    noise = ((signal - other) ** 2).sum()
    return float(10 * np.log10((signal**2).sum() / noise)) if noise else 200.0


def _compare(content: bytes, file: Path, recipe: str, count: int = 6) -> None:
    """Each output on the emulator, against that of the package on this CPU."""
    with Runner(content) as cpu, EmulatedRunner(file, str(PYTHON)) as npu:
        texts = (
            zip(TEXTS[:count], TEXTS[count:])
            if cpu.head.always_paired
            else zip(TEXTS[:count], [None] * count)
        )
        rows = list(texts)
        requests = [request for row in cpu.head.encode(rows, cpu.encoder) for request in row]
        expected, actual = list(cpu.run(requests)), list(npu.run(requests))
    for name in expected[0]:
        sides = ([outputs[name] for outputs in side] for side in (expected, actual))
        assert _sqnr_db(*sides) >= LEAST_DB[recipe], name


@every_recipe
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_a_classifier_is_taken_whole_and_answers_as_on_the_cpu(
    recipe, lowering, converted, compiled
):
    content = converted(recipe, 32, lowering=lowering)
    (compilation,) = compiled(content)
    assert compilation.partitions == 1
    assert compilation.sdk is not None and compilation.sdk.startswith("v")
    file = _whole(compilation)
    npu = container.unpack(file).properties["npu"]
    assert (npu["chip"], npu["taken"]) == ("qualcomm:SM8750", compilation.operations)
    _compare(content, file, recipe)


@every_recipe
@pytest.mark.parametrize("head", registry.NAMES)
def test_every_head_is_taken_whole_and_answers_as_on_the_cpu(head, recipe, head_package, compiled):
    content = head_package(head, recipe, (32,))
    (compilation,) = compiled(content)
    _compare(content, _whole(compilation), recipe)


def test_a_package_of_two_lengths_has_a_binary_for_each(converted, compiled):
    content = converted("int8-full", 16, 32)
    (compilation,) = compiled(content)
    assert compilation.partitions == 2
    file = _whole(compilation)
    with EmulatedRunner(file, str(PYTHON)) as npu, Runner(content) as cpu:
        assert {s.seq_length for s in npu.signatures.values()} == {16, 32}
        for text in ("a film", " ".join(["film"] * 25)):
            (npu_result,), (cpu_result,) = npu.classify([text]), cpu.classify([text])
            assert npu_result.label == cpu_result.label


def test_operations_that_stay_on_the_cpu_have_a_reason(converted, compiled):
    (compilation,) = compiled(converted("int8", 16))
    (refusal,) = compilation.refused
    assert (refusal.operation, refusal.count) == ("EMBEDDING_LOOKUP", 2)
    assert "Unsupported input/output datatypes" in refusal.reasons[0]
    assert compilation.taken == compilation.operations - 2
    with pytest.raises(InputError, match="the emulator runs whole ones: convert it to int8-full"):
        EmulatedRunner(str(compilation.file), str(PYTHON))


def test_a_chip_that_fails_leaves_the_others(converted, tmp_path, capsys):
    """SM8350 computes no floats: its compiler fails after it has taken all operations."""
    package = tmp_path / "a.tflite"
    package.write_bytes(converted("fp16", 32))
    flags = ("--npu", "qualcomm:SM8350,qualcomm:SM8550", "--npu-python", PYTHON, "--json", "-")
    pack = tmp_path / "pack"
    assert call("compile", "--package", package, *flags, "--ai-pack", pack) == 1
    result = json.loads(capsys.readouterr().out)
    failed, done = result["chips"]
    assert (failed["chip"], failed["file"]) == ("qualcomm:SM8350", None)
    assert "could not create op" in failed["failure"] and "\n" not in failed["failure"]
    assert (done["file"], done["failure"]) == (str(tmp_path / "a-qualcomm-SM8550.tflite"), None)
    assert listing(tmp_path) == ["a-qualcomm-SM8550.tflite", "a.tflite", "pack"]
    assert result["ai_pack"]["groups"] == ["model#group_Qualcomm_SM8550", "model#group_other"]
    rejects("SM8550.tflite is there already", "compile", "--package", package, *flags)


def test_int8_full_is_taken_whole_by_every_chip(converted, compiled):
    targets = [Chip("qualcomm", model) for model in chips.models("qualcomm")]
    for compilation in compiled(converted("int8-full", 32), *targets):
        _whole(compilation)


@every_recipe
def test_verification_judges_the_compiled_binary(recipe, converted, bundle_dir, compiled, capsys):
    (compilation,) = compiled(converted(recipe, 32))
    flags = ("--npu", "--npu-python", PYTHON, "--limit", 8, "--json", "-")
    code = call("verify", "--model", bundle_dir, "--package", _whole(compilation), *flags)
    report = json.loads(capsys.readouterr().out)
    assert code == (1 if report["misses"] else 0)
    assert (report["examples"], report["recipe"]) == (8, recipe)
    assert report["emulator"] == "qualcomm:SM8750"
    assert report["sqnr_db"] > 10 and report["metric"]["name"] == "accuracy"


def test_a_binary_that_the_emulator_cannot_open_is_one_line(converted, compiled, tmp_path):
    (compilation,) = compiled(converted("int8-full", 32))
    path, damaged = _whole(compilation), tmp_path / "damaged.tflite"
    content, package = bytearray(path.read_bytes()), container.unpack(path)
    (part,) = partitions(container.parse(bytes(content), "damaged"), 0, "damaged")
    end = part.offset + part.size
    content[part.offset : end] = bytes(part.size)
    model = bytes(content[: content.index(b"PK\3\4", end)])
    damaged.write_bytes(with_files(model, package, package.properties["npu"]))
    with pytest.raises(InputError, match=r"damaged\.tflite: Qualcomm's emulator failed") as caught:
        EmulatedRunner(damaged, str(PYTHON))
    assert "\n" not in str(caught.value)
