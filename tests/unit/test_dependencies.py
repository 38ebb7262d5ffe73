"""Every import has a distribution that is pinned and in an extra; every pin is imported, or checks run it."""

import itertools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

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
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names_in(requirements: list[str]) -> set[str]:
    return {normalized(re.split(r"[\[<>=!~; ]", line)[0]) for line in requirements}


def pinned(file: str) -> dict[str, str]:
    """Distribution and version of every pin in a requirements file."""
    lines = (REPOSITORY / file).read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    return {normalized(name): version for name, version in pins.items()}


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


def test_pins_are_those_of_the_constraints():
    constraints = pinned("constraints.txt")
    assert pinned("requirements.txt").items() <= constraints.items()


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
