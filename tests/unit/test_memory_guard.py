"""sqb_tools.memory_guard: too little memory is said before TensorFlow is imported."""

import resource
import sys

import pytest
from fixtures.commands import error_line, run

from sqb_tf.errors import InputError
from sqb_tools import memory_guard


def test_too_little_address_space_is_one_line(data, tmp_path):
    limit = 2 << 30
    finished = run(
        "finetune",
        *("--data", data, "--preset", "squeezebert-tiny", "--vocab-size", "100"),
        *("--output", tmp_path / "model"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert error_line(finished) == (
        "TensorFlow needs 6.4 GB of address space, the limit is 2.1 GB: raise it: ulimit -v unlimited"
    )
    assert not (tmp_path / "model").exists()


def test_a_package_is_run_in_little_memory(package):
    limit = 1 << 30
    finished = run(
        "predict",
        *("--package", package, "a good film"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert finished.returncode == 0 and finished.stdout


@pytest.mark.parametrize(("content", "limit"), [("536870912\n", 1 << 29), ("max\n", None)])
def test_a_containers_memory_is_read(content, limit, tmp_path, monkeypatch):
    path = tmp_path / "memory.max"
    path.write_text(content)
    monkeypatch.setattr(memory_guard, "CGROUP_LIMITS", (tmp_path / "none", path))
    assert memory_guard.memory_limit() == limit
    guard = memory_guard.MemoryGuard()
    assert guard.find_spec("numpy", None) is None
    if limit is None:
        assert guard.find_spec("tensorflow", None) is None
    else:
        with pytest.raises(InputError, match=r"needs 1\.1 GB of memory, the limit is 0\.5 GB"):
            guard.find_spec("tensorflow", None)


def test_it_is_installed_once():
    before = [*sys.meta_path]
    try:
        memory_guard.install()
        memory_guard.install()
        assert sum(isinstance(f, memory_guard.MemoryGuard) for f in sys.meta_path) == 1
    finally:
        sys.meta_path[:] = before
