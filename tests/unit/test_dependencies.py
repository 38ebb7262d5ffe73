"""Every import has a distribution that is pinned and in an extra; every pin is imported, or checks run it."""

import importlib.util
import itertools
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from fixtures.imports import imports, sources
from fixtures.paths import GOLDEN, REPOSITORY

OURS = {"sqb_tf", "sqb_tflite", "sqb_tools"}
PRODUCT = ("sqb_tf", "tflite", "tools")
# What the checks run by name.
TOOLS = {"mypy", "ruff", "pytest-xdist"}
# What environments of their own have.
PEERS = {
    "jax",
    "litert_torch",
    "mediapipe",
    "onnx",
    "onnxruntime",
    "onnxruntime_qnn",
    "sentence_transformers",
    "torch",
    "transformers",
}
LOCKS = REPOSITORY / "locks"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names_in(requirements: list[str]) -> set[str]:
    return {normalized(re.split(r"[\[<>=!~; ]", line)[0]) for line in requirements}


def pinned(file: str | Path) -> dict[str, str]:
    """Distribution and version of every pin in a requirements file or a lock."""
    pins = re.findall(r"^([\w.-]+)==([\w.+]+)", (REPOSITORY / file).read_text(), re.MULTILINE)
    return {normalized(name): version for name, version in pins}


def script(name: str) -> ModuleType:
    """A program of locks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, LOCKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def distributions(folders: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Each file with the distribution of each third-party module that it imports."""
    known = metadata.packages_distributions()
    scripts = ("tests", "benchmarks", "examples", "tools")
    beside = {path.stem for folder in scripts for path in sources(folder)}
    local = OURS | PEERS | beside | {"benchmarks", "fixtures", "fuzz", "peers", "simulators"}
    for folder in folders:
        for path in sources(folder):
            if GOLDEN in path.parents:
                continue  # made with other versions
            for name in imports(path):
                top = name.partition(".")[0]
                if top in sys.stdlib_module_names or top in local:
                    continue
                if top == "google":  # many distributions share it
                    assert name.startswith("google.protobuf"), f"{path}: {name}"
                    yield path, "protobuf"
                else:
                    assert top in known, f"{path} imports {top}: no distribution has it"
                    yield path, normalized(known[top][0])


def test_requirements_name_what_is_imported_and_nothing_else():
    pins = pinned("requirements.txt")
    imported = {name for _, name in distributions((*PRODUCT, "tests", "benchmarks", "examples"))}
    assert imported - set(pins) == set()
    assert set(pins) - imported - TOOLS == set()


@pytest.mark.parametrize("name", script("lock").PINS)
def test_a_lock_has_every_pin_of_its_environment(name):
    """Else `make lock` was forgotten."""
    pins = pinned(script("lock").PINS[name])
    assert pins and pins.items() <= pinned(f"locks/{name}.txt").items()


def test_every_distribution_of_a_lock_has_hashes_and_comes_from_no_named_host():
    locks = sorted(LOCKS.glob("*.txt"))
    assert {path.stem for path in locks} == {*script("lock").PINS, "torch-cuda"}
    for path in locks:
        text = path.read_text()
        entries = script("lock").entries(text)
        assert "".join(entries) == text  # no option, no comment, no address
        for entry in entries:
            first, *hashes = entry.replace(" \\\n", "\n").splitlines()
            assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^/]+)?", first), entry
            assert hashes and all(
                re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}", h) for h in hashes
            )


def test_make_installs_from_locks_alone():
    makefile = (REPOSITORY / "Makefile").read_text()
    installs = re.findall(r"-m pip install (.+)", makefile)
    assert len(installs) == 4
    for flags in installs:
        assert "--require-hashes" in flags or flags == "--no-deps --no-build-isolation -e ."
    named = re.findall(r"\$\(call install,\$\(\w+\),(\w+)\)", makefile)
    assert {"build", *named} == set(script("lock").PINS)


ADVISORY = {"id": "CVE-1", "fix_versions": ["2"], "description": "", "aliases": []}
AUDITS = {
    "vulnerable": (
        [{"name": "a", "version": "1", "vulns": [ADVISORY]}],
        1,
        "a==1: CVE-1, fixed in 2",
    ),
    "clean": ([{"name": "a", "version": "1", "vulns": []}], 0, "1 distributions audited"),
    "unknown to the network": ([{"name": "a", "skip_reason": "not found"}], 0, "audit skipped"),
    "no network": (None, 0, "audit skipped"),
}


@pytest.mark.parametrize("case", AUDITS)
def test_an_audit_tells_what_is_vulnerable_and_when_it_was_skipped(
    case, tmp_path, monkeypatch, capsys
):
    dependencies, code, message = AUDITS[case]
    answer = "" if dependencies is None else json.dumps({"dependencies": dependencies, "fixes": []})
    pip_audit = tmp_path / "pip-audit"
    pip_audit.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\nexit 1\n")
    pip_audit.chmod(0o755)
    audit = script("audit")
    monkeypatch.setattr(audit, "PIP_AUDIT", pip_audit)
    assert audit.main() == code
    assert message in capsys.readouterr().out


def test_an_install_of_everything_has_what_the_product_imports():
    extras = PROJECT["optional-dependencies"]
    everything = names_in([*PROJECT["dependencies"], *itertools.chain(*extras.values())])
    missing = {(str(p), name) for p, name in distributions(PRODUCT) if name not in everything}
    assert missing == set()
    assert everything - {"squeezebert-mobile"} <= set(pinned("requirements.txt"))


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_extras_have_lower_bounds_only(extra):
    for requirement in PROJECT["optional-dependencies"][extra]:
        assert re.fullmatch(r"squeezebert-mobile\[[\w,]+\]|[\w-]+>=[\d.]+", requirement)


def test_every_folder_is_packaged_in_full():
    """A folder of modules that `packages` leaves out would be missing in the wheel alone."""
    tool = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {folder: name for name, folder in tool["package-dir"].items()}
    expected = set()
    for folder, name in folders.items():
        for path in sources(folder):
            parts = path.relative_to(REPOSITORY / folder).parent.parts
            expected.add(".".join([name, *parts]))
    assert expected == set(tool["packages"])
