"""Mistakes in flags and data are reported before TensorFlow is imported, which takes seconds."""

import json

import pytest
from fixtures.commands import NAMES, listing, start_python
from fixtures.models import GOOD

# Runs every case in one process, in which an import of TensorFlow or Keras is an error.
DRIVER = """
import contextlib, importlib, importlib.abc, io, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras", "tensorflow_text"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
from sqb_tf.errors import InputError

def message(tool, arguments):
    errors = io.StringIO()
    try:
        module = importlib.import_module(f"sqb_tools.{tool}")
        with contextlib.redirect_stderr(errors):
            module.main(module.flags().parse_args(arguments))
    except InputError as error:
        return str(error)
    except OSError as error:  # sqb_tools.entry prints these so
        return f"{error.filename}: {error.strerror}"
    except SystemExit as error:
        assert error.code == 2, error.code
        return errors.getvalue()
    except AssertionError as error:
        return f"FAILED: {error}"
    return "FAILED: accepted"

cases = json.load(sys.stdin)
print(json.dumps([message(tool, arguments) for tool, arguments in cases]))
"""

FINETUNE = ["finetune", "--data", "data", "--output", "out"]
PRETRAIN = ["pretrain", "--output", "out"]
SQUEEZE = ["squeeze", "--teacher", "bundle", "--output", "out"]
# (command line, what its error says). In the folder of `folder`.
CASES = [
    ([*FINETUNE, "--epochz", "3"], "unrecognized arguments: --epochz; did you mean '--epochs'?"),
    ([*FINETUNE, "--epochs", "three"], "--epochs: 'three': expected a whole number"),
    ([*FINETUNE, "--epochs", "0"], "epochs 0: expected at least 1"),
    ([*FINETUNE, "--task", "sst-2"], "unknown task 'sst-2': expected one of"),
    ([*FINETUNE, "--task", "sst-2"], "; did you mean 'sst2'?"),
    ([*FINETUNE, "--preset", "squeezebert-bas"], "; did you mean 'squeezebert-base'?"),
    ([*FINETUNE, "--precision", "bfloat16"], "; did you mean 'mixed_bfloat16'?"),
    (
        [*FINETUNE, "--text-column", "txt"],
        "no column 'txt'; found: text, label; did you mean 'text'?",
    ),
    ([*FINETUNE, "--label-column", "labels"], "; did you mean 'label'?"),
    ([*FINETUNE, "--task", "similarity"], "name the column of the second one (--pair-column)"),
    (
        [*FINETUNE, "--task", "retrieval", "--pair-column", "label", "--label-column", "stars"],
        "task retrieval has no labels",
    ),
    ([*FINETUNE, "--seq-length", "513"], "seq_length 513: expected 5 to 512"),
    ([*FINETUNE, "--vocab", "gone.txt"], "gone.txt: cannot be read as a vocabulary"),
    ([*FINETUNE, "--save-every", "0"], "save_every 0: expected at least 1"),
    ([*FINETUNE, "--init", "gone"], "gone: no such folder; expected a bundle"),
    (
        [*FINETUNE, "--init", "bundle", "--preset", "squeezebert-tiny"],
        "preset and init: the model of init has its own: give one of the two",
    ),
    ([*FINETUNE[:1], "--data", "bad", "--output", "out"], "labels that bad/train.tsv lacks: fine"),
    ([*FINETUNE[:1], "--data", "alone", "--output", "out"], "alone: no dev.tsv"),
    ([*FINETUNE[:3], "--output", "data"], "cannot write data: the folder holds something else"),
    (["distill", *FINETUNE[1:]], "the following arguments are required: --teacher"),
    (["distill", *FINETUNE[1:], "--teacher", "gone"], "gone: no such folder"),
    (["distill", *FINETUNE[1:], "--teacher", "data"], "data: no teacher"),
    (
        ["distill", *FINETUNE[1:], "--teacher", "bundle", "--alpha", "2"],
        "alpha 2.0: expected 0 to 1",
    ),
    (["distill", *FINETUNE[1:], "--teacher", "bundle"], "bundle: a teacher for classification"),
    ([*PRETRAIN, "--text", "gone.txt"], "gone.txt: no such file or folder of text"),
    ([*PRETRAIN, "--shards", "data"], "data: not a folder of shards"),
    ([*PRETRAIN, "--text", "corpus.txt", "--vocab", "gone.txt"], "gone.txt: cannot be read"),
    ([*PRETRAIN, "--text", "corpus.txt", "--optimizer", "adam"], "; did you mean 'adamw'?"),
    ([*PRETRAIN, "--text", "corpus.txt", "--init", "gone"], "gone: no such folder"),
    ([*SQUEEZE, "--text", "gone.txt"], "gone.txt: no such file or folder of text"),
    ([*SQUEEZE, "--shards", "data"], "data: not a folder of shards"),
    (
        [*SQUEEZE, "--text", "corpus.txt", "--layers", "99"],
        "num_hidden_layers 99: expected at most",
    ),
    ([*SQUEEZE, "--text", "corpus.txt", "--groups", "3"], "q_groups=3 does not divide"),
    (["squeeze", "--teacher", "gone", "--text", "corpus.txt", "--output", "out"], "gone: no such"),
    (["convert", "--model", "bundle", "--quantize", "int-8"], "; did you mean 'int8'?"),
    (["convert", "--model", "gone"], "gone: no such folder"),
    (["convert", "--model", "squeezebert-micro", "--data", "gone"], "gone: cannot be read"),
    (["convert", "--model", "bundle", "--lowering", "groupfused"], "; did you mean 'group-fused'?"),
    (["convert", "--model", "bundle", "--calibration", "gone"], "gone: cannot be read"),
    (["convert", "--model", "bundle", "--data", "gone"], "gone: no such file or folder"),
    (["convert", "--model", "bundle", "--output", "x.tfl"], "expected a name ending in .tflite"),
    (["convert", "--model", "bundle", "--data", "data", "--split", "dve"], "did you mean 'dev'?"),
    (["survey", "--data", "gone"], "gone: no such file or folder"),
    (["survey", "--data", "data", "--init", "gone"], "gone: no such folder"),
    (["survey", "--data", "data", "--cased"], "--cased goes with --vocab"),
    (
        ["evaluate", "--model", "bundle", "--data", "data", "--others", "gone.txt"],
        "gone.txt: cannot be read",
    ),
    (["evaluate", "--model", "bundle", "--data", "data", "--against", "x"], "goes with --report"),
    (["evaluate", "--data", "data"], "give either --package FILE or --model DIR"),
    (["evaluate", "--model", "bundle", "--data", "data", "--split", "tets"], "data: no tets.tsv"),
    (["evaluate", "--model", "bundle", "--data", "data", "--text-column", "a"], "no column 'a'"),
    (["evaluate", "--model", "gone", "--data", "data"], "gone: no such folder"),
    (["evaluate", "--package", "gone.tflite", "--data", "data"], "gone.tflite: No such file"),
    (["compile", "--package", "gone", "--npu", "qualcomm:SM8750"], "gone: No such file"),
    (["compile", "--package", "p.tflite"], "arguments are required: --npu"),
    (["compile", "--package", "p.tflite", "--npu", "qualcom:SM8750"], "did you mean 'qualcomm'?"),
    (["compile", "--package", "p.tflite", "--npu", "qualcomm:SM875"], "did you mean 'SM8750'?"),
    (
        ["compile", "--package", "p", "--npu", "all", "--time-limit", "0"],
        "--time-limit 0.0: expected",
    ),
    (["verify", "--model", "bundle", "--package", "gone", "--npu"], "gone: No such file"),
    (["verify", "--model", "gone", "--package", "p.tflite"], "gone: no such folder"),
    (["verify", "--model", "bundle", "--package", "gone.tflite"], "gone.tflite: No such file"),
    (["verify", "--model", "bundle", "--package", "gone", "--data", "bad"], "gone: No such file"),
    (["predict", "--model", "gone", "text"], "gone: no such folder"),
    (["predict", "--package", "gone.tflite", "text"], "gone.tflite: No such file"),
    (["predict", "--package", "p.tflite", "--input", "gone.txt", "text"], "not both"),
    (
        ["predict", "--model", "bundle", "--words", "text"],
        "--words is for tagged words: the model is",
    ),
    (
        ["predict", "--model", "bundle", "--context", "a", "b"],
        "--context is for question answering",
    ),
    (["predict", "--model", "bundle", "--exact-tokens", "a"], "classification has no such setting"),
    (["predict", "--package", "p.tflite", "--output", "v.txt", "a"], "a name ending in .npy"),
    (["search", "--model", "bundle", "text"], "arguments are required: --corpus"),
    (["search", "--corpus", "corpus.txt", "text"], "give either --package FILE or --model DIR"),
    (["search", "--model", "bundle", "--corpus", "gone.txt", "text"], "gone.txt: cannot be read"),
    (["search", "--model", "gone", "--corpus", "corpus.txt", "text"], "gone: no such folder"),
    (["search", "--package", "gone", "--corpus", "corpus.txt", "text"], "gone: No such file"),
    (
        ["search", "--model", "bundle", "--corpus", "corpus.txt", "--index", "data"],
        "something else",
    ),
    (["describe", "--package", "gone.tflite"], "gone.tflite: No such file"),
    (["import_hf", "--source", "data", "--output", "out"], "data/config.json: no such file"),
    (["import_hf", "--source", "x", "--output", "out", "--head", "spam"], "did you mean 'span'?"),
    (["export_hf", "--model", "gone", "--output", "out"], "gone: no such folder"),
    (["export_hf", "--model", "bundle", "--output", "data"], "cannot write data"),
    (["share", "--model", "gone", "--output", "out"], "gone: no such folder"),
    (["share", "--model", "bundle", "--output", "data"], "cannot write data"),
    (["benchmark", "--package", "p.tflite", "--baselines", "bert"], "did you mean 'bert-base'?"),
    (["benchmark", "--package", "p.tflite", "--data", "gone"], "gone: no such file or folder"),
    (["benchmark", "--package", "p.tflite", "--threads", "0"], "--threads 0: expected whole"),
    (["benchmark", "--package", "gone.tflite"], "gone.tflite: No such file"),
    (["benchmark"], "--package is missing"),
    (["benchmark", "comprae", "a", "b"], "; did you mean 'compare'?"),
    (["benchmark", "compare", "gone", "gone"], "gone: cannot be read: No such file"),
    (["benchmark", "report", "gone", "--report", "out"], "gone: cannot be read: No such file"),
    (["benchmark", "ios", "--package", "gone.tflite"], "gone.tflite: No such file"),
]


@pytest.fixture(scope="module")
def messages(bundle_dir, tmp_path_factory) -> list[str]:
    """The error of every case."""
    folder = tmp_path_factory.mktemp("early")
    for name, train, dev in (("data", GOOD, GOOD), ("bad", GOOD, GOOD + "a film\tfine\n")):
        (folder / name).mkdir()
        (folder / name / "train.tsv").write_text(train)
        (folder / name / "dev.tsv").write_text(dev)
    (folder / "alone").mkdir()
    (folder / "alone" / "train.tsv").write_text(GOOD)
    (folder / "corpus.txt").write_text("a film\n\nthe plot\n")
    (folder / "bundle").symlink_to(bundle_dir)
    process = start_python("-c", DRIVER, cwd=folder, stdin=-1)
    cases = [(command[0], command[1:]) for command, _ in CASES]
    out, error = process.communicate(json.dumps(cases))
    assert process.returncode == 0, error
    assert listing(folder) == ["alone", "bad", "bundle", "corpus.txt", "data"]
    return json.loads(out)


def test_every_tool_is_tested():
    assert {command[0] for command, _ in CASES} == set(NAMES)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: " ".join(CASES[n][0])[:60])
def test_mistake_is_reported_before_tensorflow_is_imported(number, messages):
    expected, message = CASES[number][1], messages[number]
    assert expected in message and not message.startswith("FAILED")
    assert "\n" not in message.rstrip("\n")
