"""The built wheel in fresh environments: what a stranger installs runs packages, without TensorFlow."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fixtures.models import LABELS, random_texts
from fixtures.paths import REPOSITORY

VERSIONS = ["3.11", "3.12", "3.13"]
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
FOLDERS = {"sqb_tf": "sqb_tf", "tflite": "sqb_tflite", "tools": "sqb_tools"}
MEGABYTES = 300  # of site-packages; 143 with Python 3.13, pip included
TEXTS = random_texts(20, seed=3)

CLASSIFY = """
import json, sys
import sqb_tflite
runner = sqb_tflite.Runner(sys.argv[1])
results = runner.classify(json.loads(sys.argv[2]))
print(json.dumps({"labels": [r.label for r in results], "modules": sorted(sys.modules)}))
"""
DATA = """
from sqb_tf.data.task import DEMO, Task
from importlib.resources import files
from sqb_tf.checkpoint import bundle
assert bundle.read_info("squeezebert-micro").config.hidden_size == 384
assert sum(1 for _ in Task("classification", DEMO).split("dev")) > 100
assert {p.name for p in DEMO.iterdir()} >= {"README.md", "LICENSE.txt"}
for name in ("page.css", "page.js"):
    assert (files("sqb_tf.page") / name).read_text()
for package in ("sqb_tf", "sqb_tflite"):
    assert (files(package) / "py.typed").is_file()
"""
THEIRS = """
import tflite, sqb_tflite
assert tflite.Model.GetRootAs and tflite.BuiltinOperator.FULLY_CONNECTED == 9
assert not hasattr(tflite, "Runner") and sqb_tflite.Runner
"""


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment; what runs in it sees neither this checkout nor this environment."""

    folder: Path

    def run(self, program: str, *arguments: object) -> str:
        """The standard output of a program of the environment."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pip(self, *arguments: object) -> None:
        self.run("python", "-m", "pip", *arguments, "--quiet")

    def site_packages(self) -> Path:
        return Path(
            self.run("python", "-c", "import site; print(site.getsitepackages()[0])").strip()
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: a build leaves its files beside the sources."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=ignore)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        "dist",
        ".",
    ]
    subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True)
    (path,) = (copy / "dist").glob("*.whl")
    return path


def interpreter(version: str) -> str | None:
    """A Python of the version, where one is installed."""
    if version == RUNNING:
        return sys.executable
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for candidate in filter(None, candidates):
        ask = [candidate, "-c", "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(ask, capture_output=True, text=True).stdout.strip() == version:
            return candidate
    return None


@pytest.fixture(
    scope="module",
    params=[pytest.param(v, marks=[] if v == RUNNING else pytest.mark.slow) for v in VERSIONS],
)
def environment(request, wheel, tmp_path_factory) -> Environment:
    """A fresh environment of a Python with the base install."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} with ensurepip here")
    folder = tmp_path_factory.mktemp("fresh") / request.param
    subprocess.run([python, "-m", "venv", folder], check=True)
    fresh = Environment(folder)
    fresh.pip("install", wheel)
    return fresh


def test_the_wheel_has_every_file_of_the_product_and_no_other(wheel):
    expected = {
        f"{name}/{path.relative_to(REPOSITORY / folder)}"
        for folder, name in FOLDERS.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert names == expected
    assert not [name for name in names if "generate" in name]


def test_it_classifies_without_tensorflow(environment, package):
    answer = json.loads(environment.run("python", "-c", CLASSIFY, package, json.dumps(TEXTS)))
    import sqb_tflite

    assert answer["labels"] == [r.label for r in sqb_tflite.Runner(package).classify(TEXTS)]
    assert set(answer["labels"]) <= set(LABELS)
    heavy = {"tensorflow", "tensorflow_text", "keras", "matplotlib", "scipy", "sklearn"}
    assert not heavy & {name.partition(".")[0] for name in answer["modules"]}
    installed = json.loads(environment.run("python", "-m", "pip", "list", "--format=json"))
    assert not heavy & {d["name"].replace("-", "_") for d in installed}


def test_the_base_install_is_small(environment):
    folder = environment.site_packages()
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    assert 20 < size / 1e6 < MEGABYTES


def test_its_data_is_there(environment):
    environment.run("python", "-c", DATA)


def test_the_command_runs_what_the_base_install_can(environment, package):
    assert "predict" in environment.run("sqb", "--help")
    assert environment.run("sqb", "predict", "--package", package, *TEXTS[:2]).strip()
    assert "int8" in environment.run("sqb", "describe", "--package", package)


def test_what_an_extra_has_is_asked_for_by_name(environment, tmp_path):
    """Without TensorFlow a command that trains says what to install."""
    demo = environment.site_packages() / "sqb_tf" / "demo"
    done = subprocess.run(
        [environment.folder / "bin/sqb", "finetune", "--data", demo, "--output", tmp_path / "out"],
        cwd=environment.folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "squeezebert-mobile[train]" in done.stderr


def test_pypis_tflite_works_beside_it_whichever_came_first(environment, wheel, package):
    for first, second in (("tflite==2.18.0", wheel), (wheel, "tflite==2.18.0")):
        environment.pip("uninstall", "--yes", "tflite", "squeezebert-mobile")
        for requirement in (first, second):
            environment.pip("install", requirement)
        environment.run("python", "-c", THEIRS)
        environment.run("python", "-c", CLASSIFY, package, json.dumps(TEXTS))
    environment.pip("uninstall", "--yes", "tflite")  # takes nothing of ours along
    environment.run("python", "-c", CLASSIFY, package, json.dumps(TEXTS))


@pytest.mark.slow
def test_the_oldest_versions_that_the_bounds_allow_classify(wheel, package, tmp_path):
    """With the oldest Python, as newer ones have no wheels of them."""
    import tomllib

    python = interpreter(VERSIONS[0])
    if python is None:
        pytest.skip(f"no Python {VERSIONS[0]} here")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    subprocess.run([python, "-m", "venv", tmp_path / "oldest"], check=True)
    oldest = Environment(tmp_path / "oldest")
    oldest.pip("install", wheel, *(line.replace(">=", "==") for line in project["dependencies"]))
    answer = json.loads(oldest.run("python", "-c", CLASSIFY, package, json.dumps(TEXTS)))
    assert len(answer["labels"]) == len(TEXTS)
