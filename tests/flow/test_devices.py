"""How devices describe themselves, in the forms that differ between them."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from simulators.harness import mirror
from simulators.phone import tool

from sqb_tflite.bench import latency_stats
from sqb_tflite.bench.devices import (
    android,
    binaries,
    linux,
    linux_proc,
    targets,
)
from sqb_tflite.bench.devices.delegation import find_delegation
from sqb_tflite.bench.devices.shells import (
    CommandResult,
    DeviceError,
    LocalShell,
    NoAnswer,
)
from sqb_tflite.bench.devices.targets import Target
from sqb_tflite.bench.devices.tool_output import Output
from sqb_tflite.bench.devices.tool_statistics import Statistics
from sqb_tflite.bench.host import host_info
from sqb_tflite.bench.record import Delegation


class AnsweringShell(LocalShell):
    """A device that answers every command with the same text."""

    def __init__(self, *parts: str) -> None:
        super().__init__(threading.Event(), Path("/tmp"))
        self.text = "\n@@\n".join(parts)

    def run(self, script: str, *arguments: str, timeout_s: float = 30.0) -> CommandResult:
        return CommandResult(0, self.text)


BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  level: 77
  temperature: 287"""
SKIN = """Thermal Status: 1
Current temperatures from HAL:
\tTemperature{mValue=36.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=41.25, mType=3, mName=VIRTUAL-SKIN, mStatus=1}"""


def test_the_temperature_is_the_skins_if_the_phone_reports_it():
    state = android.state(AnsweringShell(BATTERY, SKIN, "", "mWakefulness=Asleep", "boot"))
    assert state["temperature_c"] == 41.25 and state["battery_percent"] == 77
    assert state["throttled"] == ["thermal status 1 (light)"] and state["cpu_mhz"] is None
    assert state["wakefulness"] == "Asleep" and state["charging"]
    older = android.state(
        AnsweringShell(BATTERY, "Can't find service: thermalservice", "", "", "boot")
    )
    assert older["temperature_c"] == 28.7 and older["throttled"] == []
    silent = android.state(AnsweringShell("", "", "", "", ""))
    assert silent["temperature_c"] is None and silent["battery_percent"] is None


def test_clusters_and_limits():
    cores = "\n".join(
        f"cpu{i} {khz}" for i, khz in enumerate([1800000] * 4 + [2400000] * 3 + [2800000])
    )
    assert linux_proc.clusters(cores) == [[4, 1800], [3, 2400], [1, 2800]]
    # Ten cores: cpu10 comes after cpu9, not after cpu1. Without cpufreq nothing is known.
    assert linux_proc.clusters("\n".join(f"cpu{i} " for i in (0, 1, 10, 2))) == [[4, None]]
    clocks, limits = linux_proc.frequencies(
        "cpu0 1000000 1800000 1800000\ncpu1 900000 1200000 1800000"
    )
    assert clocks == [1000, 900] and limits == ["cpu1 limited to 1200 of 1800 MHz"]
    assert linux_proc.frequencies("cpu0\ncpu1") == (None, [])


def test_a_name_contains_the_maker_once():
    def name(maker: str, model: str) -> str:
        properties = f"[ro.product.manufacturer]: [{maker}]\n[ro.product.model]: [{model}]"
        return android.describe(
            AnsweringShell(properties, "MemTotal: 4000000 kB", "cpu0 ", "", "")
        )["name"]

    assert name("Google", "Pixel 3") == "Google Pixel 3"
    assert name("OnePlus", "ONEPLUS A6003") == "ONEPLUS A6003"
    assert name("", "") == ""


def test_an_answer_without_its_parts_is_an_error():
    with pytest.raises(DeviceError, match="does not say what it is: sh: getprop: not found"):
        android.describe(AnsweringShell("sh: getprop: not found"))


def test_this_machine_describes_itself(tmp_path):
    shell = LocalShell(threading.Event(), tmp_path)
    hardware = linux.describe(shell)
    assert hardware["cores"] >= 1 and hardware["memory_gb"] > 0
    assert hardware["os"].startswith("Linux")
    assert hardware["simd"] == host_info.describe_host()["simd"]
    assert linux.state(shell)["load_average"] >= 0 and hardware["load_average"] >= 0


def test_simd_is_what_the_first_core_has():
    assert linux_proc.simd("processor : 0\nFeatures\t: fp asimd evtstrm asimddp i8mm\n") == [
        "asimd",
        "asimddp",
        "i8mm",
    ]
    assert linux_proc.simd("flags\t\t: fpu sse2 avx2 avx512_vnni\n") == ["avx2", "avx512_vnni"]
    assert linux_proc.simd("processor : 0\n") == []


def test_commands_end_with_their_code_and_output(tmp_path):
    shell = LocalShell(threading.Event(), tmp_path)
    assert shell.run("echo one; echo two >&2; exit 3") == CommandResult(3, "one\ntwo\n")
    assert shell.run("printf 'no line end'").text == "no line end"
    with pytest.raises(NoAnswer):
        shell.run("sleep 20", timeout_s=0.3)
    with pytest.raises(DeviceError, match="broke") as caught:
        shell.run("kill -9 $$; sleep 1")
    assert caught.value.lost


@pytest.mark.parametrize(
    ("machine", "abis", "fits"),
    [
        (183, ["arm64-v8a"], True),
        (40, ["arm64-v8a", "armeabi-v7a"], True),
        (62, ["aarch64"], False),
    ],
)
def test_a_tool_is_chosen_by_its_processor(tmp_path, machine: int, abis: Sequence[str], fits: bool):
    path = tmp_path / "benchmark_model"
    path.write_bytes(b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(40))
    if fits:
        assert binaries.find_binary([str(path)], "android", abis).path == path
    else:
        with pytest.raises(ValueError, match="for other devices: expected one for aarch64"):
            binaries.find_binary([str(path)], "linux", abis)


def test_a_tool_has_its_files_date_and_a_download_that_of_its_build(tmp_path, monkeypatch):
    """The tool prints no version, and a runtime's age decides what it takes."""
    path = tool(tmp_path)
    os.utime(path, (1.6e9, 1.6e9))
    assert binaries.find_binary([str(path)], "linux", ["x86_64"]).date == "2020-09-13"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "published").mkdir()
    with mirror(tmp_path / "published") as address:
        monkeypatch.setenv("SQB_TOOL_URL", address)
        for published in (tmp_path / "published").iterdir():
            os.utime(published, (1.7e9, 1.7e9))
        assert binaries.find_binary([], "linux", ["x86_64"]).date == "2023-11-14"


def test_no_tool_is_published_for_every_device():
    with pytest.raises(ValueError, match="no benchmark_model is published for android on x86_64"):
        binaries.find_binary([], "android", ["x86_64", "x86"])


def test_without_adb_all_is_this_machine(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert targets.find_targets(["all"]) == [Target("host", "host")]
    assert "adb: not found" in caplog.text
    with pytest.raises(ValueError, match="adb: not found on this machine: install"):
        targets.find_targets(["adb"])


def test_a_delegation_is_found_by_its_delegate():
    """The GPU's, although XNNPACK took the rest; the largest of several subgraphs."""

    def lines(*delegations: tuple[str, str]) -> list[Delegation]:
        return [Delegation(name, extent, None, None, None) for name, extent in delegations]

    both = lines(("GPU", "none"), ("GPU", "partial"), ("TfLiteXNNPackDelegate", "full"))
    assert find_delegation(both, "gpu").extent == "partial"
    assert find_delegation(both, "xnnpack").extent == "full"
    assert find_delegation(lines(("XNNPACK", "full")), "gpu") is None


STATISTICS = Statistics(1, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0)
OUTPUT = Output("tflite", STATISTICS, None, 1.0, None, None, None, (), {}, ())


def test_figures_of_several_starts_by_hand():
    first = {"count": 10, "min": 1.0, "p5": 1.5, "median": 2.0, "mean": 2.0, "p95": 3.0, "std": 0.0}
    second = {
        "count": 30,
        "min": 0.5,
        "p5": 2.5,
        "median": 6.0,
        "mean": 6.0,
        "p95": 9.0,
        "std": 2.0,
    }
    latency = latency_stats.summarize_repeats([first, second])
    assert (latency.count, latency.min, latency.median, latency.mean) == (40, 0.5, 4.0, 5.0)
    # (10 * (0 + 9) + 30 * (4 + 1)) / 40 = 6
    assert latency.std == pytest.approx(6**0.5, abs=1e-4)
    assert latency_stats.summarize_repeats([first, second | {"median": None}]).median is None
    # t of 2 degrees of freedom is 4.3027; the standard error of 1, 2, 3 is 1/sqrt(3).
    low, high = latency_stats.repeat_interval([11.0, 12.0, 13.0])
    # and half a microsecond, as the tool's medians are whole ones.
    assert high - 12 == pytest.approx(4.3027 / 3**0.5 + 5e-4, abs=1e-4)
    assert low + high == pytest.approx(24, abs=1e-9)
    assert latency_stats.repeat_interval([1.0]) is None
    assert latency_stats.repeat_interval([0.17, 0.17]) == (0.1695, 0.1705)
    # One of two starts was preempted: their interval ends at no negative time, which a record refuses.
    low, high = latency_stats.repeat_interval([0.03, 6.69])
    assert low == 0.0 and high > 40


def test_the_interval_of_a_median_covers_it_with_its_confidence():
    import numpy as np

    random = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        low, high = latency_stats.sample_interval(random.exponential(size=30))
        covered += low <= np.log(2) <= high
    # With 30 samples, ranks 10 and 21 cover it with 95.7%; 2000 trials estimate that to 0.5%.
    assert 0.942 < covered / 2000 < 0.972
    assert latency_stats.sample_interval([1.0] * 5) is None
