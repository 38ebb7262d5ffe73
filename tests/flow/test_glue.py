"""The tasks of GLUE: their published files, scores and submissions."""

import json

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.models import VOCABULARY, randomize, tiny_config

from sqb_tf.checkpoint import bundle
from sqb_tf.data.example import Example
from sqb_tf.data.task import Task
from sqb_tf.data.task_specs import TASKS
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model.heads import SqueezeBertClassifier
from sqb_tf.survey.survey import survey

# Two lines of each task's train file as GLUE publishes it (header first where there is one), a line of its
# test file, and the examples in them.
LINES = {
    "cola": (
        ["gj04\t1\t\tA good film.", "gj04\t0\t*\tGood a film."],
        ["index\tsentence", "0\tIs it?"],
        [Example("A good film.", None, "acceptable"), Example("Good a film.", None, "unacceptable")],
        Example("Is it?"),
    ),
    "sst2": (
        ["sentence\tlabel", "good \t1", "bad \t0"],
        ["index\tsentence", "0\tfair"],
        [Example("good ", None, "positive"), Example("bad ", None, "negative")],
        Example("fair"),
    ),
    "mrpc": (
        ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '1\t7\t8\tA " b\tA b', "0\t7\t9\tA b\tC"],
        ["index\t#1 ID\t#2 ID\t#1 String\t#2 String", "0\t1\t2\tD\tE"],
        [Example('A " b', "A b", "equivalent"), Example("A b", "C", "not_equivalent")],
        Example("D", "E"),
    ),
    "qqp": (
        [
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
            "9\t1\t2\tHow?\tWhy?\t0",
            "8\t1\t2\tOh?\tO?\t1",
        ],
        ["id\tquestion1\tquestion2", "0\tWho?\tWhere?"],
        [Example("How?", "Why?", "not_duplicate"), Example("Oh?", "O?", "duplicate")],
        Example("Who?", "Where?"),
    ),
    "stsb": (
        [
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
            "0\tnews\tf\t2012\t1\tnone\tnone\tA plane.\tA plane!\t5.000",
            "1\tnews\tf\t2012\t1\tnone\tnone\tA plane.\tA dog.\t0.250",
        ],
        [
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
            "0\tnews\tf\t2012\t1\tnone\tnone\tA cat.\tCats.",
        ],
        [Example("A plane.", "A plane!", "5.000"), Example("A plane.", "A dog.", "0.250")],
        Example("A cat.", "Cats."),
    ),
    "mnli": (
        [
            "index\tpromptID\tpairID\tgenre\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
            "0\t1\t1n\tfiction\t( x )\t( y )\tIt was.\tIt is.\tneutral\tneutral",
            "1\t1\t1c\tfiction\t( x )\t( y )\tIt was.\tIt was not.\tneutral\tcontradiction",
        ],
        [
            "index\tpromptID\tpairID\tgenre\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2",
            "0\t1\t1n\tfiction\t( x )\t( y )\tOne.\tTwo.",
        ],
        [Example("It was.", "It is.", "neutral"), Example("It was.", "It was not.", "contradiction")],
        Example("One.", "Two."),
    ),
    "qnli": (
        ["index\tquestion\tsentence\tlabel", "0\tWho?\tShe.\tentailment", "1\tWho?\tIt is.\tnot_entailment"],
        ["index\tquestion\tsentence", "0\tWhy?\tSo."],
        [Example("Who?", "She.", "entailment"), Example("Who?", "It is.", "not_entailment")],
        Example("Why?", "So."),
    ),
    "rte": (
        ["index\tsentence1\tsentence2\tlabel", "0\tA b.\tA.\tentailment", "1\tA b.\tC.\tnot_entailment"],
        ["index\tsentence1\tsentence2", "0\tD.\tE."],
        [Example("A b.", "A.", "entailment"), Example("A b.", "C.", "not_entailment")],
        Example("D.", "E."),
    ),
    "wnli": (
        ["index\tsentence1\tsentence2\tlabel", "0\tA b.\tA.\t1", "1\tA b.\tC.\t0"],
        ["index\tsentence1\tsentence2", "0\tD.\tE."],
        [Example("A b.", "A.", "entailment"), Example("A b.", "C.", "not_entailment")],
        Example("D.", "E."),
    ),
}  # fmt: skip
every_task = pytest.mark.parametrize("name", LINES)


@pytest.fixture
def folder(tmp_path, request):
    """The published files of the task."""
    train, test, *_ = LINES[request.getfixturevalue("name")]
    files = TASKS[request.getfixturevalue("name")].files
    for split, lines in (("train", train), ("dev", train), ("test", test)):
        path = tmp_path / f"{files.get(split, split)}.tsv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_every_task_of_glue_is_here_and_has_metrics():
    own = {
        "classification",
        "multi_label",
        "regression",
        "multiple_choice",
        "similarity",
        "retrieval",
    }
    assert set(LINES) == set(TASKS) - own - {"conll", "squad", "squad2", "swag"}
    for spec in TASKS.values():
        assert set(spec.metrics) <= set(registry.get_task_head(spec.head).metrics)


@every_task
def test_published_files_are_read(name, folder):
    _, _, labelled, unlabelled = LINES[name]
    task = Task(name, folder)
    assert list(task.split("train")) == list(task.split("dev")) == labelled
    assert list(task.split("test")) == [unlabelled]
    data = survey(task)
    assert data.train.rows == 2
    if task.head == "classification":
        assert data.labels == list(TASKS[name].label_names.values())


@every_task
def test_submissions_have_the_files_own_labels(name, folder, tmp_path):
    model = saved_model(name, tmp_path / "bundle")
    flags = ["--model", tmp_path / "bundle", "--data", folder, "--task", name]
    result, out = tmp_path / "result.json", tmp_path / "out.tsv"
    assert call("evaluate", *flags, "--json", result) == 0
    evaluation = json.loads(result.read_text())
    assert list(evaluation["metrics"]) == list(TASKS[name].metrics)
    primary = TASKS[name].metrics[0]
    assert evaluation["metric"] == {"name": primary, "value": evaluation["metrics"][primary]}

    arguments = ["--split", "test", "--predictions", out, "--json", result]
    assert call("evaluate", *flags, *arguments) == 0
    evaluation = json.loads(result.read_text())
    written = {"examples": 1, "truncated": 0, "predictions": str(out)}
    assert evaluation == {"metric": None, "metrics": {}, **written}
    header, line = out.read_text().splitlines()
    assert header == "index\tprediction"
    index, prediction = line.split("\t")
    unlabelled = LINES[name][3]
    logits = model(
        model.preprocessor([unlabelled.text], [unlabelled.pair] * bool(unlabelled.pair) or None)
    )
    assert index == "0"
    if TASKS[name].head == "regression":
        assert float(prediction) == pytest.approx(float(logits[0, 0]), abs=1e-4)
    else:
        assert prediction == list(TASKS[name].label_names)[int(np.argmax(logits[0]))]


def saved_model(name: str, path):
    """A bundle of the task with random weights."""
    spec = TASKS[name]
    labels = ["score"] if spec.label_names is None else list(spec.label_names.values())
    model = SqueezeBertClassifier(tiny_config(), num_labels=len(labels))
    randomize(model)
    paired = spec.columns.pair is not None
    task = bundle.TaskInfo(name, spec.head, paired, 32, True, {}, "", "")
    bundle.write(path, bundle.BundleContents(model, VOCABULARY, labels, task))
    return bundle.load(path)


@pytest.mark.parametrize("name", ["rte"])
def test_a_split_without_labels_has_no_score(name, folder, tmp_path):
    saved_model(name, tmp_path / "bundle")
    flags = ["--model", tmp_path / "bundle", "--data", folder, "--task", name, "--split", "test"]
    with pytest.raises(
        InputError, match="split test of rte has no labels: name a file with --pred"
    ):
        call("evaluate", *flags)


@pytest.mark.parametrize("name", ["mnli"])
def test_mismatched_is_another_split(name, folder):
    lines = LINES[name][0]
    (folder / "dev_mismatched.tsv").write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert list(Task(name, folder).split("dev_mismatched")) == LINES[name][2][1:]
    with pytest.raises(InputError, match=r"no test_mismatched\.tsv"):
        Task(name, folder).split("test_mismatched")


@pytest.mark.parametrize("name", ["qqp"])
def test_broken_rows_of_qqp_are_passed_over(name, folder):
    path = folder / "train.tsv"
    lines = path.read_text().splitlines()
    lines[1:1] = ["7\t1\t2\tcut", "6\t1\t2\t\tWhy?\t0"]
    path.write_text("\n".join(lines) + "\n")
    assert list(Task(name, folder).split("train")) == LINES[name][2]


@pytest.mark.parametrize(
    ("name", "split", "labels"),
    [
        ("cola", "train", {"acceptable": 6023, "unacceptable": 2528}),
        ("cola", "dev", {"acceptable": 721, "unacceptable": 322}),
        ("mrpc", "train", {"equivalent": 2474, "not_equivalent": 1194}),
        ("mrpc", "dev", {"equivalent": 279, "not_equivalent": 129}),
        ("rte", "train", {"entailment": 1249, "not_entailment": 1241}),
        ("rte", "dev", {"entailment": 146, "not_entailment": 131}),
        ("qnli", "dev", {"entailment": 2702, "not_entailment": 2761}),
        ("sst2", "dev", {"positive": 444, "negative": 428}),
    ],
)
def test_real_files_have_their_published_labels(name, split, labels, shared_data):
    folder = {"cola": "CoLA", "sst2": "SST-2"}.get(name, name.upper())
    actual = [example.label for example in Task(name, shared_data / "glue" / folder).split(split)]
    assert {label: actual.count(label) for label in labels} == labels
    assert len(actual) == sum(labels.values())
