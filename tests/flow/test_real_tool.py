"""The harness and the stand-in against recordings of the real `benchmark_model`, and what it does that hurts.

The recordings are of LiteRT's tool on TFLite 2.20, Linux x86-64: `tool-output` of the shared data.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures import commands
from simulators.harness import quick
from simulators.phone import tool

from sqb_tflite.bench.devices import fleet, tool_output
from sqb_tflite.bench.devices.journal import FILE, Journal
from sqb_tflite.bench.devices.shells import LocalShell
from sqb_tflite.bench.devices.targets import Target
from sqb_tflite.bench.devices.tool_lines import ToolError
from sqb_tflite.bench.devices.tool_profile import outside_delegates, time_by_kind
from sqb_tflite.bench.record import Delegation, Record, Result
from sqb_tflite.bench.reports import records, summary, tables

pytestmark = [pytest.mark.device]

NAMES = ("input_word_ids", "input_type_ids", "input_mask")
# A home folder of two words, and what separates names, files and shapes in the tool's flags.
FOLDER = "Jane Doe, a:b"


@pytest.fixture(scope="session")
def recordings(shared_data) -> dict[str, str]:
    """What the real tool printed, by name: `xnnpack`, `profile`, `random-ids`."""
    folder = shared_data / "tool-output"
    if not folder.is_dir():
        pytest.skip(f"no recordings of the real tool at {folder}")
    return {path.stem: path.read_text() for path in folder.glob("*.txt")}


@pytest.fixture
def starts(monkeypatch, tmp_path) -> list[str]:
    """What each start of the tool on this machine printed; the cache is a folder of its own."""
    printed: list[str] = []
    run = LocalShell.run

    def recording_run(self, script: str, *arguments: str, timeout_s: float = 30.0):
        answer = run(self, script, *arguments, timeout_s=timeout_s)
        if any(argument.startswith("--graph=") for argument in arguments):
            printed.append(answer.text)
        return answer

    monkeypatch.setattr(LocalShell, "run", recording_run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return printed


def measure_here(
    packages: list[str], binary: Path, journal: Journal | None = None, **settings
) -> Result:
    options = fleet.ConnectionOptions([str(binary)])
    return fleet.measure([Target("local", "local")], quick(packages, **settings), options, journal)


def test_a_recorded_run(recordings):
    output = tool_output.parse(recordings["xnnpack"])
    figures = output.inference
    assert (figures.count, figures.min, figures.median, figures.p95) == (4630, 0.177, 0.201, 0.255)
    assert output.warmup.count == 2335 and output.init_ms == 2.467
    # A release build for Linux prints no "Replacing N out of M nodes".
    assert output.delegations == (Delegation("XNNPACK", "partial", kernels=1),)


def test_a_recorded_profile_is_the_share_of_each_operation(recordings):
    """The tool's summary has 143 of 169 us: 0.000 for 16 of 24 types, and 56% for fully connected."""
    (profile,) = tool_output.parse(recordings["profile"]).profiles
    assert (len(profile.nodes), profile.average_ms) == (191, pytest.approx(0.169023))
    kinds = {kind.type: kind for kind in time_by_kind([profile])}
    assert sum(kind.avg_ms for kind in kinds.values()) == pytest.approx(0.169, abs=2e-4)
    assert sum(kind.percent for kind in kinds.values()) == pytest.approx(100, abs=0.02)
    connected = kinds["Fully Connected (NC, QD8, F32, QC8W) GEMM"]
    assert (connected.count, connected.percent) == (32, 52.202)
    assert connected.avg_ms == pytest.approx(0.0882, abs=1e-4)
    assert kinds["CAST"].percent == 0.184 and kinds["CAST"].avg_ms > 0
    assert outside_delegates([profile]) == (23, pytest.approx(8.17, abs=0.01))


def test_a_profile_that_lost_events_is_refused(recordings):
    """188 of 191 rows: nothing but one line tells."""
    rows = [r"Delegate/Softmax \(NC, F32\):167", r"Delegate/Fully \S+ \S+ \S+ \S+ \S+ \S+:16[36]"]
    text = re.sub(rf"(?m)^.*({'|'.join(rows)})\n", "", recordings["profile"])
    text = re.sub(r"(executed:) 191", r"\1 188", text)
    text = re.sub(r"( GEMM\t +)32(.*)32\n", r"\g<1>30\g<2>30\n", text)
    text = re.sub(r"(Softmax \(NC, F32\)\t +)9(.*)9\n", r"\g<1>8\g<2>8\n", text)
    assert len(tool_output.parse(text).profiles[0].nodes) == 188
    with pytest.raises(ToolError, match="the profile lacks nodes"):
        tool_output.parse(f"INFO: Warning: Dropping ProfileBuffer event.\n{text}")


def test_the_cause_of_a_recorded_failure(recordings):
    with pytest.raises(ToolError) as caught:
        tool_output.parse(recordings["random-ids"])
    assert str(caught.value) == (
        "Embedding Lookup: index out of bounds. Got 13, and bounds are [0, 1]; "
        "Node number 23 (EMBEDDING_LOOKUP) failed to invoke."
    )


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (
            "Could not open 'x.tflite'.|The model allocation is null/empty|Failed to load model x.tflite",
            "Could not open 'x.tflite'.; Failed to load model x.tflite",
        ),
        (
            "The model is not a valid Flatbuffer buffer|Failed to load model x.tflite",
            "The model is not a valid Flatbuffer buffer; Failed to load model x.tflite",
        ),
        (
            "Failed to parse flag 'num_threads' against argv '--num_threads=abc'|usage: ./b <flags>",
            "Failed to parse flag 'num_threads' against argv '--num_threads=abc'",
        ),
        (
            "a:0:f contains more than one delimiter.|Wrong input value file item specified: a:0:f|1",
            "a:0:f contains more than one delimiter.; Wrong input value file item specified: a:0:f",
        ),
    ],
)
@pytest.mark.parametrize("end", ["\nERROR: Benchmarking failed.\n", ""])
def test_the_first_error_is_the_cause(errors, told, end):
    text = "\n".join(f"ERROR: {error}" for error in errors.split("|"))
    with pytest.raises(ToolError) as caught:
        tool_output.parse(f"INFO: STARTING!\n{text}{end}")
    assert (caught.value.cause, str(caught.value)) == ("failed", told)


RUN = ["--num_threads=1", "--use_xnnpack=true"]
INPUTS = [
    f"--input_layer={','.join(NAMES)}",
    "--input_layer_shape=1,64:1,64:1,64",
    "--input_layer_value_files=input_word_ids:ids64,input_type_ids:types64,input_mask:mask64",
    "--result_file_path=result.pb",
    *["--num_runs=30", "--min_secs=0.05"],
]
RANDOM = ["--num_runs=2", "--min_secs=0", "--warmup_runs=2", "--warmup_min_secs=0"]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("xnnpack", [*INPUTS, "--max_secs=150"]),
        ("profile", [*INPUTS, "--enable_op_profiling=true"]),
        ("random-ids", RANDOM),
    ],
)
def test_the_stand_in_prints_what_the_tool_prints(recordings, packages, tmp_path, name, flags):
    """Line by line, but for numbers and the rows of operations."""
    shutil.copy(packages[1], tmp_path / "demo-int8.tflite")
    for file, value in (("ids64", 5), ("types64", 0), ("mask64", 1)):
        (tmp_path / file).write_bytes(value.to_bytes(4, "little") * 64)
    command = [str(tool(tmp_path)), "--graph=demo-int8.tflite", *RUN, *flags]
    finished = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert finished.returncode == (1 if name == "random-ids" else 0)
    assert masked(finished.stdout) == masked(recordings[name])


def masked(text: str) -> list[str]:
    """The lines without their numbers, and without rows of operations."""
    rows = re.compile(r"\t *[^\t\[]+\t +[0-9.]+\t.*")
    numbers = re.compile(r"[0-9]+(?:\.[0-9]+)?")
    return [numbers.sub("N", line) for line in text.splitlines() if not rows.fullmatch(line)]


def test_a_run_with_a_setting_that_the_device_lacks_is_finished(packages, starts, tmp_path):
    """The same command measures again, and does not tell the old times."""
    journal = Journal(tmp_path / FILE)
    measure_here(packages[:1], tool(tmp_path), journal, delegates=["xnnpack", "nnapi"])
    assert len(starts) == 1 and not journal.path.exists()


def test_a_delegate_that_the_build_lacks_costs_no_start(packages, starts, tmp_path):
    plan = dict(delegates=["gpu", "xnnpack", "nnapi"])
    result = measure_here(packages[:2], tool(tmp_path), **plan)
    assert len(starts) == len(result.records) == 2 and len(result.missing) == 4
    assert [(f.delegate, f.package, f.cause) for f in result.failures] == [
        ("gpu", None, "unsupported"),
        ("nnapi", None, "unsupported"),
    ]
    expected = (
        "--delegates gpu: benchmark_model is built without it: name another build with --tool"
    )
    assert result.failures[0].message == expected


def test_a_delegate_that_the_platform_lacks_costs_one_start(
    packages, starts, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCHMARK_DELEGATES", "gpu")
    result = measure_here(packages[:2], tool(tmp_path), delegates=["gpu"], lengths=[8, 16])
    (failure,) = result.failures
    assert (len(starts), failure.delegate, failure.package) == (1, "gpu", None)
    expected = "--delegates gpu: GPU acceleration is unsupported on this platform."
    assert failure.message == expected


def test_cores_are_checked_once(packages, starts, tmp_path):
    absent = f"{1 << 40:x}"
    plan = dict(core_masks=[absent, "1"])
    result = measure_here(packages[:1], tool(tmp_path), **plan)
    (failure,) = result.failures
    assert len(starts) == len(result.records) == len(result.missing) == 1
    assert (failure.core_mask, failure.package, failure.cause) == (absent, None, "unsupported")
    cores = os.sysconf("SC_NPROCESSORS_CONF")
    expected = f"--core-masks {absent}: not on its {cores} cores: taskset: "
    assert failure.message.startswith(expected)


def shell_tool(folder: Path, body: str) -> Path:
    """A tool that has TFLite's flags, and runs `body`."""
    path = folder / "benchmark_model"
    usage = "printf '%s\\n' --enable_op_profiling=false --use_xnnpack=false"
    path.write_text(f'#!/bin/sh\n[ "$1" != --help ] || {{ {usage}; exit 1; }}\n{body}\n')
    path.chmod(0o755)
    return path


def test_what_a_failing_run_prints_is_bounded(packages, starts, tmp_path):
    """The real tool fails 20,000 times with random ids, and prints 2.7 MB."""
    again = "i=0; while [ $i -lt 20000 ]; do echo \"ERROR: Got $i\"; echo 'ERROR: Node' >&2; i=$((i+1)); done"
    binary = shell_tool(tmp_path, f"{again}\necho 'ERROR: Benchmarking failed.'; exit 1")
    (failure,) = measure_here(packages[:1], binary).failures
    assert (failure.cause, failure.message) == ("failed", "Got 0; Node")
    assert len(starts[0]) < 100_000


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("echo 'INFO: STARTING!'; kill -SEGV $$", "the last is: Segmentation fault"),
        ("echo 'INFO: STARTING!'; exit 7", "the last is: STARTING!"),
    ],
)
def test_how_a_tool_ends_is_told(packages, starts, tmp_path, body, told):
    (failure,) = measure_here(packages[:1], shell_tool(tmp_path, body)).failures
    assert failure.cause == "failed" and told in failure.message


def test_an_exit_code_contradicts_a_result(recordings, packages, starts, tmp_path):
    (tmp_path / "log").write_text(recordings["xnnpack"])
    (failure,) = measure_here(
        packages[:1], shell_tool(tmp_path, f"cat '{tmp_path}/log'; exit 7")
    ).failures
    assert failure.message == "exit code 7 in spite of a result"


@pytest.fixture
def odd_folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where all is that a command names; the cache and the current folder have the name too."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.chdir(folder)
    return folder


def test_names_with_blanks_commas_and_colons(odd_folder, packages, capsys):
    """From the package to the profile, on this machine."""
    package = odd_folder / "my, model: int8.tflite"
    shutil.copy(packages[1], package)
    flags = ["--package", package, "--device", "local", "--tool", tool(odd_folder), "--profile"]
    flags += ["--lengths", 8, "--runs", 2, "--repeats", 1, "--min-seconds", 0.01]
    assert commands.call("benchmark", *flags, "--json", odd_folder / "a, b: c.json") == 0
    (value,) = json.loads((odd_folder / "a, b: c.json").read_text())["records"]
    assert Path(value["package"]) == package and value["latency_ms"]["median"] > 0
    outside = value["delegated"]
    assert outside["kernels"] == 1 and outside["outside"] > 5 and outside["nodes"] is None
    # The operations outside, and no node for the delegate, whose kernels are the others.
    types = {kind["type"] for kind in value["profile"]}
    assert "EMBEDDING_LOOKUP" in types and not any("Delegate" in name for name in types)
    mark = f"delegated but for {outside['outside']} operations, {outside['outside_percent']:.1f}%"
    assert mark in capsys.readouterr().out
    assert sorted(path.name for path in odd_folder.iterdir()) == [
        *("a, b: c.json", "benchmark_model", "cache", "my, model: int8.tflite")
    ]


def record(**delegated) -> Record:
    return Record.from_json(
        {
            **dict(package="p.tflite", device="local", hardware={"name": "this"}, threads=1),
            **dict(delegate="xnnpack", core_mask=None, seq_length=8, latency_ms={"mean": 1.0}),
            "delegated": {"name": "XNNPACK", "extent": "partial", **delegated},
        }
    )


@pytest.mark.parametrize(
    ("delegated", "mark", "warned"),
    [
        ({"kernels": 1}, "delegated as one piece", False),
        ({"kernels": 3}, "delegated in part", True),
        ({}, "delegated in part", True),  # of an earlier version
        ({"kernels": 1, "nodes": 168, "total": 191}, "delegated 168/191", False),
        ({"kernels": 2, "nodes": 168, "total": 191}, "delegated 168/191", True),
        (
            {"kernels": 2, "outside": 23, "outside_percent": 8.17},
            "delegated but for 23 operations, 8.2% of the time",
            False,
        ),
        (
            {"kernels": 1, "outside": 1, "outside_percent": 60},
            "delegated but for 1 operation, 60.0% of the time",
            True,
        ),
    ],
)
def test_what_is_usual_is_no_warning(delegated, mark, warned):
    entry = record(**delegated)
    assert mark in records.caveats(entry)
    warnings = summary.warnings(Result([entry]))
    assert ("1 measurement delegated in part." in warnings) == warned


@pytest.mark.parametrize(
    ("delegated", "explained"),
    [
        ({"kernels": 1}, ["delegated as one piece"]),
        ({"nodes": 168, "total": 191}, ["delegated N/M"]),
        ({"outside": 23, "outside_percent": 8.17}, ["delegated but for"]),
        ({"extent": "full"}, []),
    ],
)
def test_words_on_delegates_are_explained_where_they_stand(delegated, explained):
    notes = tables.notes(Result([record(**delegated)]))
    assert [note.partition(":")[0] for note in notes if note.startswith("delegated")] == explained
