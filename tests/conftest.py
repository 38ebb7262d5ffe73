"""What every run of the tests sets up; the fixtures are in `fixtures/`."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before TensorFlow: the tests are for CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in the tools, whose values are compared

import signal
import sys

import pytest
from fixtures import cache
from fixtures.paths import REPOSITORY

pytest_plugins = [
    "fixtures.budgets",
    "fixtures.bundles",
    "fixtures.data",
    "fixtures.devices",
]

# What the benchmarks count is tested too, as benchmarks.NAME.
sys.path.append(str(REPOSITORY))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would the tools that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run removes old caches."""
    if not hasattr(config, "workerinput"):
        cache.remove_old()
