"""Bad data and flags: one clear line that names the culprit, nothing half-written, earlier output whole."""

import os

import pytest
from fixtures.commands import (
    error_line,
    listing,
    rejects,
    run,
)
from fixtures.models import GOOD, save_bundle

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task import Task

# --- The process: exit code 2 and one line -------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("finetune", ["--data", "gone", "--output", "out"], "gone: no such file or folder"),
        ("finetune", ["--data", "gone", "--output", "out", "--preset", "huge"], "preset 'huge'"),
        ("evaluate", ["--data", "gone"], "give either --package FILE or --model DIR"),
        ("convert", ["--quantize", "int2"], "unknown recipe 'int2': expected one of float32, fp16"),
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
    expected = "error: unrecognized arguments: --quantise; did you mean '--quantize'?\n"
    assert finished.stderr == expected


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
        ("train", GOOD + "a film\n", r"train.tsv:4: 'label' is missing: the row has 1 cell"),
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
        ("x.jsonl", "[1]\n", r"x.jsonl:1: expected a JSON object per line"),
        ("x.jsonl", '{"text": "a"}\n', r"x.jsonl:1: no column 'label'; found: text"),
        ("x.csv", "text,label\n", r"x.csv \(train\): no train examples"),
        ("x.csv", 'text\n"a"\n', r"x.csv:2: no column 'label'; found: text"),
        ("x.csv", 'text,label\na,b\n"a film,b\n', r"x.csv:3: not CSV: the quote that opens this"),
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
        (["--task", "mmlu"], r"unknown task 'mmlu': expected one of classification, multi_label"),
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
        (["--evaluate-every", 0], r"evaluate_every 0: expected at least 1"),
        (["--vocab-size", 31], r"vocab_size 31: expected at least 32"),
        (["--learning-rate", 0], r"learning_rate 0.0: expected a number above 0"),
        (["--learning-rate", "nan"], r"learning_rate nan: expected a number above 0"),
        (["--learning-rate", "inf"], r"learning_rate inf: expected a number above 0"),
        (["--weight-decay", -1], r"weight_decay -1.0: expected 0 or above"),
        (["--warmup", 1], r"warmup 1.0: expected 0 <= share < 1"),
        (["--dropout", 1], r"dropout 1.0: expected 0 <= rate < 1"),
        (
            ["--precision", "bf16"],
            r"unknown precision 'bf16': expected one of float32, mixed_bfloat16",
        ),
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


def test_pairs_for_a_model_of_single_texts(tmp_path):
    init = save_bundle(tmp_path / "init", type_vocab_size=1)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a\tb\tlabel\na good film\ta bad film\tyes\na bad end\ta film\tno\n" * 9)
    flags = ["--data", pairs, "--text-column", "a", "--pair-column", "b", "--seq-length", 16]
    rejects(
        r"init: type_vocab_size is 1, .* expected at least 2 for the pairs of .*pairs.tsv",
        *("finetune", *flags, "--init", init, "--output", tmp_path / "out"),
    )
    assert listing(tmp_path) == ["init", "pairs.tsv"]


def test_column_of_the_label_can_be_left_out(data):
    """No label column is no error where labels are not asked for."""
    (data / "dev.tsv").write_text("text\na film\n")
    (example,) = Task("classification", data, Columns(label=None)).split("dev")
    assert example == Example("a film")


def test_a_folder_that_transformers_did_not_save(tmp_path):
    match = r"config.json: no such file; expected a folder that `transformers` saved"
    rejects(match, "import_hf", "--source", tmp_path, "--output", tmp_path / "out")
