"""Fixtures that the tests share: a small vocabulary, tiny models on disk, the folder of real data."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before TensorFlow: the tests are for CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in the tools, whose numbers are compared

import functools
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures import models
from fixtures.commands import unchanged

from sqb_tf.config import SqueezeBertConfig

# What the benchmarks count is tested too. At the end: they have a test_devices.py as well.
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would the tools that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_lasting_determinism():
    """Fine-tuning makes TensorFlow deterministic for good, which XLA is not compiled under."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config  # nothing public turns it off

        config.disable_op_determinism()


@pytest.fixture(scope="session")
def vocabulary() -> list[str]:
    """BERT's special tokens, some words, and every letter as a word and as a piece of one."""
    return list(models.VOCABULARY)


@pytest.fixture(scope="session")
def tiny_config() -> SqueezeBertConfig:
    """Two layers of 32 channels with the paper's groups of 4."""
    return models.tiny_config()


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory) -> Path:
    """A bundle of a classifier of single texts into `models.LABELS`, random weights everywhere."""
    return models.save_bundle(tmp_path_factory.mktemp("bundles") / "single")


@pytest.fixture(scope="session")
def paired_bundle_dir(tmp_path_factory) -> Path:
    """As `bundle_dir`, of a classifier of pairs of texts."""
    return models.save_bundle(tmp_path_factory.mktemp("bundles") / "paired", paired=True)


@pytest.fixture(scope="session")
def regression_bundle_dir(tmp_path_factory) -> Path:
    """As `bundle_dir`, of a regression on single texts."""
    return models.save_bundle(tmp_path_factory.mktemp("bundles") / "score", kind="regression")


@pytest.fixture(scope="session")
def converted(bundle_dir) -> Callable[..., bytes]:
    """`converted(recipe, *seq_lengths)`: the package of `bundle_dir`, converted once a session.

    `directory` names another bundle, `lowering` is `convert`'s.
    """
    from sqb_tflite import convert

    @functools.cache
    def package(
        recipe: str, *seq_lengths: int, directory: Path = bundle_dir, lowering: str = "auto"
    ) -> bytes:
        return convert(directory, recipe, seq_lengths, lowering=lowering)

    return package


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `SQB_DATA`, or `../shared/data` beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SQB_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: name its folder with SQB_DATA")
    return folder


@pytest.fixture(scope="session")
def squad_dev(shared_data) -> list:
    """The examples of SQuAD's dev split."""
    from sqb_tf.data.task import Task

    return list(Task("squad", shared_data / "squad").split("dev"))


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A file of plain text, 60 documents."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(models.documents(60))
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder of good data, to be spoiled."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text(models.GOOD)
    return folder


@pytest.fixture
def spoiled(bundle_dir, tmp_path) -> Path:
    """A copy of a bundle, to be spoiled."""
    return Path(shutil.copytree(bundle_dir, tmp_path / "bundle"))


@pytest.fixture
def outputs(bundle_dir, converted, tmp_path) -> Iterator[Path]:
    """A folder with an earlier bundle `out` and package `out.tflite`; the test must not change it."""
    folder = tmp_path / "outputs"
    shutil.copytree(bundle_dir, folder / "out")
    (folder / "out.tflite").write_bytes(converted("int8"))
    (folder / "out.json").write_text("{}\n")
    with unchanged(folder):
        yield folder


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int, str], Path]]:
    """Mounts file systems of so many bytes (and with further options) for the test."""
    mounted: list[Path] = []

    def mount(size: int, options: str = "rw") -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},{options}", "tmpfs", folder],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)  # TensorBoard's file is still open
