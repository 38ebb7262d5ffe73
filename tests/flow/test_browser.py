"""The pages in a real browser, offline: headless Chromium of the system."""

import dataclasses
import io
import json
import re
import shutil

import numpy as np
import pytest
from fixtures import reports
from fixtures.answers import Answering, classified
from fixtures.commands import call
from fixtures.reports import HOST, PACKAGES, PHONE
from matplotlib.image import imread

from sqb_tf.data.task import Task
from sqb_tf.heads import registry
from sqb_tflite.bench.record import Result
from sqb_tflite.bench.reports import report
from sqb_tflite.evaluation.evaluate import evaluate

playwright = pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium-headless-shell", "chromium")
HARMFUL = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # Chromium has no sandbox for root, which tests in a container run as.
        running = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def result() -> Result:
    """The made-up result, with real text and with a package whose name is HTML."""
    made_up = reports.result()
    made_up.records.append(reports.record(HOST, 1, None, "int8"))
    harmful = reports.record(PHONE, 1, 128, "int8")
    made_up.records.append(reports.replace(harmful, package=f"out/{HARMFUL}.tflite"))
    # Two more ways to escape from an attribute or an element.
    made_up.failures[0] = dataclasses.replace(
        made_up.failures[0],
        message="</script><script>alert(2)</script>",
        cause='" onmouseover="alert(3)',
    )
    return made_up


@pytest.fixture(scope="module")
def address(result, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("report")
    report.write(folder, result)
    return (folder / "report.html").as_uri()


@pytest.fixture
def open_page(browser, address):
    """Opens a page, by default the report's; at the end, none has reported an error or asked for more."""
    wrong, asked, pages = [], [], set()
    with browser.new_context(offline=True, accept_downloads=True) as context:

        def opened(width: int = 1280, height: int = 900, scheme: str = "light", url: str = address):
            pages.add(url)
            page = context.new_page()
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.on("console", lambda message: wrong.append(message.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(url)
            return page

        yield opened
    assert not wrong
    assert {url for url in asked if not url.startswith("blob:")} == pages


def rows(page, caption: str) -> list[dict[str, str]]:
    """The rows of the table with this caption, by header, in their order on the page."""
    cells = page.evaluate(
        """caption => {
            const table = [...document.querySelectorAll("table")].find(
                (table) => table.caption.textContent === caption);
            return [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
        }""",
        caption,
    )
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def test_the_tables_figures_are_the_records(open_page, result):
    page = open_page()
    names = {path: path.split("/")[-1].removesuffix(".tflite") for path in PACKAGES.values()}
    names[f"out/{HARMFUL}.tflite"] = HARMFUL
    for device, name in ((PHONE, "SQB test device"), (HOST, "vm")):
        expected = {
            (
                str(record.seq_length or "each text"),
                str(record.threads),
                names[record.package],
                f"{record.latency_ms.median:.2f}",
                str(record.latency_ms.count),
            )
            for record in result.records
            if record.device == device
        }
        headers = ("tokens", "threads", "package", "median ms", "runs")
        shown = [tuple(row[h] for h in headers) for row in rows(page, f"Latency on {name}")]
        assert set(shown) == expected and len(shown) == len(expected)


def test_the_page_holds_the_records_and_saves_them(open_page, result, tmp_path):
    page = open_page()
    assert json.loads(page.locator("#data").text_content()) == result.to_json()
    with page.expect_download() as saved:
        page.click("#download")
    saved.value.save_as(tmp_path / "saved.json")
    assert saved.value.suggested_filename == "records.json"
    assert json.loads((tmp_path / "saved.json").read_text(encoding="utf-8")) == result.to_json()


@pytest.mark.slow
def test_a_phones_screen_is_wide_enough(open_page):
    page = open_page(360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 360  # it does scroll
    heights = page.evaluate(
        """[...document.querySelectorAll("svg text")].map(
            (text) => parseFloat(getComputedStyle(text).fontSize)
                * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b))"""
    )
    assert min(heights) >= 10  # pixels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_has_a_shadow_on_that_side(open_page, scheme):
    page = open_page(360, 740, scheme)
    table = page.locator(".scroll", has_text="Loading and memory on vm")
    background = style(page, "body", "backgroundColor")

    def shaded() -> list[bool]:
        """Whether most of the left edge, and of the right one, has another colour than the page."""
        edges = imread(io.BytesIO(table.screenshot()))[:, [1, -2], :3] * 255
        return [bool(other > 20) for other in np.abs(np.median(edges, 0) - background).max(-1)]

    assert shaded() == [False, True]
    table.evaluate("table => { table.scrollLeft = 100; }")
    assert shaded() == [True, True]
    table.evaluate("table => { table.scrollLeft = table.scrollWidth; }")
    assert shaded() == [True, False]
    page.set_viewport_size({"width": 1280, "height": 740})
    assert shaded() == [False, False]


def test_the_page_of_a_survey(open_page, tmp_path):
    texts = [f"{word} number {i}" for word in ("good", HARMFUL) for i in range(30)]
    table = "\n".join(["text\tlabel", *(f"{text}\t{text.split()[0]}" for text in texts), "\tgood"])
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text(table)
    url = tmp_path / "survey.html"
    call("survey", "--data", tmp_path, "--page", url, "--json", tmp_path / "survey.json")
    page = open_page(360, 740, url=url.as_uri())
    assert rows(page, "Rows by class")[0] == {
        "class": "good",
        "train": "30",
        "share, %": "50.0",
        "dev": "30",
    }
    assert "100.0% of dev's texts stand in train too" in page.locator(".warnings").inner_text()
    widths = page.evaluate("[...document.querySelectorAll('.bar span')].map((b) => b.offsetWidth)")
    assert max(widths) > 100 and min(widths) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    result = json.loads((tmp_path / "survey.json").read_text())
    assert json.loads(page.locator("#data").text_content()) == result


def test_the_page_of_an_evaluation(open_page, tmp_path):
    labels = ["good", "bad", HARMFUL]
    data = [(f"{label} text {i}", label) for label in labels for i in range(20)]
    (tmp_path / "dev.tsv").write_text("\n".join(["text\tlabel", *map("\t".join, data)]) + "\n")
    wrong = {
        text: labels[(labels.index(label) + (i % 4 == 0)) % 3]
        for i, (text, label) in enumerate(data)
    }
    head = registry.get_task_head("classification")(labels)
    backend, other = (
        Answering(head, {text: classified(labels, said[text], 0.8) for text, _ in data})
        for said in (wrong, dict(data))
    )
    task, report = Task("classification", tmp_path), tmp_path / "report"
    others = ["good text 0", "good text 1"]
    result = evaluate(backend, task, "dev", report=report, against=other, others=others)
    page = open_page(360, 740, url=(tmp_path / "report" / "report.html").as_uri())
    shown = {row["class"]: row for row in rows(page, "Precision, recall and F1 by class")}
    assert shown[HARMFUL]["recall"] == "0.750" and shown["good"]["in the data"] == "20"
    assert len(rows(page, "All 15")) == 15
    both = {row["figure"]: list(row.values()) for row in rows(page, "Both models")}
    assert both["accuracy"] == ["accuracy", "0.7500", "1.0000", "-0.2500"]
    assert len(rows(page, "F1 of the classes that differ")) == 3
    assert page.locator("svg rect[opacity]").count() == 6  # three right, three wrong
    assert len(rows(page, "What a threshold (--abstain-below) would refuse")) == 9
    assert page.locator("svg polyline").count() == 1
    assert "right there: 15" in page.locator("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert json.loads(page.locator("#data").text_content()) == result


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_background(open_page, scheme):
    page = open_page(scheme=scheme)
    backs = {"body": "body", "td": "body", "svg text": "body", ".quiet": "body", "caption": "body"}
    backs |= {".badge": ".badge", ".warnings": ".warnings", ".card dt": ".card", ".button": "body"}
    for element, behind in backs.items():
        front = luminance(style(page, element, "fill" if "svg" in element else "color"))
        back = luminance(style(page, behind, "backgroundColor"))
        assert (front > back) == (scheme == "dark") or element == ".badge"
        light, dark = max(front, back), min(front, back)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, element  # WCAG 2.1, level AA


def style(page, selector: str, name: str) -> list[int]:
    """A computed colour: red, green, blue."""
    query = f"getComputedStyle(document.querySelector('{selector}')).{name}"
    return [int(value) for value in re.findall(r"\d+", page.evaluate(query))[:3]]


def luminance(colour: list[int]) -> float:
    """WCAG's relative luminance."""
    shares = [value / 255 for value in colour]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.slow
def test_a_click_on_a_header_sorts_and_a_second_reverses(open_page):
    page = open_page()
    table = page.locator("table", has_text="Latency on vm")
    for header, key in (("median ms", float), ("package", str)):
        button = table.get_by_role("button", name=header)
        for direction in ("ascending", "descending"):
            button.click()
            shown = [key(row[header]) for row in rows(page, "Latency on vm")]
            assert shown == sorted(shown, reverse=direction == "descending")
            (by,) = table.locator("th[aria-sort]").all()
            assert by.inner_text().startswith(header)
            assert by.get_attribute("aria-sort") == direction


@pytest.mark.slow
def test_cells_without_a_number_are_last_in_both_orders(open_page):
    page = open_page()
    button = page.locator("table", has_text="Latency on vm").get_by_role("button", name="over BERT")
    for _ in range(2):
        button.click()
        shown = [row["over BERT-base"] for row in rows(page, "Latency on vm")]
        assert "-" in shown and "-" not in shown[: -shown.count("-")]


@pytest.mark.slow
def test_plots_are_drawn_once_each_with_ids_of_their_own_and_words(open_page):
    page = open_page()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    plots = page.evaluate(
        """[...document.querySelectorAll("svg")].map((svg) => ({
            words: svg.getAttribute("aria-label"),
            role: svg.getAttribute("role"),
            drawn: svg.getBBox().width > 100 && svg.getBBox().height > 50,
            lost: [...svg.querySelectorAll("use")].filter((use) =>
                !svg.querySelector(use.getAttribute("href") ?? use.getAttribute("xlink:href"))).length,
        }))"""
    )
    assert len(plots) == 8 + 7
    for plot in plots:
        assert plot["role"] == "img" and plot["words"] and plot["drawn"] and not plot["lost"]


@pytest.mark.slow
def test_an_emulator_is_shown_as_one(open_page):
    page = open_page()
    assert page.locator(".badge").all_text_contents() == ["emulator: not a phone"]
    assert page.locator("h2", has=page.locator(".badge")).inner_text().startswith("SQB test device")


def test_html_in_a_name_is_shown_as_text(open_page):
    page = open_page()
    page.mouse.move(200, 200)
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2
    assert HARMFUL in page.locator("main").inner_text()
