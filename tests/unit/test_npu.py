"""Compiling for NPUs without a maker's compiler: what is refused, what is said of a compiler that fails.

tests/peers/test_npu_emulator.py runs Qualcomm's.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import call, listing, rejects, start_python, unchanged
from fixtures.devices import wait
from fixtures.npu import dispatched_model

from sqb_tf.errors import InputError
from sqb_tflite.npu import (
    ai_pack,
    chips,
    compiled,
    compiler,
    compiler_log,
    emulator,
    end_with_parent,
    sdk,
)
from sqb_tflite.npu.chips import Chip
from sqb_tflite.package import container
from sqb_tflite.package.info import PackageInfo
from sqb_tflite.runtime.runner import Runner

SM8750, SM8650 = Chip("qualcomm", "SM8750"), Chip("qualcomm", "SM8650")
# What LiteRT 2.3.0 and Qualcomm's compiler 2.51 said of int8 tables: standard error and standard output.
MESSAGES = """\
WARNING: [qnn_manager.cc:370] Qnn System library version 1.15.0 is used. The version LiteRT using is 1.14.0.
WARNING: [qnn_manager.cc:272] Qnn library version 2.40.0 is used. The version LiteRT using is 2.39.0.
INFO: [compiler_plugin.cc:948] Applying plugin with SDK version: v2.51.0.260929181845
ERROR: [qnn_manager.cc:480]
QNN op validation failed: 'Gather_3' (type=Gather)
  QNN error=3110. See the QNN validator log lines above for the specific reason.
ERROR: [qnn_compiler_plugin.cc:538]
LiteRT Op #3 'EmbeddingLookup' (code=7) is not supported in Qualcomm Compiler.
ERROR: [qnn_manager.cc:480]
QNN op validation failed: 'Gather_5' (type=Gather)
ERROR: [qnn_compiler_plugin.cc:538]
LiteRT Op #4 'EmbeddingLookup' (code=7) is not supported in Qualcomm Compiler.
ERROR: [Qnn] Only static tensors are accepted for the begin, end, and strides tensors.
ERROR: [qnn_compiler_plugin.cc:538]
LiteRT Op #9 'StridedSlice' (code=45) is not supported in Qualcomm Compiler.
INFO: [accelerator_registry.cc:43] DestroyAccelerator: ptr=0x55f3d6210780, name=GPU WebGPU
"""
LOG = """\
     0.0ms [ ERROR ]   <E> unexpected GraphHtpSettings option 66
     0.0ms [ ERROR ]   <E> Failed to validate op MatMul_458 with error 0xc26
     0.0ms [ ERROR ]   <E> Unsupported datatypes for the HTP Op 'Gather' in the node 'Gather_3'.
     0.0ms [ ERROR ]   <E> Requested I/O datatype set:
     0.0ms [ ERROR ]   <E> Failed to validate op Gather_3 with error 0xc26
     0.0ms [ ERROR ]   <E> Unsupported datatypes for the HTP Op 'Gather' in the node 'Gather_5'.
     0.0ms [ ERROR ]   <E> Failed to validate op Gather_5 with error 0xc26
"""
# Of fp16 on a chip without float, and of LiteRT where a library is missing.
NO_FLOAT = """\
     0.0ms [ ERROR ]  graph_prepare.cc:211::ERROR:could not create op: q::Gather
     0.0ms [ ERROR ]   <E> RouterX86 graph prepare failed 12
     0.0ms [  INFO ]  graph.cc:2430:256: Vec workers synced.
"""
NO_LIBRARY = """\
WARNING: [compiler_plugin.cc:312] Failed to load plugin at: x.so with error: ERROR: [litert/compiler/x.cc:259]
└ Could not load shared library x.so: libopenvino.so.2631: cannot open shared object file.
INFO: [accelerator_registry.cc:43] DestroyAccelerator: ptr=0x555bac7cb770, name=GPU WebGPU
"""


@pytest.fixture(scope="module")
def fixed(converted, tmp_path_factory) -> Path:
    """A package of 16 tokens."""
    path = tmp_path_factory.mktemp("fixed") / "fixed.tflite"
    path.write_bytes(converted("float32", 16))
    return path


@pytest.fixture(scope="module")
def compiled_file(fixed) -> Path:
    """A package that says it was compiled, of which a chip takes a part; without a binary in it."""
    package = container.unpack(fixed)
    npu = {"chip": str(SM8750), "operations": 9, "taken": 7}
    model = fixed.read_bytes()[: _model_size(fixed)]
    path = fixed.with_name("compiled.tflite")
    path.write_bytes(compiled.with_files(model, package, npu))
    return path


def _model_size(path: Path) -> int:
    return path.read_bytes().index(b"PK\3\4")


@pytest.fixture(scope="module")
def dispatched(fixed) -> Path:
    """What LiteRT's compiler writes of `fixed`: one operation, and a binary of 8 bytes after the model."""
    path = fixed.with_name("dispatched.tflite")
    path.write_bytes(dispatched_model(fixed.read_bytes()))
    return path


@pytest.fixture
def program(monkeypatch, tmp_path):
    """`program(script)`: a shell script in place of LiteRT's compiler; $model and $o are its files."""

    def install(script: str) -> None:
        path = tmp_path / "apply_plugin_main"
        parsed = 'for a; do case $a in --model=*|--o=*) eval "${a#--}";; esac; done\n'
        path.write_text(f"#!/bin/sh\n{parsed}{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(compiler, "_binary", lambda: path)
        monkeypatch.setattr(sdk, "library_folders", lambda maker, npu_python: [])

    return install


def test_chips_are_those_named_each_once_and_in_order():
    assert chips.parse("qualcomm:SM8750, qualcomm:sm8650,qualcomm:SM8750") == [SM8750, SM8650]
    assert chips.parse("google-tensor:tensor_g5") == [Chip("google-tensor", "Tensor_G5")]
    assert chips.parse("samsung:all") == [
        Chip("samsung", model) for model in chips.models("samsung")
    ]
    everything = chips.parse("all")
    assert {chip.maker for chip in everything} == set(chips.MAKERS)
    assert SM8750 in everything and len(everything) == len(set(everything)) > 20
    assert not [chip for chip in everything if chip.model == "ALL"]


def test_every_chip_is_known_to_litert_by_that_name():
    for chip in chips.parse("all"):
        assert repr(chip.target).endswith(f"_{chip.model}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qualcomm:SM8751", "'SM8751': expected one of .*SM8350.*SM8850; did you mean 'SM8750'"),
        ("qualcom:SM8750", "unknown --npu 'qualcom': expected one of qualcomm, mediatek, .*, all;"),
        (
            "qualcomm",
            "--npu qualcomm: name a chip, as qualcomm:.* or qualcomm:all; qualcomm has SA8255",
        ),
        ("", "unknown --npu ''"),
        ("qualcomm:SM8750,", "unknown --npu ''"),
    ],
)
def test_an_unknown_chip_is_refused_with_those_that_are_known(text, message):
    with pytest.raises(InputError, match=message):
        chips.parse(text)


def test_files_are_named_after_the_output_and_the_chip():
    paths = compiler.output_paths("out/a.b.tflite", [SM8750, Chip("google-tensor", "Tensor_G5")])
    assert [str(path) for path in paths.values()] == [
        "out/a.b-qualcomm-SM8750.tflite",
        "out/a.b-google-tensor-Tensor_G5.tflite",
    ]
    with pytest.raises(
        InputError, match=r"cannot write a\.bin: expected a name ending in \.tflite"
    ):
        compiler.output_paths("a.bin", [SM8750])


@pytest.mark.parametrize("maker", chips.MAKERS)
def test_a_missing_sdk_is_named_with_how_to_get_it(maker, monkeypatch, tmp_path):
    monkeypatch.setattr(sdk.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("GOOGLE_TENSOR_COMPILER_LIB", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sdk.sys, "prefix", str(tmp_path / ".venv"))
    how = {"samsung": "registered developers"}.get(maker, "pip install")
    with pytest.raises(InputError, match=f"--npu {maker}: its SDK is missing: .*{how}"):
        sdk.library_folders(maker, None)
    with pytest.raises(InputError, match="--npu all: no maker's compiler is installed"):
        sdk.with_compiler([Chip(maker, model) for model in chips.models(maker)], None)


def test_a_python_without_qualcomms_software_is_refused(tmp_path):
    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\necho \'{"onnxruntime": "/a", "onnx": "/b", "onnxruntime_qnn": null}\''
    )
    script.chmod(0o755)
    with pytest.raises(InputError, match=r"it has no onnxruntime_qnn: make \.venv-npu/"):
        sdk.qnn_python(str(script))
    script.write_text("#!/bin/sh\necho what >&2; exit 1")
    with pytest.raises(InputError, match="not a Python: what"):
        sdk.qnn_python(str(script))
    with pytest.raises(InputError, match="gone: No such file or directory: expected a Python with"):
        sdk.qnn_python("gone")


def test_a_package_of_any_length_is_refused(package):
    with unchanged(package.parent):
        rejects("of any length.*--seq-lengths 64", "compile", "--package", package, "--npu", "all")


def test_a_compiled_package_is_refused_where_a_cpu_would_run_it(compiled_file, bundle_dir):
    assert compiler_refusal(compiled_file).startswith("compiled for qualcomm:SM8750 already")
    with pytest.raises(InputError, match=r"compiled for qualcomm:SM8750, .* sqb verify --npu"):
        Runner(compiled_file)
    verify = ("verify", "--model", bundle_dir, "--package")
    rejects("compiled for qualcomm:SM8750, which alone runs it", *verify, compiled_file)
    rejects("takes 7 of 9 operations, the emulator runs whole", *verify, compiled_file, "--npu")


def test_the_emulator_refuses_what_it_cannot_run(fixed):
    with pytest.raises(InputError, match=r"not compiled for an NPU: .*sqb compile --package"):
        emulator.check_emulated(fixed)
    other = fixed.with_name("other.tflite")
    npu = {"chip": "mediatek:MT6991", "operations": 9, "taken": 9}
    model = fixed.read_bytes()[: _model_size(fixed)]
    other.write_bytes(compiled.with_files(model, container.unpack(fixed), npu))
    with pytest.raises(InputError, match="mediatek:MT6991: only Qualcomm's chips have an emulator"):
        emulator.check_emulated(other)


def compiler_refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        compiler.check_package(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_compiled_package_keeps_the_files_of_its_package(fixed, compiled_file):
    before, after = container.unpack(fixed), container.unpack(compiled_file)
    assert (after.vocabulary, after.labels) == (before.vocabulary, before.labels)
    assert {k: v for k, v in after.properties.items() if k != "npu"} == before.properties
    assert PackageInfo.read(compiled_file).properties["npu"]["chip"] == "qualcomm:SM8750"


def test_refusals_have_the_makers_reason_by_operation():
    reasons = compiler_log.refusals(MESSAGES, LOG)
    assert reasons == {
        7: ["Unsupported datatypes for the HTP Op 'Gather'."],
        45: ["Only static tensors are accepted for the begin, end, and strides tensors."],
    }


def test_versions_of_the_sdk_are_told():
    assert compiler_log.sdk_version(MESSAGES) == "v2.51.0.260929181845"
    assert compiler_log.other_versions(2 * MESSAGES) == [
        "Qnn System library 1.15.0, LiteRT expects 1.14.0",
        "Qnn library 2.40.0, LiteRT expects 2.39.0",
    ]
    assert compiler_log.sdk_version("") is None and compiler_log.other_versions("") == []


def test_a_failure_is_the_last_errors_else_the_last_line():
    failure = compiler_log.failure
    assert (
        failure(MESSAGES, NO_FLOAT)
        == "could not create op: q::Gather; RouterX86 graph prepare failed 12"
    )
    assert "libopenvino.so.2631: cannot open shared object file" in failure(NO_LIBRARY, "")
    assert failure("INFO: [a.cc:1] Composing graph\n", "") == "Composing graph"
    assert failure("", "") == ""
    assert max(map(len, failure("", f"[ ERROR ] {'x' * 999}").split())) == 160


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo ' 0.0ms [ ERROR ] <E> no such op'; exit 6", "failed with exit code 6: no such op"),
        ("echo composing >&2; kill -SEGV $$", r"crashed \(SIGSEGV\): composing"),
        ("echo composing >&2; sleep 60", r"stopped after 1 s \(--time-limit\): composing"),
        (': > "$o"', "the compiler wrote no model"),
        ('echo TFL3 > "$o"', "not a TFLite model"),
        ('cp "$model" "$o"', "it took none of \\d+ operations"),
    ],
    ids=["fails", "crashes", "hangs", "empty", "garbage", "takes nothing"],
)
def test_a_compiler_that_gives_nothing_is_one_line_and_no_file(
    script, message, program, fixed, tmp_path, capsys
):
    program(script)
    output = tmp_path / "out" / "a.tflite"
    start = time.monotonic()
    flags = ("--npu", "qualcomm:SM8750", "--output", output, "--time-limit", 1, "--json", "-")
    pack = tmp_path / "pack"
    assert call("compile", "--package", fixed, *flags, "--ai-pack", pack) == 1
    assert time.monotonic() - start < 30
    result = json.loads(capsys.readouterr().out)
    (chip,) = result["chips"]
    assert (chip["chip"], chip["file"], chip["taken"]) == ("qualcomm:SM8750", None, 0)
    assert chip["operations"] > 50
    assert re.search(message, chip["failure"]), chip["failure"]
    assert "\n" not in chip["failure"]
    assert listing(output.parent) == [] and result["ai_pack"] is None and not pack.exists()


def test_a_compiled_package_is_written_with_its_report(
    program, dispatched, fixed, tmp_path, capsys
):
    program(f"cp {dispatched} \"$o\"; cat >&2 <<'EOF'\n{MESSAGES}EOF")
    command = ("compile", "--package", fixed, "--output", tmp_path / "a.tflite", "--json", "-")
    pack = tmp_path / "pack"
    assert call(*command, "--npu", "qualcomm:SM8750,qualcomm:SM8650", "--ai-pack", pack) == 0
    result = json.loads(capsys.readouterr().out)
    assert [chip["chip"] for chip in result["chips"]] == [str(SM8750), str(SM8650)]
    for chip in result["chips"]:
        assert chip["taken"] == chip["operations"] > 50
        assert (chip["partitions"], chip["refused"], chip["failure"]) == (1, [], None)
        assert chip["sdk"].startswith("v2.51.0") and len(chip["remarks"]) == 2
        assert chip["size_bytes"] == Path(chip["file"]).stat().st_size
        assert container.unpack(chip["file"]).properties["npu"]["chip"] == chip["chip"]
    assert len(result["ai_pack"]["groups"]) == 3
    names = ["a-qualcomm-SM8650.tflite", "a-qualcomm-SM8750.tflite"]
    assert [name for name in listing(tmp_path) if name.startswith("a")] == sorted(
        [*names, "apply_plugin_main"]
    )
    program(f'cp {dispatched} "$o"')
    assert call(*command[:-2], "--npu", "qualcomm:SM8750", "--overwrite", "--ai-pack", pack) == 0
    table = capsys.readouterr().out
    taken = f"{result['chips'][0]['taken']}/{result['chips'][0]['operations']}"
    assert f"qualcomm:SM8750  {taken} " in table and "AI pack" in table
    assert not (pack / "pack/src/main/assets/model#group_Qualcomm_SM8650").exists()


# In place of `emulator_process.py`: answers with the first bytes of what it reads, until `die`.
EMULATOR = """
import json, os, sys
from pathlib import Path
binary = json.loads(Path(sys.argv[1]).read_text())["binaries"][0]
sizes = [4 * t["shape"][0] * t["shape"][-1] for t in binary["inputs"]]
answers = os.fdopen(1, "wb")
answers.write(b"0")
answers.flush()
while sys.stdin.buffer.read(1):
    words = [sys.stdin.buffer.read(size) for size in sizes]
    if {die!r} in words[0]:
        sys.exit("the emulator gave up")
    size = 4 * binary["outputs"][0]["shape"][-1]
    answers.write(words[0][:size])
    answers.flush()
"""


@pytest.fixture
def emulated(monkeypatch, tmp_path, dispatched, fixed):
    """`emulated(die)`: a runner of a compiled package whose emulator ends when it reads the bytes `die`."""

    def runner(die: bytes) -> emulator.EmulatedRunner:
        program = tmp_path / "emulator.py"
        program.write_text(EMULATOR.replace("{die!r}", repr(die)))
        monkeypatch.setattr(emulator, "_PROGRAM", program)
        python = sdk.QnnPython(sys.executable, "")
        monkeypatch.setattr(emulator, "qnn_python", lambda executable: python)
        npu = {"chip": str(SM8750), "operations": 9, "taken": 9}
        package = container.unpack(fixed)
        path = tmp_path / "whole.tflite"
        path.write_bytes(compiled.with_files(dispatched.read_bytes(), package, npu))
        return emulator.EmulatedRunner(path)

    return runner


def test_the_emulator_gets_ids_in_the_files_order_and_gives_outputs(emulated):
    """Three labels: the first three ids come back, as the bits of floats."""
    ids = np.arange(1, 17, dtype=np.int32)[np.newaxis]
    inputs = {"input_word_ids": ids, "input_mask": 0 * ids + 100, "input_type_ids": 0 * ids + 200}
    with emulated(b"never") as runner:
        assert runner.chip == "qualcomm:SM8750"
        (name,) = next(iter(runner.signatures.values())).outputs
        first = runner._emulated.runners["serving_default"].binary["inputs"][0]["name"]
        sent = next(key for key in inputs if key in first)
        for _ in range(2):
            output = runner(inputs)[name]
            assert output.shape == (1, 3)
            assert output.view(np.int32).tolist() == inputs[sent][:, :3].tolist()
        assert runner.classify(["a film"])[0].label in runner.package.labels
        with pytest.raises(InputError, match="cannot be timed: an emulator's times say nothing"):
            runner.prepare(inputs)


def test_an_emulator_that_ends_is_one_line(emulated):
    ids = np.full((1, 16), 0x41414141, np.int32)
    with emulated(b"AAAA") as runner:
        inputs = dict.fromkeys(("input_word_ids", "input_mask", "input_type_ids"), ids)
        with pytest.raises(InputError, match=r"emulator failed: the emulator gave up$"):
            runner(inputs)
        with pytest.raises(InputError, match="emulator failed"):
            runner(inputs)


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-u", *sys.argv[1:]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path):
    program = tmp_path / "endless.py"
    program.write_text("import sys, time; print(sys.argv[1]); time.sleep(60)")
    parent = start_python("-c", PARENT, end_with_parent.__file__, str(program), "on", stdin=-1)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    wait(lambda: not Path(f"/proc/{child}").exists(), 10)


def test_what_is_there_is_replaced_with_overwrite_only(program, fixed, tmp_path):
    program("exit 6")
    output = tmp_path / "a.tflite"
    there = tmp_path / "a-qualcomm-SM8650.tflite"
    there.write_text("mine")
    command = ("compile", "--package", fixed, "--npu", "qualcomm:all", "--output", output)
    rejects("a-qualcomm-SM8650.tflite is there already: --overwrite replaces it", *command)
    assert call(*command, "--overwrite", "--quiet") == 1
    assert there.read_text() == "mine"  # the compiler failed


def test_an_ai_pack_replaces_an_ai_pack_alone(program, fixed, tmp_path):
    program("exit 6")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").write_text("mine")
    command = (
        "compile",
        "--package",
        fixed,
        "--npu",
        "qualcomm:SM8750",
        "--output",
        tmp_path / "a.tflite",
    )
    with unchanged(folder):
        rejects(
            "a.txt is no part of an AI pack: move it", *command, "--ai-pack", folder, "--overwrite"
        )
        rejects("it is a file: name a folder", *command, "--ai-pack", folder / "a.txt")
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / ai_pack.TARGETS_FILE).touch()
    rejects("pack is there already: --overwrite", *command, "--ai-pack", pack)
    rejects(r"a-qualcomm-SM8750.tflite is in it", *command, "--ai-pack", tmp_path, "--overwrite")


def test_an_ai_pack_has_a_file_for_each_chip_and_one_for_other_phones(
    fixed, compiled_file, tmp_path
):
    def compilation(chip: Chip, file: Path | None) -> compiler.Compilation:
        return compiler.Compilation(chip, 9, file=file)

    results = [
        compilation(SM8750, compiled_file),
        compilation(SM8650, None),
        compilation(Chip("google-tensor", "Tensor_G5"), compiled_file),
        compilation(Chip("intel", "LNL"), compiled_file),
    ]
    folder = tmp_path / "sst2-pack"
    groups = ai_pack.write(folder, fixed, results)
    assert groups == [
        "model#group_Google_Tensor_G5",
        "model#group_Qualcomm_SM8750",
        "model#group_other",
    ]
    assets = folder / "sst2_pack" / "src" / "main" / "assets"
    files = {group: (assets / group / "sst2_pack.tflite").read_bytes() for group in groups}
    assert files.pop("model#group_other") == fixed.read_bytes()
    assert set(files.values()) == {compiled_file.read_bytes()}
    targets = (folder / ai_pack.TARGETS_FILE).read_text()
    assert 'manufacturer="QTI" model="SM8750"' in targets and "SM8650" not in targets
    assert os.listdir(tmp_path) == ["sst2-pack"]


def test_a_damaged_binary_is_said(fixed):
    graph = container.parse(fixed.read_bytes(), "x")
    graph.operatorCodes[0].customCode = b"DISPATCH_OP"
    with pytest.raises(InputError, match=r"x: damaged DISPATCH_OP: .*compile it again"):
        compiled.partitions(graph, 0, "x")
