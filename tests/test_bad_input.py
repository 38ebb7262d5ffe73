"""Bad input: one clear line that names the culprit, nothing half-written, earlier output untouched."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import call, error_line, fingerprint, listing, run

import tflite
from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.files import check_room, check_writable, staged_directory, staged_file
from sqb_tf.tasks.delimited import Columns, Example
from sqb_tf.tasks.task import Task

GOOD = "text\tlabel\na good film\tgood\na bad film\tbad\n"


def rejects(match: str, tool: str, *arguments: object) -> None:
    """The tool's `main` raises an `InputError` of one line that matches."""
    with pytest.raises(InputError, match=match) as caught:
        call(tool, *arguments)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Nothing in `folder` is changed, added or removed, hidden files included."""
    before = fingerprint(folder), listing(folder)
    yield
    assert (fingerprint(folder), listing(folder)) == before


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder of good data, to be spoiled."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text(GOOD)
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


def fill(disk: Path, leave: int = 0) -> None:
    """Fills a small disk but for `leave` bytes."""
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(max(0, free - leave)))


# --- The process: exit code 2 and one line -------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("finetune", ["--data", "gone", "--output", "out"], "gone: no such file or folder"),
        ("finetune", ["--data", "gone", "--output", "out", "--preset", "huge"], "preset 'huge'"),
        ("evaluate", ["--data", "gone"], "give either --package FILE or --model DIR"),
        ("convert", ["--quantize", "int4"], "unknown recipe 'int4': expected one of float32, fp16"),
        ("convert", ["--model", "gone"], "gone: no such folder; expected a bundle"),
        ("verify", ["--model", "gone", "--package", "gone.tflite"], "gone: no such folder"),
        ("predict", ["--package", "gone.tflite", "text"], "gone.tflite: No such file"),
        ("predict", ["--model", "m", "--json", "file/x.json", "text"], "cannot write file/x.json"),
    ],
)
def test_process_ends_with_code_2_and_one_line(tool, arguments, message, tmp_path):
    (tmp_path / "file").write_text("")
    assert message in error_line(run(tool, *arguments, cwd=tmp_path))
    assert listing(tmp_path) == ["file"]


def test_usage_error_is_code_2():
    finished = run("convert", "--quantise", "int8")
    assert finished.returncode == 2
    assert "unrecognized arguments: --quantise" in finished.stderr


def test_full_standard_output_is_one_line(bundle_dir, converted, tmp_path):
    package = tmp_path / "p.tflite"
    package.write_bytes(converted("int8"))
    with open("/dev/full", "w") as full:
        finished = run("predict", "--package", package, "a film", stdout=full)
    assert "No space left on device" in error_line(finished)


def test_result_to_a_device_or_pipe_does_not_replace_it(tmp_path):
    """`--json /dev/null`, as root, must not make a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_writable(pipe)
    with staged_file(pipe) as staged:
        staged.write_text("{}")
    assert os.read(reader, 10) == b"{}"
    os.close(reader)
    assert pipe.is_fifo()
    assert listing(tmp_path) == ["pipe"]


# --- Data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "content", "match"),
    [
        (
            "train",
            "words\tlabel\na film\tgood\n",
            r"train.tsv:2: no column 'text'; found: words, l",
        ),
        (
            "train",
            "text\tclass\na film\tgood\n",
            r"train.tsv:2: no column 'label'; .*--label-column",
        ),
        ("train", GOOD + "a film\n", r"train.tsv:4: no column 'label'"),
        ("train", GOOD + "a\tfilm\tgood\n", r"train.tsv:4: 3 cells, but 2 columns"),
        ("train", GOOD + " \tgood\n", r"train.tsv:4: 'text' is empty"),
        ("train", GOOD + "a film\t\n", r"train.tsv:4: 'label' is empty"),
        (
            "train",
            "text\tlabel\na\tgood\nb\tgood\n",
            r"train.tsv: every example has the label 'good'",
        ),
        ("train", "text\tlabel\n", r"train.tsv: no train examples"),
        ("train", "", r"train.tsv: no train examples"),
        (
            "train",
            GOOD.encode() + b"caf\xe9\tgood\n",
            r"train.tsv:4: not UTF-8 \(byte 4 of the line",
        ),
        ("dev", GOOD + "a film\tfine\n", r"dev.tsv: labels that .*train.tsv lacks: fine"),
        ("dev", "text\tlabel\n", r"dev.tsv: no dev examples"),
        ("dev", GOOD.encode("utf-16"), r"dev.tsv:1: not UTF-8"),
    ],
)
def test_data_is_rejected_by_file_and_line(split, content, match, data, outputs):
    content = content if isinstance(content, bytes) else content.encode()
    (data / f"{split}.tsv").write_bytes(content)
    rejects(match, "finetune", "--data", data, "--output", outputs / "out")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.jsonl", '{"text": "a", "label": "b"}\n{"text":\n', r"x.jsonl:2: not JSON"),
        ("x.jsonl", "[1]\n", r"x.jsonl:1: expected a JSON object a line"),
        ("x.jsonl", '{"text": "a"}\n', r"x.jsonl:1: no column 'label'; found: text"),
        ("x.csv", "text,label\n", r"x.csv: no train examples"),
        ("x.csv", 'text\n"a"\n', r"x.csv:2: no column 'label'; found: text"),
        ("x.csv", f"text,label\n{'a' * 200_000},b\n", r"x.csv:2: not CSV: field larger"),
        ("x.txt", "a\n", r"x.txt: expected a file ending in .tsv, .csv, .jsonl"),
        ("x", "a\n", r"x: expected a folder, or a file ending in .tsv"),
    ],
)
def test_single_file_is_rejected(name, content, match, tmp_path, outputs):
    (tmp_path / name).write_text(content)
    rejects(match, "finetune", "--data", tmp_path / name, "--output", outputs / "out")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--task", "cola"], r"unknown task 'cola': expected one of classification, regression"),
        (["--task", "regression"], r"train.tsv: target 'good' is not a number"),
        (["--task", "sst2"], r"train.tsv:2: no column 'sentence'; found: text, label"),
        (["--text-column", "review"], r"train.tsv:2: no column 'review'"),
        (["--pair-column", "second"], r"train.tsv:2: no column 'second'"),
        (["--limit", 0], r"limit 0: expected at least 1"),
        (["--preset", "huge"], r"unknown preset 'huge': expected one of squeezebert-base"),
        (["--seq-length", 0], r"seq_length 0: expected 5 to 512"),
        (["--seq-length", 513], r"seq_length 513: expected 5 to 512 .*max_position_embeddings"),
        (["--epochs", 0], r"epochs 0: expected at least 1"),
        (["--batch-size", -1], r"batch_size -1: expected at least 1"),
        (["--vocab-size", 31], r"vocab_size 31: expected at least 32"),
        (["--learning-rate", 0], r"learning_rate 0.0: expected a number above 0"),
        (["--learning-rate", "nan"], r"learning_rate nan: expected a number above 0"),
        (["--learning-rate", "inf"], r"learning_rate inf: expected a number above 0"),
        (["--weight-decay", -1], r"weight_decay -1.0: expected 0 or above"),
        (["--warmup", 1], r"warmup 1.0: expected 0 <= share < 1"),
        (["--dropout", 1], r"dropout 1.0: expected 0 <= rate < 1"),
        (["--seed", -1], r"seed -1: expected 0 to"),
        (["--save-every", 0], r"save_every 0: expected at least 1"),
        (["--vocab", "gone.txt"], r"gone.txt: cannot be read as a vocabulary"),
        (["--init", "gone"], r"gone: no such folder; expected a bundle"),
    ],
)
def test_finetune_option_is_rejected(arguments, match, data, outputs):
    rejects(match, "finetune", "--data", data, "--output", outputs / "out", *arguments)


def test_published_label_is_rejected(data, outputs):
    (data / "train.tsv").write_text("sentence\tlabel\na film\t2\n")
    rejects(
        r"train.tsv: label '2': expected one of 0, 1",
        *("finetune", "--data", data, "--task", "sst2", "--output", outputs / "out"),
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda tokens: [t for t in tokens if t != "[CLS]"], r"vocab.txt: .*lacks \[CLS\]"),
        (lambda tokens: [*tokens, "film"], r"vocab.txt: .*twice"),
        (lambda tokens: [*tokens, "\udce9"], r"vocab.txt: cannot be read"),
    ],
)
def test_vocabulary_is_rejected(change, match, vocabulary, data, outputs, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(change(vocabulary)), encoding="utf-8", errors="surrogateescape")
    arguments = ["--data", data, "--vocab", path, "--output", outputs / "out"]
    rejects(match, "finetune", *arguments)


def test_seq_length_beyond_the_positions_of_init(data, bundle_dir, outputs):
    arguments = ["--data", data, "--init", bundle_dir, "--output", outputs / "out"]
    rejects(r"seq_length 65: expected 5 to 64", "finetune", *arguments, "--seq-length", 65)


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
        ("x.json", r"--output .*x.json: expected a name ending in .tflite"),
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


@pytest.mark.parametrize("leave", [0, 50_000, 100_000, 200_000])
def test_bundle_on_a_full_disk(leave, bundle_dir, small_disk):
    """At whatever file the room ends: HDF5 would crash the process, were it let write."""
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
        bundle.save(
            disk / "out", model, info.vocabulary, info.labels, info.task, many, many, metrics={}
        )


@pytest.mark.parametrize("leave", [0, 20_000])
def test_package_on_a_full_disk(leave, bundle_dir, converted, small_disk, monkeypatch):
    content = converted("int8")
    monkeypatch.setattr(tflite, "convert", lambda *_: content, raising=False)
    disk = small_disk(1_000_000)
    package = disk / "out.tflite"
    package.write_bytes(content[::-1])
    (disk / "out.json").write_text("{}")
    fill(disk, leave)
    with unchanged(disk):
        match = r"cannot write .*out.(tflite|json): No space left on device"
        rejects(match, "convert", "--model", bundle_dir, "--output", package)


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
    arguments = ["--data", data, "--init", bundle_dir, "--output", disk / "out"]
    match = r"cannot write .*out.training.*: No space left on device"
    rejects(match, "finetune", *arguments, "--seq-length", 16, "--save-every", 1)
    assert fingerprint(disk / "out") == before
    assert listing(disk) == ["filler", "out", "out.training"]


# --- Bundles -------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def lines_without(path: Path, line: str, instead: str | None = None) -> None:
    lines = path.read_text().split("\n")
    kept = [instead if one == line else one for one in lines]
    path.write_text("\n".join(one for one in kept if one is not None))


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


SPOILINGS = {
    "no config": (lambda b: (b / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda b: (b / bundle.WEIGHTS).unlink(), "model.weights.h5 is missing"),
    "no task": (lambda b: (b / "task.json").unlink(), "task.json is missing"),
    "no labels": (lambda b: (b / "labels.txt").unlink(), "labels.txt is missing"),
    "no vocabulary": (lambda b: (b / "vocab.txt").unlink(), "vocab.txt is missing"),
    "empty weights": (
        lambda b: truncate(b / bundle.WEIGHTS, 0),
        "h5: damaged or not a weight file",
    ),
    "cut weights": (
        lambda b: truncate(b / bundle.WEIGHTS, 0.5),
        "h5: damaged or not a weight file",
    ),
    "short weights": (lambda b: truncate(b / bundle.WEIGHTS, 0.99), "h5: damaged or not a weigh"),
    "text as weights": (
        lambda b: (b / bundle.WEIGHTS).write_text("w"),
        "h5: damaged or not a weigh",
    ),
    "wider config": (
        lambda b: edit(b / "config.json", lambda c: c.update(hidden_size=64)),
        "h5: .*weights of another config than config.json's",
    ),
    "deeper config": (
        lambda b: edit(b / "config.json", lambda c: c.update(num_hidden_layers=3)),
        "h5: .*weights of another config than config.json's",
    ),
    "shallower config": (
        lambda b: edit(b / "config.json", lambda c: c.update(num_hidden_layers=1)),
        "h5: .*weights of another config than config.json's",
    ),
    "more labels": (
        lambda b: (b / "labels.txt").write_text("a\nb\nc\nd\n"),
        "h5: .*weights of another config than config.json's",
    ),
    "config not JSON": (
        lambda b: (b / "config.json").write_text("{"),
        "config.json: cannot be read as a config",
    ),
    "config with an unknown key": (
        lambda b: edit(b / "config.json", lambda c: c.update(layers=2)),
        "config.json: unknown config keys: layers",
    ),
    "task not JSON": (
        lambda b: (b / "task.json").write_text("{"),
        "task.json: cannot be read as a task record",
    ),
    "task of another form": (
        lambda b: (b / "task.json").write_text("[]"),
        "task.json: cannot be read as a task record",
    ),
    "task of an unknown kind": (
        lambda b: edit(b / "task.json", lambda t: t.update(kind="ranking")),
        "task.json: .*kind 'ranking'",
    ),
    "labels not UTF-8": (
        lambda b: (b / "labels.txt").write_bytes(b"\xff\n"),
        "labels.txt: cannot be read",
    ),
    "vocabulary too short": (
        lambda b: lines_without(b / "vocab.txt", "film"),
        r"vocab.txt has \d+ tokens, config.json says vocab_size \d+",
    ),
    "vocabulary without [CLS]": (
        lambda b: lines_without(b / "vocab.txt", "[CLS]", "filler"),
        r"vocab.txt: the vocabulary lacks \[CLS\]",
    ),
}


@pytest.mark.parametrize("spoiling", SPOILINGS)
def test_spoiled_bundle(spoiling, spoiled):
    change, match = SPOILINGS[spoiling]
    change(spoiled)
    with unchanged(spoiled):
        rejects(match, "predict", "--model", spoiled, "a good film")


def test_bundle_without_its_samples(spoiled, outputs):
    (spoiled / "verification.jsonl").unlink()
    arguments = ["--model", spoiled, "--output", outputs / "out.tflite"]
    rejects(r"verification.jsonl: no such file", "convert", *arguments)


def test_spoiled_init_leaves_nothing(spoiled, data, outputs):
    truncate(spoiled / bundle.WEIGHTS, 0.5)
    arguments = ["--data", data, "--init", spoiled, "--output", outputs / "out"]
    rejects("h5: damaged or not a weight file", "finetune", *arguments, "--seq-length", 16)


# --- Conversion ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--quantize", "int4"], r"unknown recipe 'int4': expected one of float32, fp16, "),
        (["--lowering", "conv"], r"unknown lowering 'conv': expected one of auto, "),
        (["--seq-lengths", "0"], r"--seq-lengths 0: expected whole numbers above 0"),
        (["--seq-lengths", "long"], r"--seq-lengths long: expected whole numbers above 0"),
        (["--seq-lengths", "16,65"], r"seq_length 65: expected 5 to 64"),
        (["--seq-lengths", "4"], r"seq_length 4: expected 5 to 64"),
        (["--calibration", "empty.txt"], r"empty.txt: the calibration text is empty"),
        (["--calibration", "gone.txt"], r"gone.txt: cannot be read: No such file"),
        (["--calibration", "latin.txt"], r"latin.txt:2: not UTF-8"),
        (["--calibration", "."], r"\.: cannot be read: Is a directory"),
        (["--limit", "0"], r"--limit 0: expected at least 1"),
        (["--data", "gone.tsv"], r"gone.tsv: no such file"),
        (["--data", "other.tsv"], r"labels that the model does not have: fine; it has bad, fair"),
        (["--model", "gone"], r"gone: no such folder; expected a bundle"),
    ],
)
def test_conversion_is_rejected(arguments, match, bundle_dir, outputs, converted, monkeypatch):
    folder = outputs.parent / "here"
    folder.mkdir()
    (folder / "empty.txt").write_text("\n  \n\n")
    (folder / "latin.txt").write_bytes(b"a film\ncaf\xe9\n")
    rows = "".join(f"film {i}\tfine\n" for i in range(100))
    (folder / "other.tsv").write_text(f"text\tlabel\n{rows}")
    monkeypatch.chdir(folder)
    if "--data" in arguments:  # judged after the conversion, which is not what is tested
        content = converted("int8")
        monkeypatch.setattr(tflite, "convert", lambda *_: content, raising=False)
    with unchanged(folder):
        output = outputs / "out.tflite"
        rejects(match, "convert", "--model", bundle_dir, "--output", output, *arguments)


def test_calibration_of_pairs_needs_tabs(paired_bundle_dir, tmp_path):
    (tmp_path / "c.txt").write_text("a film\ta plot\na film\n")
    arguments = ["--model", paired_bundle_dir, "--calibration", tmp_path / "c.txt"]
    output = tmp_path / "x.tflite"
    rejects(
        r"c.txt:2: expected two texts parted by a tab", "convert", *arguments, "--output", output
    )
    assert listing(tmp_path) == ["c.txt"]


# --- Packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.8, 0.999])
def test_truncated_package(share, converted, tmp_path):
    content = converted("int8")
    path = tmp_path / "p.tflite"
    path.write_bytes(content[: int(len(content) * share)])
    rejects(r"p.tflite: ", "predict", "--package", path, "a film")


def test_other_files_as_package(bundle_dir, tmp_path):
    rejects(r"Is a directory; expected a packaged .tflite", "predict", "--package", tmp_path, "a")
    other = bundle_dir / "config.json"
    rejects(r"config.json: not a TFLite model", "predict", "--package", other, "a film")
    arguments = ["--model", bundle_dir, "--package", other]
    rejects(r"config.json: not a TFLite model", "verify", *arguments)


def test_package_of_another_model(regression_bundle_dir, converted, tmp_path):
    path = tmp_path / "p.tflite"
    path.write_bytes(converted("int8"))
    arguments = ["--model", regression_bundle_dir, "--package", path]
    rejects(r"labels .* are not the model's .*: it is not a conversion", "verify", *arguments)


def test_package_without_properties(bundle_dir, converted, vocabulary, tmp_path, monkeypatch):
    """Made by another packer: it opens, but nothing says how its text is prepared."""
    from tflite import package

    path = tmp_path / "p.tflite"
    path.write_bytes(converted("int8"))
    read = package.unpack
    monkeypatch.setattr(
        package, "unpack", lambda source: dataclasses.replace(read(source), properties={})
    )
    rejects(r"does not say how its text is prepared", "predict", "--package", path, "a film")
    rejects(r"does not name its recipe", "verify", "--model", bundle_dir, "--package", path)


# --- Prediction and evaluation -------------------------------------------------------------------


@pytest.fixture
def package(converted, tmp_path) -> Path:
    path = tmp_path / "p.tflite"
    path.write_bytes(converted("int8"))
    return path


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["a film", ""], r"argument:2: the text is empty"),
        (["a film", "--input", "x"], r"give texts as arguments or --input FILE, not both"),
        (["--input", "gone.txt"], r"gone.txt: cannot be read: No such file"),
        (["--input", "."], r"\.: cannot be read: Is a directory"),
        (["--batch-size", 0, "a"], r"--batch-size 0: expected at least 1"),
        (["--threads", 0, "a"], r"num_threads 0: expected at least 1"),
        (["--jsonl", "--json", "-", "a"], r"give --jsonl or --json -, not both"),
        (["--model", "m", "a"], r"give either --package FILE or --model DIR"),
    ],
)
def test_prediction_is_rejected(arguments, match, package):
    rejects(match, "predict", "--package", package, *arguments)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a film\n\na plot\n", r"{}:2: the text is empty"),
        (b"a film\ncaf\xe9\n", r"{}:2: not UTF-8 \(byte 4 of the line\)"),
    ],
)
def test_lines_to_predict_are_rejected(content, match, package, tmp_path, monkeypatch):
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    rejects(match.format("lines.txt"), "predict", "--package", package, "--input", path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    rejects(match.format("standard input"), "predict", "--package", package)


@pytest.mark.parametrize("text", ["a film", "a film\t", "\ta film"])
def test_pair_without_its_second_text(text, paired_bundle_dir):
    match = r"argument:1: expected two texts parted by a tab"
    rejects(match, "predict", "--model", paired_bundle_dir, text)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--data", "gone.tsv"], r"gone.tsv: no such file"),
        (
            ["--data", "x.tsv", "--split", "test"],
            r"x.tsv: split 'test' of one file: .*train or dev",
        ),
        (["--data", "x.tsv"], r"labels that the model does not have: fine; it has bad, fair, good"),
        (["--data", "x.tsv", "--pair-column", "text"], r"the model takes single texts"),
        (["--data", "x.tsv", "--limit", 0], r"limit 0: expected at least 1"),
        (["--data", "x.tsv", "--task", "cola"], r"unknown task 'cola'"),
        (["--data", "x.tsv", "--task", "regression"], r"--task regression is a regression, the "),
        (
            ["--data", "folder", "--split", "valid"],
            r"folder: no valid.tsv, valid.csv or valid.jsonl",
        ),
    ],
)
def test_evaluation_is_rejected(arguments, match, package, monkeypatch):
    monkeypatch.chdir(package.parent)
    (package.parent / "folder").mkdir()
    label = "good" if "--pair-column" in arguments else "fine"
    rows = "".join(f"film {i}\t{label}\n" for i in range(100))
    (package.parent / "x.tsv").write_text(f"text\tlabel\n{rows}")
    rejects(match, "evaluate", "--package", package, *arguments)


# --- The parts that keep outputs whole -----------------------------------------------------------


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


def test_column_of_the_label_can_be_left_out(data):
    """No label column is no error where labels are not asked for."""
    (data / "dev.tsv").write_text("text\na film\n")
    (example,) = Task("classification", data, Columns(label=None)).split("dev")
    assert example == Example("a film")
