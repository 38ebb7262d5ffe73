"""Reports: the tables and files of a result. The result is made up."""

import dataclasses
import json
import re

import pytest
from fixtures import reports
from fixtures.reports import (
    HARDWARE,
    HOST,
    PACKAGES,
    PHONE,
    START,
    change,
    find,
    replace,
)
from matplotlib.figure import Figure
from matplotlib.image import imread

from sqb_tf.errors import InputError
from sqb_tflite.bench.record import Operation, Record, Result, ToolInfo
from sqb_tflite.bench.reports import (
    drawing,
    html,
    panels,
    plots,
    records,
    report,
    summary,
    tables,
)


@pytest.fixture
def result() -> Result:
    return reports.result()


def latency_row(
    result: Result, device: str, threads: int, length: int, recipe: str
) -> dict[str, str]:
    """The latency row of a record, by header."""
    group = [record for record in result.records if record.device == device]
    names = records.result_package_names(result)
    header, *rows = tables.latency_rows(group, names, PACKAGES["float32"])
    expected = {"tokens": str(length), "threads": str(threads), "package": names[PACKAGES[recipe]]}
    by_header = (dict(zip(header, cells, strict=True)) for cells in rows)
    (row,) = (row for row in by_header if expected.items() <= row.items())
    return row


def test_a_row_shows_the_records_figures(result):
    times = {"median": 10.0, "p5": 9.5, "p95": 11.25, "count": 30}
    change(result, HOST, 1, 128, "int8", ci95_ms=(9.8, 10.1), **times)
    shown = latency_row(result, HOST, 1, 128, "int8")
    assert shown["median ms"] == "10.00" and shown["p5 to p95"] == "9.50 to 11.25"
    assert shown["95% CI"] == "± 1.5%" and shown["runs"] == "30"  # 0.15 of 10


def test_ratios_are_to_the_first_package_and_to_bert_base_in_the_same_arithmetic(result):
    for recipe, median in (("float32", 24.0), ("int8", 8.0), ("dynamic", 40.0)):
        change(result, HOST, 1, 128, recipe, median=median)
    shown = {recipe: latency_row(result, HOST, 1, 128, recipe) for recipe in ("float32", "int8")}
    assert [shown[r]["ratio"] for r in shown] == ["1.00x", "3.00x"]
    # BERT-base was measured with int8 weights alone: no figure for float32.
    assert [shown[r]["over BERT-base"] for r in shown] == ["-", "5.00x"]


def test_a_padded_bert_base_is_not_compared(result):
    texts = [reports.record(HOST, 1, None, recipe) for recipe in ("int8", "dynamic")]
    result.records += texts
    assert records.speed_up(texts[0], result.records) > 1
    change(result, HOST, 1, 16, "dynamic", padded_to=128)
    assert latency_row(result, HOST, 1, 16, "int8")["over BERT-base"] == "-"
    assert latency_row(result, HOST, 1, 16, "dynamic")["marks"] == "padded to 128"
    # A package that pads at a length pads texts too.
    assert records.speed_up(texts[0], result.records) is None


def test_the_fastest_bert_base_is_compared(result):
    dynamic = find(result, HOST, 1, 128, "dynamic")
    faster = replace(dynamic, package="bert-base-dynamic-128.tflite", median=40.0)
    change(result, HOST, 1, 128, "int8", median=8.0)
    result.records.append(faster)
    assert latency_row(result, HOST, 1, 128, "int8")["over BERT-base"] == "5.00x"


def test_a_mean_is_never_shown_as_a_median(result):
    times = {"median": None, "p5": None, "p95": None, "mean": 7.5}
    change(result, PHONE, 1, 64, "int8", ci95_ms=None, **times)
    shown = latency_row(result, PHONE, 1, 64, "int8")
    assert shown["median ms"] == "mean 7.50" and "mean, not median" in shown["marks"]
    assert shown["p5 to p95"] == "-" and shown["95% CI"] == "-"
    mean = find(result, PHONE, 1, 64, "float32").latency_ms.mean
    assert shown["ratio"] == f"{mean / 7.5:.2f}x"  # means of both
    assert "1 measurement with a mean but no median." in summary.warnings(result)
    assert "median, hollow: mean" in html.page(result)


def test_throttling_and_partial_delegation_are_marked_with_their_reasons(result):
    shown = latency_row(result, PHONE, 2, 128, "int8")["marks"]
    assert shown == "throttled, delegated 50/58"
    assert "CPU clock fell from 2803 to 1766 MHz" in report.table(result)


def test_a_load_above_the_cores_left_free_is_marked(result):
    """The load before leaves the threads a core each, or it does not; those around starts have them in it."""
    one, two = (find(result, HOST, n, 16, "int8") for n in (1, 2))  # of 2 cores
    loaded = {load: HARDWARE[HOST] | {"load_average": load} for load in (0.3, 1.2, 3.2)}
    marks = {
        (record.threads, load): records.caveats(replace(record, hardware=hardware))
        for record in (one, two)
        for load, hardware in loaded.items()
    }
    assert marks[1, 0.3] == marks[2, 0.3] == marks[1, 1.2] == []
    assert marks[2, 1.2] == ["load 1.2 on 2 cores"]
    assert marks[1, 3.2] == ["load 3.2 on 2 cores"]

    def state(load: float) -> dict:
        return {"at": START.isoformat(), "load_average": load}

    own = replace(two, states=(state(1.9), state(2.1)))
    assert records.caveats(own) == []
    shared = {"states": (state(2.1), state(4.07))}
    change(result, HOST, 2, 16, "int8", **shared)
    assert latency_row(result, HOST, 2, 16, "int8")["marks"] == "load 4.1 on 2 cores"
    assert "1 measurement on a busy machine." in summary.warnings(result)
    assert "<dt>Load average</dt><dd>2.1 to 4.07</dd>" in html.page(result)
    assert "load: the average of tasks" in report.table(result)
    unknown = HARDWARE[HOST] | {"cores": None, "load_average": 9.0}
    assert records.caveats(replace(one, hardware=unknown)) == []


def test_how_far_answers_are_off_is_a_column_where_they_were_compared(result):
    assert "answers off by" not in report.table(result)
    change(result, PHONE, 1, 16, "int8", answer_difference=0.000256)
    change(result, PHONE, 1, 16, "int4", answer_difference=0.0)
    change(result, PHONE, 1, 64, "int4", answer_difference=2e-7)
    assert latency_row(result, PHONE, 1, 64, "int4")["answers off by"] == "<0.01%"
    shown = [
        latency_row(result, PHONE, 1, 16, recipe)["answers off by"]
        for recipe in ("int8", "int4", "float32")
    ]
    assert shown == ["0.026%", "0%", "-"]
    assert "answers off by: how far the outputs were" in report.table(result)


def test_runtimes_of_different_age_are_said(result):
    """One file on one CPU took 18.7 ms by our runner's runtime and 27.1 by that of a tool a year older."""
    warning = "The devices ran different runtimes: their times do not compare the machines."
    assert warning in summary.warnings(result)
    shown = report.table(result)
    assert "vm (host): ai-edge-litert 2.3.0" in shown
    tool = "that of benchmark_model (tflite), a file of 2025-08-13"
    assert f"SQB test device (adb {PHONE}) [emulator: not a phone]: {tool}" in shown
    assert "(binary) with a runtime of its own; file of 2025-08-13" in shown
    phone = [r for r in result.records if r.device == PHONE]
    # Builds of one day for two processors are of one age.
    other = ToolInfo("benchmark_model (tflite)", "cd" * 32, "binary", "2025-08-13")
    phones = Result([*phone, *(replace(r, device="other", tool=other) for r in phone)])
    assert warning not in summary.warnings(phones) and "runtimes:" not in report.table(phones)
    newer = dataclasses.replace(other, date="2026-08-21")
    phones = Result([*phone, *(replace(r, device="other", tool=newer) for r in phone)])
    assert warning in summary.warnings(phones)


def test_builds_that_do_not_count_nodes_are_marked_too(result):
    record = find(result, PHONE, 1, 16, "int8")
    uncounted = dataclasses.replace(record.delegated, total=None)
    assert records.caveats(replace(record, delegated=uncounted)) == ["delegated in part"]


def test_subgraphs_of_a_profile_are_added(result):
    change(result, PHONE, 1, 128, "int8", profile=(Operation("MUL", 1, 2.0, 50.0),) * 2)
    phone, _ = records.group_by_device(result.records).values()
    looks = drawing.assign_looks(phone)
    (panel,) = (p for p in panels.panels(phone, looks) if p.name == "profile")
    assert re.search(r"squeezebert-int8: [^;]*MUL 4\.00", panel.alt)


def test_delegate_and_cores_are_columns_only_where_they_vary(result):
    names = records.result_package_names(result)
    header = tables.latency_rows(result.records, names, "")[0]
    assert not {"delegate", "cores"} & set(header)
    record = find(result, PHONE, 1, 16, "int8")
    result.records += [replace(record, delegate="gpu"), replace(record, core_mask="f0")]
    phone = [record for record in result.records if record.device == PHONE]
    rows = tables.latency_rows(phone, names, "")
    assert {"delegate", "cores"} <= set(rows[0])
    looks = drawing.assign_looks(phone)
    assert len({(look.colour, look.dash) for look in looks.values()}) == len(looks)
    assert "squeezebert-int8, gpu, cores all" in {look.label for look in looks.values()}


@pytest.mark.parametrize("draw", [report.table, report.markdown, html.page])
def test_every_device_says_what_it_is_and_every_failure_why(result, draw):
    shown = draw(result)
    for device, hardware in HARDWARE.items():
        assert hardware["name"] in shown and device in shown
    assert "emulator: not a phone" in shown
    assert "offline" in shown and "the device went offline during the run" in shown
    assert "Planned but not measured" in shown


def test_two_hosts_are_two_devices(result):
    record = reports.record(HOST, 1, 16, "int8")
    result.records.append(replace(record, hardware=HARDWARE[HOST] | {"name": "another"}))
    assert "another (host)" in report.table(result) and "vm (host)" in report.table(result)


def test_only_an_emulator_is_marked(result):
    hardware = HARDWARE[PHONE] | {"name": "Pixel 3", "emulator": True}
    assert records.emulator_warning(hardware) == "emulator: not a phone"
    assert records.emulator_warning(hardware | {"emulator": False}) is None


def test_the_summary_names_the_fastest_and_counts_what_is_wrong(result):
    change(result, HOST, 1, 128, "int8", median=10.0)
    change(result, HOST, 1, 128, "dynamic", median=42.0)
    assert summary.findings(result)[1] == (
        "vm (host): squeezebert-int8 is the fastest at 10.00 ms (median) for 128 tokens, 1 thread, "
        "4.2 times as fast as BERT-base."
    )
    change(result, HOST, 1, 128, "dynamic", median=9.0)
    assert summary.findings(result)[1].endswith(
        "; the baseline bert-base-dynamic-any takes 9.00 ms (median)."
    )
    assert summary.warnings(result) == [
        "1 run failed.",
        "1 planned measurement missing.",
        "1 measurement throttled.",
        "23 measurements delegated in part.",
        "The devices ran different runtimes: their times do not compare the machines.",
    ]


def test_the_report_holds_records_table_plots_and_page(result, tmp_path):
    result.records.append(reports.record(HOST, 1, None, "int8"))
    report.write(tmp_path / "report", result)
    assert Result.read(tmp_path / "report" / "records.json") == result
    for name in ("latency.png", "real_text.png"):
        assert imread(tmp_path / "report" / name).std() > 0  # not one colour
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *("records.json", "table.md", "report.html", "latency.png", "real_text.png"),
    }


def test_the_plot_of_an_earlier_report_is_deleted(result, tmp_path):
    (tmp_path / "real_text.png").write_bytes(b"earlier")
    report.write(tmp_path, result)
    assert not (tmp_path / "real_text.png").exists()


def test_nothing_measured_is_a_report_too(result, tmp_path):
    result.records.clear()
    report.write(tmp_path, result)
    assert "Nothing was measured." in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nothing was measured" in report.table(result) and "offline" in report.table(result)


def test_the_page_has_a_plot_of_each_kind_and_none_of_a_single_value(result):
    result.records.append(reports.record(HOST, 1, None, "int8"))
    phone, host = records.group_by_device(result.records).values()
    looks = drawing.assign_looks(result.records)
    names = [panel.name for panel in panels.panels(phone, looks)]
    bars = ["recipe", "speed-up", "memory"]
    assert names == ["length-1", "length-2", "threads", *bars, "profile", "temperature"]
    names = [panel.name for panel in panels.panels(host, looks)]
    assert names == ["length-1", "length-2", "threads", *bars, "texts"]
    assert panels.panels([find(result, HOST, 1, 16, "int8")], looks) == []


def test_a_plot_is_text_in_the_pages_colours_with_its_figures_in_words(result):
    host = records.group_by_device(result.records)["vm (host)"]
    panel = panels.panels(host, drawing.assign_looks(result.records))[0]
    svg = panels.svg(panel, "d0-length-1")
    assert svg == panels.svg(panel, "d0-length-1")  # no date, no random ids
    assert ">milliseconds per run<" in svg and "var(--series-0)" in svg and "currentColor" in svg
    assert not re.search("#[0-9a-f]{6}", svg)
    median = find(result, HOST, 1, 16, "int8").latency_ms.median
    assert f"squeezebert-int8: {median:.2f} ms at 16 tokens" in panel.alt
    ids = set(re.findall(' id="([^"]+)"', svg))
    assert ids and all(id_.startswith("d0-length-1-") for id_ in ids)
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
    assert used and {a or b for a, b in used} <= ids


def test_noise_does_not_press_the_lines_together(result, tmp_path, monkeypatch):
    """A busy machine's 95th percentile is many medians: the axis ends above the medians all the same."""
    change(result, HOST, 2, 64, "int8", median=8.0, p5=7.0, p95=4000.0)
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    plots.plot_lengths(result.records, tmp_path / "latency.png")
    for row, device in zip((0, 2), (PHONE, HOST), strict=True):  # two panels of each
        of_device = [r for r in result.records if r.device == device]
        top = 1.25 * max(record.latency_ms.median for record in of_device)
        for axes in figures[0].axes[row : row + 2]:
            assert axes.get_ylim() == (0, pytest.approx(top))
    looks = drawing.assign_looks(result.records)
    host = records.group_by_device(result.records)["vm (host)"]
    axes = Figure().subplots()
    (panel,) = (p for p in panels.panels(host, looks) if p.name == "length-2")
    panel.draw(axes)
    medians = [r.latency_ms.median for r in host if r.threads == 2]
    assert axes.get_ylim() == (0, pytest.approx(1.25 * max(medians)))


def test_the_legend_explains_the_band(result):
    """The band is in the legend where there is one: builds without a median print no percentiles."""
    label = "band: 5th to 95th percentile of the runs"
    assert html.page(result).count(f"▒▒</span> {label}") == 6
    result.records = [replace(r, p5=None, p95=None) for r in result.records]
    assert label not in html.page(result)


def test_names_do_no_harm(result):
    name = "<img src=x onerror=alert(1)>|$\\bad$\x1b[31m`_x"
    result.records = [
        replace(record, package=f"</script>/{name}.tflite") if record.recipe == "int8" else record
        for record in result.records
    ]
    page = html.page(result)
    assert "<img" not in page and "\x1b" not in page
    assert page.count("</script>") == 2  # the records' and the page's own
    assert "\x1b" not in report.table(result)
    markdown = report.markdown(result)
    assert "<img" not in markdown and "\\|$" in markdown


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no JSON", "not JSON"),
        ("[]", "Expected object, got array"),
        ("[" * 100_000, "nested deeper than 64"),
        (
            '{"records": [], "failures": [{}], "missing": []}',
            "failures: .*missing required field device",
        ),
        ('{"records": [1], "failures": [], "missing": []}', "record 0 is not an object"),
        ('{"records": [{"host": {}}]}', "measure again"),
        ('{"records": [{}], "failures": [], "missing": []}', "record 0 has no package"),
        ('{"records": []}', "no list of failures and missing"),
    ],
)
def test_a_file_that_is_no_result_is_named(tmp_path, content, reason):
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=f"other.json: .*{reason}"):
        Result.read(path)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hardware": {}}, "hardware: Object missing required field name"),
        ({"hardware": {"name": 5}}, "hardware: name: expected str, got int"),
        ({"hardware": {"name": "a" * 200_000}}, "hardware: name: expected str of length <= 4096"),
        ({"hardware": {"name": "a", "clusters": [[1]]}}, "clusters.*expected array of length 2"),
        ({"latency_ms": {"mean": None}}, "latency_ms.mean: expected float, got null"),
        ({"latency_ms": {"mean": 0.0}}, "no mean above 0"),
        ({"latency_ms": {"mean": 1.0, "median": 0.0}}, "no median above 0"),
        ({"latency_ms": {"mean": 1.0, "median": "fast"}}, "latency_ms.median: expected float"),
        ({"latency_ms": {"mean": 1e300}}, "latency_ms.mean: expected float <= 1"),
        ({"samples_ms": [1.0, 0.0]}, "samples that are not all times above 0"),
        ({"ci95_ms": [1.0]}, "ci95_ms: expected array of length 2, got 1"),
        ({"ci95_ms": "narrow"}, "ci95_ms: expected array"),
        ({"core_mask": [1]}, "core_mask: expected str"),
        ({"delegate": 5}, "delegate: expected str, got int"),
        ({"delegated": [1]}, "delegated: expected object"),
        ({"device": None}, "device: expected str, got null"),
        ({"package": {}}, "package: expected str, got object"),
        ({"package": ""}, "no package"),
        ({"package": "half \ud800.tflite"}, "not JSON: .* utf-16 surrogate pair"),
        ({"threads": 10**30}, "threads: expected int <= 2147483647"),
        ({"seq_length": None}, "neither a seq_length nor samples"),
        ({"states": [{"at": "noon", "temperature_c": 20}]}, "at: invalid RFC3339"),
        ({"states": [{"at": "2026-01-02T03:04:05"}]}, "at: .*timezone"),
        ({"profile": [{"type": "ADD"}]}, "profile.*missing required field count"),
        ({"versions": {"a": 1}}, "versions.*expected str, got int"),
    ],
    ids=str,
)
def test_a_damaged_record_is_named(result, tmp_path, changed, reason):
    values = result.to_json()
    values["records"][3] |= changed
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    where = "" if reason.startswith("not JSON") else "record 3"
    with pytest.raises(InputError, match=f"broken.json: .*{where}.*{reason}") as refused:
        Result.read(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.json"):
        Result.read(tmp_path / "missing.json")


def test_a_record_of_an_earlier_version_has_defaults():
    """The keys that records of every version have."""
    oldest = {
        **{"package": "a.tflite", "device": "host", "hardware": {"name": "vm"}, "threads": 1},
        **{"delegate": "xnnpack", "core_mask": None, "seq_length": 16},
        "latency_ms": {"mean": 1.5},
    }
    record = Record.from_json(oldest)
    assert record.typical_ms == 1.5 and record.samples_ms == () and record.baseline is None
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_json_keys_are_the_contract(result):
    """Other programs read them."""
    at_length, on_texts = (reports.record(HOST, 1, n, "int8").to_json() for n in (16, None))
    assert " ".join(at_length) == (
        "package sha256 size_bytes recipe lowering baseline device threads delegate core_mask "
        "gpu_precision accelerator accelerator_share npu signature seq_length padded_to timed latency_ms "
        "samples_ms ci95_ms init_ms first_run_ms "
        "peak_memory_mb private_memory_mb total_memory_mb delegated answer_difference states throttled "
        "profile hardware tool versions date text"
    )
    assert on_texts.keys() - at_length.keys() == {"lengths", "samples"}
    assert set(at_length["latency_ms"]) == {
        *("min", "p5", "median", "mean", "p95", "std", "count"),
    }
    (failure,), (missing,) = result.to_json()["failures"], result.to_json()["missing"]
    assert missing.keys() == {
        *("device", "package", "threads", "seq_length", "delegate", "core_mask", "gpu_precision"),
    }
    assert failure.keys() - missing.keys() == {"hardware_name", "cause", "message", "at"}
