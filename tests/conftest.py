"""Fixtures that the tests share: a small vocabulary, tiny models on disk, the folder of real data."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before TensorFlow: the tests are for CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import helpers
import pytest

from sqb_tf.config import SqueezeBertConfig


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
    return list(helpers.VOCABULARY)


@pytest.fixture(scope="session")
def tiny_config() -> SqueezeBertConfig:
    """Two layers of 32 channels with the paper's groups of 4."""
    return helpers.tiny_config()


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory) -> Path:
    """A bundle of a classifier of single texts into `helpers.LABELS`, random weights everywhere."""
    return helpers.save_bundle(tmp_path_factory.mktemp("bundles") / "single")


@pytest.fixture(scope="session")
def paired_bundle_dir(tmp_path_factory) -> Path:
    """As `bundle_dir`, of a classifier of pairs of texts."""
    return helpers.save_bundle(tmp_path_factory.mktemp("bundles") / "paired", paired=True)


@pytest.fixture(scope="session")
def regression_bundle_dir(tmp_path_factory) -> Path:
    """As `bundle_dir`, of a regression on single texts."""
    return helpers.save_bundle(tmp_path_factory.mktemp("bundles") / "score", kind="regression")


@pytest.fixture(scope="session")
def converted(bundle_dir) -> Callable[..., bytes]:
    """`converted(recipe, *seq_lengths)`: the package of `bundle_dir`, converted once a session.

    `directory` names another bundle.
    """
    from tflite import convert

    @functools.cache
    def package(recipe: str, *seq_lengths: int, directory: Path = bundle_dir) -> bytes:
        return convert(directory, recipe, seq_lengths)

    return package


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `SQB_DATA`, or `../shared/data` beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SQB_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: name its folder with SQB_DATA")
    return folder
