"""Outputs that cannot be written, and full disks: one clear line, the earlier output untouched."""

import errno
import os
import shutil
import tempfile

import pytest
from fixtures.commands import (
    call,
    fill,
    fingerprint,
    listing,
    rejects,
    unchanged,
)
from fixtures.tiers import tiered

from sqb_tf.atomic_write import check_room, staged_directory, staged_file
from sqb_tf.checkpoint import bundle
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError

CONVERT = "sqb_tflite.conversion.converter.convert_request"

# --- Where the output goes -----------------------------------------------------------------------


def test_bundle_does_not_replace_something_else(data, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with unchanged(tmp_path):
        match = r"cannot write .*mine: the folder holds something else than a bundle"
        rejects(match, "finetune", "--data", data, "--output", mine)
        match = r"cannot write .*thesis.txt: it is a file"
        rejects(match, "finetune", "--data", data, "--output", mine / "thesis.txt")
        match = r"cannot write .*out: a part of its path is a file"
        rejects(match, "finetune", "--data", data, "--output", mine / "thesis.txt" / "out")


def test_a_folder_does_not_replace_a_file(bundle_dir, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with unchanged(tmp_path):
        match = r"cannot write .*thesis.txt: it is a file: name a folder"
        rejects(match, "export_hf", "--model", bundle_dir, "--output", tmp_path / "thesis.txt")
        with pytest.raises(InputError, match=match), staged_directory(tmp_path / "thesis.txt"):
            raise AssertionError("the folder was begun")


def test_exported_weights_are_readable_as_the_other_files_are(bundle_dir, tmp_path):
    assert call("export_hf", "--model", bundle_dir, "--output", tmp_path / "hf") == 0
    assert len({path.stat().st_mode for path in (tmp_path / "hf").iterdir()}) == 1


@pytest.mark.parametrize("output", [".", ".."])
def test_bundle_needs_a_name(output, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with unchanged(tmp_path):
        match = r"cannot write .*: expected the name of a folder"
        rejects(match, "finetune", "--data", data, "--output", output)


@pytest.mark.parametrize(
    ("output", "match"),
    [
        ("file/x.tflite", r"cannot write .*x.tflite: a part of its path is a file"),
        ("folder.tflite", r"cannot write .*folder.tflite: it is a folder: expected a file"),
        ("x.json", r"cannot write .*x.json: expected a name ending in .tflite"),
    ],
)
def test_package_cannot_be_written(output, match, bundle_dir, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.tflite").mkdir()
    with unchanged(tmp_path):
        rejects(match, "convert", "--model", bundle_dir, "--output", tmp_path / output)


def test_read_only_disk(data, bundle_dir, small_disk):
    disk = small_disk(65536, "ro")
    match = r"cannot write .*: Read-only file system"
    rejects(match, "finetune", "--data", data, "--output", disk / "out")
    rejects(match, "convert", "--model", bundle_dir, "--output", disk / "out.tflite")


def test_folder_without_permission(data, bundle_dir, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("permissions do not stop root")
    match = r"cannot write .*: Permission denied"
    rejects(match, "finetune", "--data", data, "--output", locked / "out")
    rejects(match, "convert", "--model", bundle_dir, "--output", locked / "out.tflite")


# --- A full disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", tiered([0, 50_000, 100_000, 200_000], [100_000]))
def test_bundle_on_a_full_disk(leave, bundle_dir, small_disk):
    """Whichever file the disk fills up at: HDF5 would crash the process if it wrote there."""
    disk = small_disk(2_000_000)
    shutil.copytree(bundle_dir, disk / "out")
    model = bundle.load(bundle_dir)
    info = model.info
    fill(disk, leave)
    many = [Example("a film " * 100, None, "good")] * 1000
    with (
        unchanged(disk),
        pytest.raises(InputError, match=r"cannot write .*: No space left on device"),
    ):
        contents = bundle.BundleContents(model, info.vocabulary, info.labels, info.task, many, many)
        bundle.write(disk / "out", contents)


@pytest.mark.parametrize("leave", [0, 20_000])
def test_package_on_a_full_disk(leave, bundle_dir, converted, small_disk, monkeypatch):
    content = converted("int8")
    monkeypatch.setattr(CONVERT, lambda _: content)
    disk = small_disk(1_000_000)
    package = disk / "out.tflite"
    package.write_bytes(content[::-1])
    (disk / "out.json").write_text("{}")
    fill(disk, leave)
    with unchanged(disk):
        match = r"cannot write .*out.(tflite|json): No space left on device"
        rejects(match, "convert", "--model", bundle_dir, "--output", package, "--overwrite")


def test_conversion_without_temporary_space(bundle_dir, small_disk, monkeypatch, tmp_path):
    disk = small_disk(4096 * 12)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    match = r"cannot write .*: No space left on device"
    output = tmp_path / "x.tflite"
    rejects(match, "convert", "--model", bundle_dir, "--quantize", "fp16", "--output", output)
    assert not output.exists()


def test_run_state_on_a_full_disk(bundle_dir, data, small_disk):
    disk = small_disk(600_000)
    shutil.copytree(bundle_dir, disk / "out")
    before = fingerprint(disk / "out")
    fill(disk, 60_000)
    arguments = ["--data", data, "--init", bundle_dir, "--output", disk / "out", "--overwrite"]
    match = r"cannot write .*out.training.*: No space left on device"
    rejects(match, "finetune", *arguments, "--seq-length", 16, "--save-every", 1)
    assert fingerprint(disk / "out") == before
    assert listing(disk) == ["filler", "out", "out.training"]


# --- Atomic writes ------------------------------------------------------------------------------


def test_failure_leaves_an_earlier_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("earlier")
    with unchanged(tmp_path):
        with pytest.raises(KeyboardInterrupt), staged_file(path) as staged:
            staged.write_text("half")
            raise KeyboardInterrupt
        with pytest.raises(InputError, match=r"cannot write .*: No space"), staged_file(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_failure_leaves_an_earlier_folder(tmp_path, monkeypatch):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "file").write_text("earlier")
    with unchanged(tmp_path):
        with pytest.raises(KeyboardInterrupt), staged_directory(folder) as staged:
            (staged / "file").write_text("half")
            raise KeyboardInterrupt
        rename, calls = os.rename, []

        def second_fails(source, target):
            calls.append(source)
            if len(calls) == 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rename(source, target)

        monkeypatch.setattr(os, "rename", second_fails)
        match = "cannot write .*: Input/output error"
        with pytest.raises(InputError, match=match), staged_directory(folder) as staged:
            (staged / "file").write_text("new")


def test_output_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "current").symlink_to("v1")
    with staged_directory(tmp_path / "current") as staged:
        (staged / "file").write_text("new")
    assert (tmp_path / "v1" / "file").read_text() == "new"
    (tmp_path / "link.txt").symlink_to("v1/file")
    with staged_file(tmp_path / "link.txt") as staged:
        staged.write_text("newer")
    assert (tmp_path / "v1" / "file").read_text() == "newer"
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "current").is_symlink()


def test_room(tmp_path):
    check_room(tmp_path, 1)
    with pytest.raises(OSError, match="No space left on device"):
        check_room(tmp_path, 2**62)


def test_weight_file_takes_no_more_than_is_checked_for(bundle_dir, tmp_path):
    model = bundle.load(bundle_dir)
    bundle.save_weights(model, tmp_path / "x.weights.h5")
    assert (tmp_path / "x.weights.h5").stat().st_size <= bundle._stored_bytes(model)
