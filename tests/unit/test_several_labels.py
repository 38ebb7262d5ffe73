"""Any number of labels for a text: the reader, the head's targets, thresholds and judgements, the metrics."""

import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, f1_score

from sqb_tf.data.example import Columns, Example
from sqb_tf.data.multi_label import MultiLabelFile, join_labels
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import metrics, registry
from sqb_tf.heads.head import Request
from sqb_tf.heads.multi_label import MultiLabel, best_threshold

LABELS = ["late", "broken", "thanks"]
HEAD = registry.get_task_head("multi_label")


def read(path, **columns) -> list[tuple[str, str | None]]:
    return [(e.text, e.label) for e in MultiLabelFile(path, Columns(**columns))]


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.tsv", "text\tlabel\none\tlate, broken\ntwo\t\nthree\tlate,late,\n", {}),
        ("a.csv", 'text,label\none,"late,broken"\ntwo,""\nthree,late\n', {}),
        ("a.csv", "text,tags\none,late|broken\ntwo,\nthree,late\n", {"label_separator": "|"}),
        (
            "a.jsonl",
            '{"text": "one", "label": ["late", "broken"]}\n{"text": "two", "label": []}\n'
            '{"text": "three", "label": "late"}\n',
            {},
        ),
    ],
    ids=["tsv", "csv", "separator", "jsonl"],
)
def test_labels_in_a_column(name, content, columns, tmp_path):
    (tmp_path / name).write_text(content)
    if "tags" in content:
        columns = {**columns, "label": "tags"}
    rows = [("one", "broken\tlate"), ("two", ""), ("three", "late")]
    assert read(tmp_path / name, **columns) == rows


def test_a_list_may_hold_the_separator(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "label": ["yes, late", " no", 1.0]}\n')
    assert read(tmp_path / "a.jsonl") == [("one", "1\tno\tyes, late")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "one", "label": [True]}, r"a.jsonl:1: 'label' is true: expected text or a f"),
        ({"text": "one", "label": ["a\u2028b"]}, r"a.jsonl:1: label 'a\\u2028b': expected text of"),
        ({"text": "one", "label": [" "]}, r"a.jsonl:1: label ' ': expected text"),
        ({"text": "one", "label": ["a\tb"]}, r"a.jsonl:1: label 'a\\tb': expected"),
        ({"text": "one"}, r"a.jsonl:1: no column 'label'"),
        ({"text": "one", "label": None}, r"a.jsonl:1: 'label' is null: expected text"),
        ({"text": "one", "label": {"a": 1}}, r"a.jsonl:1: 'label' is .*: expected text"),
        ({"text": "", "label": []}, r"a.jsonl:1: 'text' is empty"),
    ],
)
def test_rows_that_cannot_be_read(row, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.jsonl")


def test_every_label_of_one_file_is_in_train_and_in_dev(tmp_path):
    """The rarest has 5 rows: by their hashes alone, all of them would often be in train."""
    for seed in range(5):
        rows = [f"text {seed} {i},{'common' if i % 3 else ''}" for i in range(300)]
        rows += [f"text {seed} rare {i},common|rare" for i in range(5)]
        path = tmp_path / f"{seed}.csv"
        path.write_text("\n".join(["text,label", *rows]) + "\n")
        task = Task("multi_label", path, Columns(label_separator="|"), test=20)
        for which in ("train", "dev", "test"):
            labels = {e.label for e in task.split(which)}
            assert {"", "common", "common\trare"} <= labels, which


def test_targets_have_a_one_for_each_label():
    head = HEAD(LABELS)
    examples = [Example("a", label=join_labels(["thanks", "late"])), Example("b", label="")]
    targets = tf.constant([head.target(e) for e in examples])
    for rows, expected in ((targets, [[1, 0, 1], [0, 0, 0]]), (targets[1:], [[0, 0, 0]])):
        assert head.batch(None, {}, None, rows)[1].numpy().tolist() == expected
    np.testing.assert_array_equal(head.references(examples), [[True, False, True], [False] * 3])
    with pytest.raises(InputError, match="labels that the model does not have: lost"):
        head.references([Example("c", label="late\tlost")])


def decode(head, scores: list[float]) -> MultiLabel:
    return head.decode(
        ("text", None), [Request({})], [{"probabilities": np.array(scores, np.float32)}]
    )


def test_labels_are_given_by_their_thresholds():
    scores = [0.6, 0.4, 0.1]
    assert decode(HEAD(LABELS), scores).labels == ("late",)
    assert decode(HEAD(LABELS, settings={"thresholds": 0.05}), scores).labels == tuple(LABELS)
    own = HEAD(LABELS, settings={"thresholds": {"late": 0.7, "broken": 0.3}})
    result = decode(own, scores)
    assert result.labels == ("broken",)
    assert list(result.scores) == LABELS and result.scores["late"] == pytest.approx(0.6)
    assert result.line("some text", None) == "broken 0.4000\tsome text"
    assert decode(own, [0, 0, 0]).line("a", "b") == "(none)\ta\tb"
    np.testing.assert_array_equal(own.metric_inputs([result]), [[False, True, False]])


@pytest.mark.parametrize("thresholds", [2, "high", True, {"late": -1}, float("nan")])
def test_thresholds_are_scores(thresholds):
    with pytest.raises(InputError, match=r"thresholds .*: expected a score from 0 to 1"):
        HEAD(LABELS, settings={"thresholds": thresholds})


def test_the_threshold_of_the_best_f1_is_found():
    """Against all that could be chosen."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.choice(np.linspace(0, 1, 15), 60)
        targets = rng.random(60) < scores**2
        values = [f1_score(targets, scores >= t) for t in np.append(np.unique(scores), 1.1)]
        threshold = best_threshold(scores, targets)
        assert f1_score(targets, scores >= threshold) == pytest.approx(max(values))
        assert threshold not in scores
    assert best_threshold(np.array([0.9]), np.array([False])) == 0.5


def test_thresholds_are_those_of_the_metric():
    """One for all by micro F1; by macro F1 each label's own, which tells labels whose scores differ."""
    rng = np.random.default_rng(1)
    references = rng.random((400, 3)) < [0.5, 0.1, 0.0]
    # What belongs to a label has 0.6 to 0.9 of the first, 0.2 to 0.3 of the second.
    low, high = np.array([0.6, 0.2, 0.5]), np.array([0.9, 0.3, 0.6])
    scores = np.where(references, rng.uniform(low, high, (400, 3)), rng.uniform(0, low, (400, 3)))
    results = [MultiLabel((), dict(zip(LABELS, row.tolist(), strict=True))) for row in scores]
    own, shared = (HEAD(LABELS).fitted(results, references, m) for m in ("macro_f1", "micro_f1"))
    np.testing.assert_array_equal(own.metric_inputs(results)[:, :2], references[:, :2])
    by_label, one = own.settings["thresholds"], set(shared.settings["thresholds"].values())
    assert len(one) == 1 and {by_label["thanks"]} == one  # a label that dev does not have
    assert by_label["broken"] < 0.3 < by_label["late"]
    for metric, better, worse in (("micro_f1", shared, HEAD(LABELS)), ("macro_f1", own, shared)):
        values = [h.metrics[metric](h.metric_inputs(results), references) for h in (better, worse)]
        assert values[0] > values[1]


def test_metrics_are_scikit_learns():
    rng = np.random.default_rng(2)
    targets, outputs = rng.random((2, 200, 6)) < [[[0.3]], [[0.4]]]
    targets[:, 5] = False  # a label that does not occur counts in no mean
    outputs[:3] = targets[:3]
    micro = f1_score(targets, outputs, average="micro")
    macro = f1_score(targets[:, :5], outputs[:, :5], average="macro")
    assert metrics.micro_f1_of_labels(outputs, targets) == pytest.approx(micro)
    assert metrics.macro_f1_of_labels(outputs, targets) == pytest.approx(macro)
    assert metrics.subset_accuracy(outputs, targets) == accuracy_score(targets, outputs)
    nothing = np.zeros((2, 3), bool)
    assert metrics.micro_f1_of_labels(nothing, nothing) == 0
    assert metrics.macro_f1_of_labels(nothing, nothing) == 0


def test_each_label_is_judged_and_agreement_is_of_those_that_are_given():
    head = HEAD(LABELS)
    example = Example("text", label="late\tbroken")
    result = decode(head, [0.9, 0.2, 0.7])
    judged = [(j.gold, j.predicted, j.right, j.score) for j in head.judge(example, result)]
    assert [j[:3] for j in judged] == [
        ("late", "late", True),
        ("broken", "", False),
        ("", "thanks", False),
    ]
    assert [j[3] for j in judged] == pytest.approx([0.9, 0.8, 0.7])
    other = decode(head, [0.9, 0.8, 0.1])
    assert head.same_decisions(result, other) == [False, True, False]
    assert head.same_decisions(*[decode(head, [0, 0, 0])] * 2) == [True]
    assert json.loads(head.format_prediction(result, {"late": "verspätet"})) == [
        "verspätet",
        "thanks",
    ]
    references = head.references([example] * 3 + [Example("b", label="late")])
    assert head.baseline("micro_f1", references[-1:]) == ("always giving 'late'", 1)
    answer, value = head.baseline("micro_f1", references)
    assert answer == "always giving the 2 most frequent labels"
    assert value == pytest.approx(2 * 7 / (7 + 8))


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1"])
def test_equal_scores_for_every_text_are_no_better_than_the_baseline(metric):
    rng = np.random.default_rng(0)
    references = rng.random((200, 3)) < (0.5, 0.4, 0.02)
    scores = dict(zip(LABELS, (0.3, 0.2, 0.1), strict=True))
    results = [MultiLabel((), scores)] * 200
    fitted = HEAD(LABELS).fitted(results, references, metric)
    value = fitted.scores([metric], fitted.metric_inputs(results), references)[metric]
    assert 0 < value <= fitted.baseline(metric, references)[1]
