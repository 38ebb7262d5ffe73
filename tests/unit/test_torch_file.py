"""Weight files of torch.save, read without PyTorch; `make golden` writes tests/golden/weight_files."""

import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile

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


def archive(
    pickled: bytes, parts: dict[str, bytes] | None = None, method=zipfile.ZIP_STORED
) -> bytes:
    """A zip of `torch.save` around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in {"data.pkl": pickled, **(parts or {})}.items():
            file.writestr(f"x/{name}", content)
    return out.getvalue()


def number(value: int) -> bytes:
    """LONG1."""
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tensor(size: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A pickle of `{"w": tensor}` whose storage has `size` floats."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0" + b"X\3\0\0\0cpu"
    storage += number(size) + b"tQ"
    axes = [b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides)]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + b"".join(axes) + b"\x89}tR"
    return b"\x80\2}X\1\0\0\0w" + call + b"s."


FLOATS = {"data/0": bytes(24)}
# A tuple of two of the tuple before, 60 times: to hash or show it takes 2**60 steps.
TOWER = b"K\0" + b"2\x86" * 60
HOSTILE = {
    "a memo of 2**28 entries": archive(b"\x80\2]r\0\0\0\x10."),
    "a memo of 2**31 entries": archive(b"\x80\2]r\0\0\0\x80."),
    "2**62 bytes": archive(b"\x80\4\x8e" + struct.pack("<Q", 1 << 62) + b"."),
    "a text of 2**62 bytes": archive(b"\x80\4\x8d" + struct.pack("<Q", 1 << 62) + b"."),
    "a large shape": archive(tensor(6, (10**30,), (1,)), FLOATS),
    "a large shape of nothing": archive(tensor(6, (10**30, 0), (1, 1)), FLOATS),
    "a large shape of one value": archive(tensor(6, (10**9, 10**9), (0, 0)), FLOATS),
    "a large stride": archive(tensor(6, (2,), (10**30,)), FLOATS),
    "a large storage": archive(tensor(10**12, (6,), (1,)), FLOATS),
    "too many axes": archive(tensor(6, (1,) * 70, (1,) * 70), FLOATS),
    "a compressed storage": archive(
        tensor(10**7, (6,), (1,)), {"data/0": bytes(4 * 10**7)}, zipfile.ZIP_DEFLATED
    ),
    "a compressed pickle": archive(b"\x80\2" + b"}0" * 10**7 + b"}.", {}, zipfile.ZIP_BZIP2),
    "a tower as a name": archive(b"\x80\2}(" + TOWER + b"K\0u."),
    "a tower as a storage": archive(b"\x80\2" + TOWER + b"Q."),
    "a tower as a storage's type": archive(b"\x80\2(K\0" + TOWER + b"K\0K\0K\1tQ."),
    "no mark": archive(b"\x80\2t."),
    "no end": archive(b"\x80\2}"),
}
HOSTILE["an encrypted part"] = HOSTILE["no end"].replace(
    b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"
)
HOSTILE["another version"] = HOSTILE["no end"].replace(b"PK\1\2\x14\3\x14\0", b"PK\1\2\x14\3\x63\0")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little(name, tmp_path):
    path = tmp_path / "hostile.bin"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"hostile\.bin: ") as refused:
        torch_file.read(path)
    assert time.perf_counter() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_what_the_hostile_files_are_made_of_is_read(tmp_path):
    path = tmp_path / "good.bin"
    path.write_bytes(
        archive(tensor(6, (3, 1, 2), (2, 10**9, 1)), {"data/0": np.arange(6, dtype="f4").tobytes()})
    )
    np.testing.assert_array_equal(torch_file.read(path)["w"], np.arange(6.0).reshape(3, 1, 2))
