"""GPUs and NPUs of simulated phones: what is asked of the tools, what ran by their lines, what is refused.

No phone was there: the stand-in prints what both tools printed on phones, see its `CompiledModel` and
`_tell_gpu`. What an NPU takes is in the package, and nothing here computes on one.
"""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from fixtures import tool_logs
from fixtures.commands import call, rejects
from fixtures.npu import compiled_package
from simulators.harness import measure, quick
from simulators.phone import tool

from sqb_tf.errors import InputError
from sqb_tflite.bench.devices import delegation, fleet, npu_checks, npu_libraries, tool_output
from sqb_tflite.bench.devices.binaries import Binary
from sqb_tflite.bench.devices.journal import Journal
from sqb_tflite.bench.devices.shells import DeviceError, SettingError
from sqb_tflite.bench.devices.targets import Target
from sqb_tflite.bench.devices.tool import Tool, _check_runs
from sqb_tflite.bench.plan import Plan
from sqb_tflite.bench.record import Compiled, Delegation, Record, Result
from sqb_tflite.bench.reports import compare, records, report, summary

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("surroundings")]

NPU = {
    "chip": "qualcomm:SM8750",
    "sdk": "v2.51.0",
    "operations": 193,
    "taken": 193,
    "partitions": 1,
}
SNAPDRAGON = {"ro.soc.model": "SM8750"}
LITERT = {"BENCHMARK_VARIANT": "litert"}
LIBRARIES = (
    *("libLiteRtDispatch_Qualcomm.so", "libQnnHtp.so", "libQnnSystem.so"),
    *("libQnnHtpV79Stub.so", "libQnnHtpV79Skel.so"),
)
# e_machine 62: x86-64.
OTHER_PROCESSOR = b"\x7fELF" + bytes(14) + b"\x3e\0"


@pytest.fixture(scope="module")
def fixed(converted, tmp_path_factory) -> str:
    """A package of 16 tokens."""
    path = tmp_path_factory.mktemp("fixed") / "fixed.tflite"
    path.write_bytes(converted("float32", 16))
    return str(path)


@pytest.fixture(scope="module")
def compiled(fixed) -> str:
    """`fixed`, as compiled whole for SM8750."""
    path = Path(fixed).with_name("fixed-qualcomm-SM8750.tflite")
    path.write_bytes(compiled_package(Path(fixed), NPU))
    return str(path)


@pytest.fixture
def libraries(tmp_path) -> Path:
    folder = tmp_path / "libraries"
    folder.mkdir()
    for name in LIBRARIES:
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def on_npu(tmp_path, libraries, compiled):
    """`on_npu(phone, ...)`: the result of the compiled package there, with a tool and libraries."""

    def run(phone, variant: str = "litert", plan=None, journal=None) -> dict:
        plan = plan or quick([compiled], delegates=["npu"])
        tools = [str(tool(tmp_path, variant=variant))]
        return measure(phone, plan, journal, tools=tools, npu_libraries=str(libraries))

    return run


def measured_keys(journal: Journal) -> list[dict]:
    """Of the measurements in it."""
    return [json.loads(key) for key in journal._repeats]


def only_failure(result: dict) -> tuple[str, str]:
    assert result["records"] == []
    (failure,) = result["failures"]
    return failure["cause"], failure["message"]


def test_a_gpu_is_asked_for_each_precision_and_its_share_is_kept(connected, fixed):
    phone = connected(environment={"BENCHMARK_GPU_TAKES": "17"})
    plan = quick([fixed], delegates=["xnnpack", "gpu"], gpu_precisions=["fp16", "fp32"])
    journal = Journal()
    values = measure(phone, plan, journal)
    assert not values["failures"] and not values["missing"]
    # Those of earlier versions, which were of float16, have no precision: what they measured counts.
    assert sorted(key.get("gpu_precision", "") for key in measured_keys(journal)) == [
        "",
        "",
        "fp32",
    ]
    assert not any("npu_libraries" in key for key in measured_keys(journal))
    made = {(r["delegate"], r["gpu_precision"]): r for r in values["records"]}
    assert made.keys() == {("xnnpack", None), ("gpu", "fp16"), ("gpu", "fp32")}
    asked = {"fp16": "true", "fp32": "false"}
    for precision, allowed in asked.items():
        record = made["gpu", precision]
        share = 17 / record["delegated"]["total"]
        assert (record["accelerator"], record["delegated"]["nodes"]) == ("gpu", 17)
        assert record["accelerator_share"] == pytest.approx(share, abs=1e-4) and share < 0.5
        flag = f"--gpu_precision_loss_allowed={allowed}"
        assert sum(flag in run and "--use_gpu=true" in run for run in phone.runs) == 1
    assert sum("gpu_precision" in run for run in phone.runs) == 2
    cpu = made["xnnpack", None]
    assert (cpu["accelerator"], cpu["accelerator_share"]) == ("cpu", 1.0)
    shown = report.table(Result.from_json(values))
    assert re.search(rf"gpu fp32 +gpu {100 * share:.0f}% .*delegated 17/", shown)
    assert re.search(r"xnnpack +cpu ", shown) and "ran on: what ran the graph" in shown
    # Each precision is a measurement of its own; an earlier version's record, without one, is of float16.
    keys = ("gpu_precision", "accelerator", "accelerator_share", "npu")
    old = {key: value for key, value in made["gpu", "fp16"].items() if key not in keys}
    earlier = Result.from_json({"records": [old], "failures": [], "missing": []})
    comparison = compare.compare(earlier, Result.from_json(values))
    assert [change.cell.gpu_precision for change in comparison.changes] == ["fp16"]
    assert {key.gpu_precision for key in comparison.only_new} == {None, "fp32"}
    assert "gpu fp32" in " ".join(map(str, comparison.only_new))


@pytest.mark.parametrize("taken", ["all", "0"])
def test_litert_falls_back_to_the_cpu_without_a_word_and_is_caught(connected, fixed, taken):
    phone = connected(environment={**LITERT, "BENCHMARK_GPU_TAKES": taken})
    values = measure(
        phone, quick([fixed], lengths=[16], delegates=["gpu"], gpu_precisions=["fp32"])
    )
    (run,) = phone.runs
    assert "--allow_fp16=false" in run and "--use_gpu=true" in run
    if taken == "all":
        (record,) = values["records"]
        assert record["delegated"]["name"] == "LITERT_CL" and record["accelerator"] == "gpu"
        return
    cause, message = only_failure(values)
    assert cause == "not delegated" and "it fell back to the CPU" in message
    told = summary.warnings(Result.from_json(values))
    assert "1 run fell back to the CPU, or the tool does not say." in told


def test_a_build_that_cannot_be_told_the_precision_is_one_failure(connected, fixed, tmp_path):
    binary = tool(tmp_path)
    text = binary.read_text()
    assert text.count('("gpu_precision_loss_allowed"') == 1
    binary.write_text(text.replace('("gpu_precision_loss_allowed"', '("gpu_loss"'))
    phone = connected(environment={"BENCHMARK_GPU_TAKES": "all"})
    plan = quick([fixed], delegates=["gpu"], gpu_precisions=["fp16", "fp32"])
    values = measure(phone, plan, tools=[str(binary)])
    assert [r["gpu_precision"] for r in values["records"]] == ["fp16"]
    (failure,) = values["failures"]
    assert (failure["cause"], failure["gpu_precision"]) == ("unsupported", "fp32")
    assert "has no --gpu_precision_loss_allowed" in failure["message"]
    binary.write_text(binary.read_text().replace('("use_gpu"', '("use_graphics"'))
    cause, message = only_failure(measure(phone, plan, tools=[str(binary)]))  # and no second one
    assert cause == "unsupported" and message.startswith("--delegates gpu: ")


def test_a_compiled_package_runs_on_the_npu_with_the_libraries_that_are_named(
    connected, on_npu, compiled, fixed, libraries
):
    phone = connected(properties=SNAPDRAGON)
    plan = quick([fixed, compiled], delegates=["xnnpack", "npu"], lengths=[16])
    journal = Journal()
    values = on_npu(phone, plan=plan, journal=journal)
    assert not values["failures"] and not values["missing"], values["failures"]
    made = {r["delegate"]: r for r in values["records"]}
    assert {d: Path(r["package"]).stem for d, r in made.items()} == {
        "xnnpack": "fixed",
        "npu": "fixed-qualcomm-SM8750",
    }
    record = made["npu"]
    assert (record["accelerator"], record["accelerator_share"]) == ("npu", 1.0)
    assert record["npu"] == NPU and record["delegated"]["name"] == "DispatchDelegate"
    assert record["text"]["texts"] == 0 and "drawn from a range" in record["text"]["source"]
    assert record["answer_difference"] is None and record["latency_ms"]["median"] >= 1.0
    assert Record.from_json(json.loads(json.dumps(record))).to_json() == record
    digest = npu_libraries.read(libraries, ["qualcomm"]).sha256
    assert record["tool"]["npu_libraries"] == digest
    # The tool of every delegate is started with them, and LiteRT's may come from there.
    assert [key["npu_libraries"] for key in measured_keys(journal)] == [digest, digest]
    assert ", 0 texts" not in report.table(Result.from_json(values))
    folder = f"/data/local/tmp/squeezebert-mobile/npu-{digest[:16]}"
    (run,) = [run for run in phone.runs if "use_npu" in run]
    assert f"--use_npu=true --dispatch_library_path={folder}" in run
    copied = {path.name for path in (phone.tmp / "squeezebert-mobile" / folder[-20:]).iterdir()}
    assert copied == set(LIBRARIES)
    pushes = len(phone.pushes)
    assert on_npu(phone)["records"] and len(phone.pushes) == pushes  # all is there


def test_what_an_npu_leaves_to_the_cpu_is_said(connected, on_npu, fixed, tmp_path):
    package = tmp_path / "part-qualcomm-SM8750.tflite"
    package.write_bytes(compiled_package(Path(fixed), {**NPU, "taken": 168, "operations": 170}))
    plan = quick([str(package)], delegates=["npu"], lengths=[16])
    result = Result.from_json(on_npu(connected(properties=SNAPDRAGON), plan=plan))
    (record,) = result.records
    assert record.accelerator_share == pytest.approx(168 / 170, abs=1e-4)
    assert records.caveats(record) == ["2 of 170 operations on the CPU"]
    assert "1 measurement delegated in part." in summary.warnings(result)
    assert re.search(r"\bnpu 99% ", report.table(result))
    for share, shown in {
        254 / 255: "npu 99%",
        1 / 400: "npu 1%",
        0.5: "npu 50%",
        1.0: "npu",
    }.items():
        partly = dataclasses.replace(record, accelerator_share=share)
        assert records.describe_accelerator(partly) == shown


def test_another_chip_is_refused_before_anything_runs(connected, on_npu, tmp_path):
    journal = Journal(tmp_path / "unfinished.jsonl")
    phone = connected(properties={"ro.soc.model": "SM8650"})
    result = on_npu(phone, journal=journal)
    assert only_failure(result) == (
        "unsupported",
        "fixed-qualcomm-SM8750.tflite: compiled for qualcomm:SM8750, and the chip of this device is SM8650: "
        "sqb compile --package PACKAGE --npu qualcomm:SM8650",
    )
    assert phone.runs == [] and len(result["missing"]) == 1
    assert not journal.path.exists()  # a second run would not have it either


@pytest.mark.parametrize(
    ("compiled_for", "chip"),
    [
        ("qualcomm:SM8750", "SM8750P"),
        ("samsung:E9945", "s5e9945"),
        ("google-tensor:Tensor_G5", "Tensor G5"),
        ("mediatek:MT6991", "MT6991Z/CZA"),
        ("qualcomm:SM8750", None),  # Android before 12, and boards, do not say
    ],
)
def test_a_chip_is_known_by_what_makers_add_to_its_name(compiled_for, chip):
    npu = Compiled(compiled_for, 2, 2)
    assert npu_checks.mismatch("a.tflite", npu, chip) is None
    if chip:
        told = npu_checks.mismatch("a.tflite", npu, "Tensor G4")
        assert told.endswith("sqb compile --package PACKAGE --npu google-tensor:Tensor_G4")
        told = npu_checks.mismatch("a.tflite", npu, "SDM845")  # LiteRT has none for it
        assert told.endswith("compile the package for this chip, if sqb compile has it")


def test_a_tool_without_npu_gives_no_figure(connected, on_npu):
    phone = connected(properties=SNAPDRAGON)
    cause, message = only_failure(on_npu(phone, variant=""))
    assert cause == "unsupported" and message.endswith(
        "is built without it: name LiteRT's benchmark_model with --tool, which has --use_npu"
    )
    assert phone.runs == []


def test_a_library_of_another_processor_leaves_the_cpu_to_measure(
    connected, on_npu, fixed, compiled, libraries
):
    (libraries / LIBRARIES[0]).write_bytes(OTHER_PROCESSOR)
    phone = connected(properties=SNAPDRAGON)
    plan = quick([fixed, compiled], delegates=["xnnpack", "npu"], lengths=[16])
    values = on_npu(phone, plan=plan)
    (record,), (failure,) = values["records"], values["failures"]
    assert (record["delegate"], record["tool"]["npu_libraries"]) == ("xnnpack", None)
    assert (failure["cause"], failure["delegate"]) == ("unsupported", "npu")
    told = f"{LIBRARIES[0]} is for another processor: expected one for arm64-v8a"
    assert told in failure["message"]


def test_only_the_makers_of_a_device_need_libraries_of_its_processor(libraries):
    (libraries / "libLiteRtDispatch_MediaTek.so").write_bytes(OTHER_PROCESSOR)
    both = npu_libraries.read(libraries, ["qualcomm", "mediatek"])
    both.check_runs(["arm64-v8a"], ["qualcomm"])
    with pytest.raises(SettingError, match=r"MediaTek\.so is for another processor"):
        both.check_runs(["arm64-v8a"], ["qualcomm", "mediatek"])


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (
            "no library",
            "./benchmark_model: error while loading shared libraries: libLiteRt.so: cannot open shared "
            "object file: No such file or directory",
        ),
        (
            "no library",
            'CANNOT LINK EXECUTABLE "./benchmark_model": library "libLiteRt.so" not found: needed by main '
            "executable",
        ),
        (
            "wrong ABI",
            "./benchmark_model: error while loading shared libraries: libLiteRt.so: wrong ELF class: "
            "ELFCLASS32",
        ),
    ],
)
def test_a_tool_that_lacks_a_library_is_no_tool_of_another_processor(cause, line):
    with pytest.raises(DeviceError, match=r"libLiteRt\.so") as error:
        _check_runs(line + "\n", Binary(Path("benchmark_model"), "0" * 64, "2026-11-30"))
    assert error.value.cause == cause


def test_of_two_subgraphs_the_share_is_of_the_one_delegated_most():
    parts = [Delegation("TfLiteGpuDelegateV2", "partial", nodes, 20, 2) for nodes in (3, 17, 5)]
    assert delegation.find_delegation(parts, "gpu").nodes == 17


def test_a_length_that_the_npu_alone_takes_is_refused_before_devices_are_measured(
    fixed, converted, libraries, tmp_path, monkeypatch
):
    longer = tmp_path / "longer.tflite"
    longer.write_bytes(converted("float32"))
    longer.write_bytes(compiled_package(longer, NPU))
    started = []
    monkeypatch.setattr(fleet, "_measure_remote", lambda *_: started.append("remote"))
    plan = quick([fixed, str(longer)], delegates=["xnnpack", "npu"], lengths=[32])
    options = fleet.ConnectionOptions([str(tool(tmp_path))], npu_libraries=str(libraries))
    targets = [Target("local", "local"), Target("host", "host")]
    with pytest.raises(InputError, match="length 32: the packages take at most 16 tokens"):
        fleet.measure(targets, plan, options)
    assert started == []


def test_this_machines_journal_is_known_by_the_key_of_earlier_versions(monkeypatch):
    journal = Journal()
    asked = []
    monkeypatch.setattr(journal, "repeats", lambda key: asked.append(json.loads(key)) or [])
    monkeypatch.setattr(fleet.session, "measure", lambda *_: [])
    fleet._measure_host(quick(["a.tflite"]), {}, journal)
    plans = {field.name for field in dataclasses.fields(Plan)} - {"gpu_precisions"}
    assert asked[0].keys() == plans | {"host"}


def test_an_npu_that_does_not_say_that_it_ran_gives_no_figure(connected, on_npu):
    phone = connected(properties=SNAPDRAGON, environment={"BENCHMARK_NPU": "silent"})
    cause, message = only_failure(on_npu(phone))
    assert cause == "not delegated" and "does not report that npu took a part" in message


def test_a_runtime_that_does_not_start_is_told_with_its_first_error(connected, on_npu, libraries):
    phone = connected(properties=SNAPDRAGON, environment={"BENCHMARK_NPU": "no runtime"})
    cause, message = only_failure(on_npu(phone))
    assert cause == "failed" and message == (
        "Failed to initialize Dispatch API: ERROR: "
        "[external/litert/litert/runtime/dispatch/dispatch_delegate.cc:168]; "
        "Node number 0 (DISPATCH_OP) failed to prepare."
    )


def test_replaced_nodes_prove_nothing_after_a_failed_kernel():
    """The line is printed for binaries that then do not run: google-ai-edge/LiteRT-LM#1466."""
    lines = (
        "10-05 01:28:28.710 18209 18209 I tflite  : Replacing 2 out of 3 node(s) with delegate "
        "(DispatchDelegate) node, yielding 3 partitions for subgraph 0 (main).\n"
        "02-19 10:07:32.809 20624 20624 E litert  : [dispatch_delegate.cc:122] Failed to create a dispatch "
        "delegate kernel: No usable Dispatch runtime found\n"
    )
    output = tool_output.parse(lines + tool_logs.LITERT)
    assert output.npu_failure.endswith("kernel: No usable Dispatch runtime found")
    assert output.delegations[0].nodes == 2
    binary = Binary(Path("benchmark_model"), "0" * 64, "2026-11-30")
    with pytest.raises(DeviceError, match=r"not on the NPU: .*No usable Dispatch runtime") as error:
        Tool(None, binary, "benchmark_model", flavor="litert")._check_delegation(output, "npu")
    assert error.value.cause == "not delegated"


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (LIBRARIES[0], "no libLiteRtDispatch_Qualcomm.so in it"),
        (LIBRARIES[2], "no libQnnSystem.so in it"),
        (LIBRARIES[4], r"no libQnnHtpV<N>Stub.so and libQnnHtpV<N>Skel.so in it"),
    ],
)
def test_a_missing_library_is_named(libraries, missing, told):
    (libraries / missing).unlink()
    with pytest.raises(InputError, match=told):
        npu_libraries.read(libraries, ["qualcomm"])


def test_what_a_plan_lacks_is_said_before_a_device_is_touched(fixed, compiled, libraries, tmp_path):
    here = ["--device", "local"]
    npu = ["--delegates", "npu"]
    binary = str(tool(tmp_path))
    for told, arguments in {
        "fixed.tflite is not compiled for one: sqb compile --package": ["--package", fixed, *npu],
        "compiled for qualcomm:SM8750, which alone runs it: add --delegates npu": [
            "--package",
            compiled,
        ],
        "our runner has no NPU: name a device with --device": ["--package", compiled, *npu],
        "the benchmark_model that is downloaded has no NPU": ["--package", compiled, *npu, *here],
        "--npu-libraries is missing": ["--package", compiled, *npu, *here, "--tool", binary],
        "--npu-libraries none: no such folder": [
            *("--package", compiled, *npu, *here, "--tool", binary, "--npu-libraries", "none"),
        ],
        "--gpu-precision fp8: expected some of fp16, fp32": [
            *("--package", fixed, "--delegates", "gpu", "--gpu-precision", "fp8"),
        ],
        "--gpu-precision: for --delegates gpu": ["--package", fixed, "--gpu-precision", "fp32"],
        "--npu-libraries: for --delegates npu": ["--package", fixed, "--npu-libraries", libraries],
        "--delegates npus: expected some of .*; did you mean 'npu'": [
            *("--package", fixed, "--delegates", "npus"),
        ],
    }.items():
        rejects(told, "benchmark", *arguments)


@pytest.mark.slow
def test_this_machine_measures_what_it_can_beside_an_npu(
    compiled, fixed, libraries, tmp_path, caplog
):
    """`--device local,host`: the NPU's package is left out of the host's."""
    output = tmp_path / "records.json"
    code = call(
        *("benchmark", "--package", fixed, compiled, "--device", "local,host", "--lengths", "16"),
        *("--delegates", "npu,xnnpack", "--tool", tool(tmp_path, variant="litert"), "--runs", "2"),
        *(
            "--npu-libraries",
            libraries,
            "--repeats",
            "1",
            "--min-seconds",
            "0.01",
            "--json",
            output,
        ),
    )
    values = json.loads(output.read_text())
    assert code == 0, values["failures"]
    made = [(r["device"], r["accelerator"]) for r in values["records"]]
    assert sorted(made) == [("host", "cpu"), ("local", "cpu"), ("local", "npu")]
    assert "compiled for an NPU: not measured on host" in caplog.text
