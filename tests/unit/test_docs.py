"""README, WORKSPACE and docs say what is there: links, paths, flags and code are true."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.paths import REPOSITORY as ROOT

from benchmarks import output, pareto_report
from sqb_tf.checkpoint import pretrained
from sqb_tools.__main__ import NAMES

PAGES = [
    ROOT / "README.md",
    ROOT / "WORKSPACE.md",
    ROOT / "SECURITY.md",
    ROOT / "sqb_tf" / "demo" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
MOST_LINES = {"README.md": 130, "WORKSPACE.md": 160}
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|npmjs\.com|repo1?\.maven|anaconda\.org|crates\.io"
)
# What a path in backticks begins with if it is one of the repository's, and what stands for a name.
FOLDERS = ("sqb_tf", "tflite", "tools", "tests", "benchmarks", "examples", "docs", "locks", ".ci")
PLACEHOLDER = re.compile(r"NAME|NNN|\*|\{|<")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(
    r"^(?P<skipped><!-- not run: [^\n]+ -->\n)?"
    r"(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.M | re.S,
)
TOOL = re.compile(r"\btools/(\w+)\.py\b")
SUBCOMMANDS = {"benchmark": ("compare", "report", "ios")}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", read(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of code in a language that are not marked as not run."""
    return [
        match["code"]
        for match in FENCE.finditer(read(page))
        if match["language"] == language and not match["skipped"]
    ]


@pytest.mark.parametrize("name", MOST_LINES)
def test_is_short(name):
    assert len(read(ROOT / name).splitlines()) <= MOST_LINES[name]


@pages
def test_links_lead_somewhere(page):
    missing = []
    for link in LINK.findall(prose(page)):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert not missing


@pages
def test_paths_exist(page):
    words = (word for span in CODE_SPAN.findall(prose(page)) for word in span.split())
    paths = (
        word.strip("'\",;:") for word in words if word.startswith(tuple(f"{f}/" for f in FOLDERS))
    )
    assert not [
        path for path in paths if not PLACEHOLDER.search(path) and not (ROOT / path).exists()
    ]


@pages
def test_names_no_package_registry(page):
    assert not REGISTRIES.findall(read(page))


def commands(text: str) -> Iterator[tuple[str, str | None, list[str]]]:
    """(tool, subcommand, flags) of every command line `python tools/NAME.py ...` in a page."""
    for line in text.replace("\\\n", " ").split("\n"):
        for command in re.split(r"[|`>#]|&&", line):
            found = TOOL.search(command)
            if found is None:
                continue
            words = command[found.end() :].split()
            known = SUBCOMMANDS.get(found[1], ())
            subcommand = words[0] if words and words[0] in known else None
            yield found[1], subcommand, re.findall(r"(?<![\w-])--[a-z][\w-]*", command)


@functools.cache
def flags_of(tool: str, subcommand: str | None) -> set[str]:
    """The flags in a tool's `--help`, which is asked for in this process."""
    path = ROOT / "tools" / f"{tool}.py"
    before, output = sys.argv, io.StringIO()
    sys.argv = [str(path), *([subcommand] if subcommand else []), "--help"]
    try:
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before
    assert exit_.value.code in (0, None)
    options = re.findall(r"^ +(-\S.*)$", output.getvalue(), re.M)
    return {flag for line in options for flag in re.findall(r"--[a-z][\w-]*", line.split("  ")[0])}


@pages
def test_flags_exist(page):
    unknown = [
        (tool, flag)
        for tool, subcommand, flags in commands(read(page))
        for flag in flags
        if not (ROOT / "tools" / f"{tool}.py").exists() or flag not in flags_of(tool, subcommand)
    ]
    assert not unknown


@functools.cache
def all_flags() -> set[str]:
    """The flags of all tools."""
    commands = [(tool, sub) for tool in NAMES for sub in (None, *SUBCOMMANDS.get(tool, ()))]
    return {flag for command in commands for flag in flags_of(*command)}


@pages
def test_flags_in_prose_exist(page):
    spans = [span for span in CODE_SPAN.findall(prose(page)) if span.startswith("--")]
    assert not {flag for span in spans for flag in re.findall(r"--[a-z][\w-]*", span)} - all_flags()


def test_commands_are_found():
    text = "python tools/a.py --x 1 \\\n    --y-z | jq --not\n`tools/benchmark.py compare A --fail-over 5%`"
    assert list(commands(text)) == [
        ("a", None, ["--x", "--y-z"]),
        ("benchmark", "compare", ["--fail-over"]),
    ]


def map_rows() -> Iterator[tuple[list[Path], list[str]]]:
    """(folders, modules said to be in them) of the rows of WORKSPACE's map."""
    root = ROOT
    for line in read(ROOT / "WORKSPACE.md").split("\n"):
        if section := re.match(r"`(\w+/)` is ", line):
            root = ROOT / section[1]
        elif line.startswith("| elsewhere"):
            root = ROOT
        elif line.startswith("| `"):
            where, what = line.split("|")[1:3]
            folders = [root / name for name in CODE_SPAN.findall(where)]
            yield (
                folders,
                [name for name in CODE_SPAN.findall(what) if re.fullmatch(r"[a-z_]+\*?", name)],
            )


def test_the_map_is_true():
    rows = list(map_rows())
    assert rows
    missing = [
        (str(folder), name)
        for folders, names in rows
        for folder in folders
        for name in names
        if folder.is_dir() and not [*folder.glob(name), *folder.glob(f"{name}.*")]
    ]
    assert not missing
    assert not [folder for folders, _ in rows for folder in folders if not folder.exists()]


def test_every_folder_of_code_is_on_the_map():
    listed = {folder for folders, _ in map_rows() for folder in folders}
    folders = {path.parent for name in ("sqb_tf", "tflite") for path in (ROOT / name).rglob("*.py")}
    within = {ROOT / "sqb_tf", ROOT / "tflite", ROOT / "tflite" / "conversion" / "lowering"}
    assert not folders - listed - within


@pytest.mark.parametrize(("variable", "least"), [("RESULTS", 6), ("ACCURACY", 4)])
def test_make_finds_its_markers(variable, least):
    """Every table that a benchmark writes has its place in the results page that the Makefile names."""
    makefile = read(ROOT / "Makefile")
    results = read(ROOT / re.search(rf"^{variable} \?= (\S+)$", makefile, re.M)[1])
    call = re.compile(
        r"(?:(?:publish|update_markdown)\(\s*args(?:\.readme)?,\s*|^MARKER = )f?\"([^\"]+)\"", re.M
    )
    scripts = re.findall(
        rf"(benchmarks/\w+\.py)[^\n]*(?:\\\n[^\n]*)*?--readme \$\({variable}\)", makefile
    )
    names = [name for script in scripts for name in call.findall(read(ROOT / script))]
    assert len(names) >= len(scripts) >= least
    for name in names:
        begin = f"<!-- {re.sub(r'{.*}', 'float32', name)} -->"
        assert results.count(begin) == 1, name


def test_model_cards_have_a_place_for_their_scores():
    """`benchmarks/pareto.py --cards` writes there."""
    for name in pretrained.CHECKPOINTS:
        card = read(pretrained.FOLDER / name / "README.md")
        assert [card.count(mark) for mark in ("<!-- scores -->", "<!-- /scores -->")] == [1, 1]


def test_readme_and_its_picture_have_the_results(tmp_path):
    """README's table, and the picture, are what `benchmarks/pareto.py` makes of the kept results."""
    page = re.search(r"\[all tables\]\((.+?)\)", read(ROOT / "README.md"))[1]
    kept = output.Results(ROOT / Path(page).with_suffix("") / "pareto.json")
    report = pareto_report.make_report(kept.entries())
    assert pareto_report.summary_table(report) in read(ROOT / "README.md")
    pareto_report.draw(report, tmp_path / "pareto.svg")
    drawn, shipped = (
        [float(number) for number in re.findall(r"-?\d+\.\d+", read(folder / "pareto.svg"))]
        for folder in (tmp_path, ROOT / "docs")
    )
    assert drawn == pytest.approx(shipped, abs=0.01)


@pages
def test_python_compiles(page):
    for match in FENCE.finditer(read(page)):
        if match["language"] == "python":
            compile(match["code"], str(page), "exec")


@pytest.mark.slow
def test_python_runs(tmp_path, monkeypatch):
    """Every block that is not marked, the blocks of a page one after the other, in an empty folder."""
    import keras

    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)  # what they train must not miss its bounds by chance
    count = 0
    for page in PAGES:
        names = {"__name__": page.stem}
        for code in blocks(page, "python"):
            exec(compile(code, str(page), "exec"), names)
            count += 1
    assert count >= 5  # README has 1, docs/python-api.md 4
    assert os.listdir(tmp_path)
