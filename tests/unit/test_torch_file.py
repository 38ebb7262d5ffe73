"""Weight files of torch.save, read without PyTorch; `make golden` writes tests/golden/weight_files."""

import os
import pickle

import numpy as np
import pytest
from fixtures.paths import GOLDEN

from sqb_tf.checkpoint import torch_file
from sqb_tf.errors import InputError

FILES = GOLDEN / "weight_files"


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin"])
def test_arrays_equal_pytorchs_to_the_bit(name):
    arrays, expected = torch_file.read(FILES / name), np.load(FILES / "expected.npz")
    assert set(arrays) == set(expected.files)
    for key, array in expected.items():
        dtype = "bfloat16" if key == "bfloat" else array.dtype
        assert arrays[key].dtype == dtype and arrays[key].shape == array.shape
        np.testing.assert_array_equal(arrays[key].astype(array.dtype), array, err_msg=key)


@pytest.mark.parametrize("name", ["code.bin", "code-legacy.bin"])
def test_code_is_named_and_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"{name}: calls \S+, .* not run"):
        torch_file.read(FILES / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin"])
def test_every_truncation_is_an_error(name, tmp_path):
    content = (FILES / name).read_bytes()
    path = tmp_path / "cut.bin"
    for length in [*range(0, len(content) - 1, 101), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.bin: damaged or not a PyTorch weight file"):
            torch_file.read(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1}), b"PK\x03\x04"])
def test_other_files_are_errors(content, tmp_path):
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.bin: "):
        torch_file.read(path)
    with pytest.raises(InputError, match=r"gone\.bin: cannot be read"):
        torch_file.read(tmp_path / "gone.bin")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (7,), (1,)), (5, (2,), (1,)), (0, (2, 3), (4, 1)), (0, (2,), (-1,))],
)
def test_tensors_stay_in_their_storage(offset, shape, strides):
    with pytest.raises(ValueError):
        torch_file._tensor(np.zeros(6, np.float32), offset, shape, strides)
