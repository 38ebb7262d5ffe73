"""sqb_tflite.evaluation: what is counted of a model's decisions, by hand and beside scikit-learn."""

import csv
import json
import re

import numpy as np
import pytest
from fixtures.answers import Answering, classified
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from sqb_tf.data.example import Example
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.classification import Classification
from sqb_tf.heads.multiple_choice import Choice
from sqb_tf.heads.span import Answer, Answers
from sqb_tf.heads.token_classification import Tagging
from sqb_tflite.evaluation.assessment import Assessment
from sqb_tflite.evaluation.comparison import Comparison
from sqb_tflite.evaluation.evaluate import evaluate
from sqb_tflite.evaluation.ranked_rows import RankedRows

LABELS = ["a", "b", "c", "never"]


@pytest.fixture(scope="module")
def decisions():
    """(gold, predicted, score) of 500 texts."""
    rng = np.random.default_rng(0)
    gold = rng.choice(["a", "b", "c"], 500, p=[0.7, 0.25, 0.05])
    said = np.where(rng.random(500) < 0.7, gold, rng.choice(LABELS[:3], 500))
    return list(zip(gold.tolist(), said.tolist(), rng.uniform(0.3, 1, 500).tolist(), strict=True))


@pytest.fixture
def task(decisions, tmp_path):
    rows = [f"text {i}\t{gold}" for i, (gold, _, _) in enumerate(decisions)]
    (tmp_path / "dev.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return Task("classification", tmp_path)


@pytest.fixture
def backend(decisions):
    head = registry.get_task_head("classification")(LABELS)
    results = {f"text {i}": classified(LABELS, said, s) for i, (_, said, s) in enumerate(decisions)}
    return Answering(head, results)


def test_classes_are_scored_as_scikit_learn_does(backend, task, decisions, tmp_path):
    result = evaluate(backend, task, "dev", report=tmp_path / "report")
    gold, said, _ = zip(*decisions, strict=True)
    expected = precision_recall_fscore_support(gold, said, labels=["a", "b", "c"])
    actual = [
        [result["classes"][name][key] for name in ("a", "b", "c")]
        for key in ("precision", "recall", "f1", "gold")
    ]
    np.testing.assert_allclose(actual, expected)
    for average in ("macro", "micro"):
        values = precision_recall_fscore_support(gold, said, average=average)[:3]
        np.testing.assert_allclose(list(result[average].values()), values)
    assert result["macro"]["f1"] == pytest.approx(result["metrics"]["macro_f1"])
    with open(tmp_path / "report" / "confusion.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head[2:5] == [row[0] for row in rows[1:4]] == ["a", "b", "c"]
    matrix = [[int(cell) for cell in row[2:5]] for row in rows[1:4]]
    assert matrix == confusion_matrix(gold, said, labels=["a", "b", "c"]).tolist()


def test_every_wrong_decision_is_listed_the_surest_first(backend, task, decisions, tmp_path):
    result = evaluate(backend, task, "dev", report=tmp_path / "report")
    with open(tmp_path / "report" / "errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [(f"text {i}", g, p, s) for i, (g, p, s) in enumerate(decisions) if g != p]
    wrong.sort(key=lambda row: -row[3])
    assert [(r["text"], r["gold"], r["predicted"]) for r in rows] == [row[:3] for row in wrong]
    assert result["wrong"] == len(rows)
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text()) == result


def test_calibration_by_hand():
    head = registry.get_task_head("classification")(LABELS)
    assessment = Assessment(head)
    # Two bins: 0.9 sure and right three times in four, 0.5 sure and never right.
    for label, said, score in [("a", "a", 0.9)] * 3 + [("b", "a", 0.9), ("b", "a", 0.5)]:
        example = Example("text", label=label)
        assessment.add(example, head.judge(example, classified(LABELS, said, score)))
    calibration = assessment.confidence.to_json()
    assert calibration["expected_calibration_error"] == pytest.approx(0.8 * 0.15 + 0.2 * 0.5)
    assert [entry["count"] for entry in calibration["bins"]] == [1, 4]


def test_texts_of_no_class_and_what_thresholds_would_refuse(tmp_path):
    """By hand: 100 texts of a class with scores 0.01 to 1, four of none, two of them below 0.3."""
    rows = [f"text {i}\ta" for i in range(100)]
    (tmp_path / "dev.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    head = registry.get_task_head("classification")(LABELS, settings={"abstain_below": 0.3})
    scores = {f"text {i}": (i + 1) / 100 for i in range(100)}
    scores |= {"x": 0.02, "y": 0.055, "z": 0.5, "surest": 1.0}
    results = {
        text: Classification(
            "a" if score >= 0.3 else None, {"a": score, "b": 0.0, "c": 0.0, "never": 0.0}
        )
        for text, score in scores.items()
    }
    task, folder = Task("classification", tmp_path), tmp_path / "report"
    others = ["x", "y", "z", "surest"]
    result = evaluate(Answering(head, results), task, "dev", report=folder, others=others)
    assert (result["others"]["texts"], result["others"]["caught"]) == (4, 0.5)
    by_kept = {round(point["kept"], 2): point for point in result["others"]["curve"]}
    assert by_kept[0.99] == pytest.approx(
        {"kept": 0.99, "threshold": 0.02, "caught": 0.0, "precision": 0.0}
    )
    assert by_kept[0.95] == pytest.approx(
        {"kept": 0.95, "threshold": 0.06, "caught": 0.5, "precision": 2 / 7}
    )
    page = (folder / "report.html").read_text()
    assert "of 4 texts of no class 50.0% get no label" in page
    assert "What a threshold (--abstain-below) would refuse" in page
    several = Task("multi_label", tmp_path)
    head = registry.get_task_head("multi_label")(LABELS)
    with pytest.raises(InputError, match="--others is for classification, not for a multi_label"):
        evaluate(Answering(head, {}), several, "dev", others=["x"])


def test_entities_are_scored_as_the_metric_does():
    head = registry.get_task_head("token_classification")(["O", "B-X", "I-X", "B-Y"])
    rows = [
        ("a b c d", "B-X I-X O B-Y", "B-X I-X O B-X"),  # right; of another type
        ("a b c d", "B-X O B-Y O", "O O B-Y B-X"),  # missed; right; invented
        ("a b c d", "O O O O", "O B-X I-X O"),  # invented
    ]
    scores = [(0.9, 0.9, 0.9, 0.4), (0.8, 1.0, 1.0, 0.5), (1.0, 0.5, 0.9, 1.0)]
    assessment, results, examples = Assessment(head), [], []
    for (text, gold, said), sure in zip(rows, scores, strict=True):
        examples.append(Example(text, label=gold))
        results.append(Tagging(tuple(text.split()), tuple(said.split()), sure))
        assessment.add(examples[-1], head.judge(examples[-1], results[-1]))
    expected = head.scores(["entity_f1"], head.metric_inputs(results), head.references(examples))
    assert assessment.averages()["micro"]["f1"] == pytest.approx(expected["entity_f1"])
    assert sorted(assessment.confusions()) == [("", "X", 2), ("X", "", 1), ("Y", "X", 1)]
    # Part, gold, predicted, score: the surest first, by the mean over an entity's words.
    assert [row[2:] for row in assessment.errors.rows()] == [
        ["a", "X", "", "0.8000"],
        ["b c", "", "X", "0.7000"],
        ["d", "", "X", "0.5000"],
        ["d", "Y", "X", "0.4000"],
    ]
    assert assessment.confidence.to_json() is None


def test_answers_are_grouped_by_length():
    head = registry.get_task_head("span")()
    assessment = Assessment(head)
    for words, said in ((20, "lake"), (20, "hill"), (120, "lake"), (900, "lake")):
        example = Example("where?", "lake " + "word " * words, '[[0, "the lake"]]')
        assessment.add(example, head.judge(example, Answers((Answer(said, 0.5, 0, 4),))))
    assert assessment.to_json()["groups"] == {
        "up to 50 words": {"count": 2, "right": 0.5},
        "up to 150 words": {"count": 1, "right": 1.0},
        "more than 300 words": {"count": 1, "right": 1.0},
    }
    assert not assessment.classes()


def test_numbers_are_listed_by_their_distance():
    head = registry.get_task_head("regression")(["score"])
    assessment = Assessment(head)
    for gold, said in (("1.0", 1.5), ("2.0", 2.0), ("3.0", 1.0)):
        example = Example(f"text {gold}", label=gold)
        assessment.add(example, head.judge(example, Classification("score", {"score": said})))
    assert [row[3:] for row in assessment.errors.rows()] == [
        ["3.0", "1.0000", "2.0000"],
        ["1.0", "1.5000", "0.5000"],
    ]


def test_choices_are_shown_by_their_text():
    head = registry.get_task_head("multiple_choice")()
    example = Example("she", "runs\tswims", "0")
    (judgement,) = head.judge(example, Choice(1, (0.2, 0.8)))
    assert (judgement.gold, judgement.predicted, judgement.right) == ("runs", "swims", False)


def test_two_models_side_by_side(backend, task, decisions, tmp_path):
    """The other model is right on every third text and says `never` elsewhere."""
    others = {
        f"text {i}": classified(LABELS, gold if i % 3 == 0 else "never", 0.9)
        for i, (gold, _, _) in enumerate(decisions)
    }
    other = Answering(backend.head, others)
    counts = evaluate(backend, task, "dev", report=tmp_path, against=other)["comparison"]
    right = [gold == said for gold, said, _ in decisions]
    assert counts["both_right"] == sum(right[::3])
    assert counts["only_this_right"] == sum(right) - sum(right[::3])
    assert counts["only_other_right"] == len(right[::3]) - sum(right[::3])
    assert counts["changed"] == 500 - counts["both_right"]
    with open(tmp_path / "changes.csv", newline="") as file:
        who = [row["right"] for row in csv.DictReader(file)]
    assert len(who) == counts["changed"] and who[0] == "the other"
    alone = evaluate(other, task, "dev", report=tmp_path / "other")
    assert counts["other"]["metrics"] == alone["metrics"]
    assert counts["other"]["classes"] == alone["classes"]
    ours, theirs = sum(right) / 500, len(right[::3]) / 500
    page = (tmp_path / "report.html").read_text()
    row = re.search(r"<tr><td[^>]*>accuracy</td>.*?</tr>", page)
    cells = re.findall(r">([^<]*)</td>", row[0])
    assert cells == ["accuracy", f"{ours:.4f}", f"{theirs:.4f}", f"{ours - theirs:+.4f}"]
    differ = re.search(r"<caption>F1 of the classes that differ</caption>.*?</table>", page, re.S)
    differences = re.findall(r">([+-][\d.]+)</td>", differ[0])
    assert len(differences) == 3 and differences == sorted(
        differences, key=lambda cell: -abs(float(cell))
    )
    evaluate(backend, task, "dev", report=tmp_path / "same", against=backend)
    assert "classes that differ" not in (tmp_path / "same" / "report.html").read_text()
    evaluate(backend, task, "dev", report=tmp_path)
    assert not (tmp_path / "changes.csv").exists()  # it would be taken for this one's


def test_the_same_model_changes_nothing():
    head = registry.get_task_head("classification")(LABELS)
    comparison = Comparison(head)
    example = Example("text", label="a")
    judgements = list(head.judge(example, classified(LABELS, "b", 0.5)))
    comparison.add(example, judgements, judgements)
    assert comparison.to_json()["changed"] == 0 and comparison.to_json()["neither_right"] == 1


def test_rows_come_back_as_they_were(tmp_path):
    log = RankedRows(["text", "score"])
    rows = [["plain", "1"], ['a "quoted", text\nof two lines', "3"], ["", "2"], ["ünï", ""]]
    for row in rows:
        log.add(row, float(row[1]) if row[1] else None)
    assert list(log.rows()) == [rows[1], rows[2], rows[0], rows[3]]
    assert list(log.rows(1)) == [rows[1]]
    log.write(tmp_path / "errors.csv")
    with open(tmp_path / "errors.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["text", "score"], rows[1], rows[2], rows[0], rows[3]]


def test_a_long_text_and_half_a_character_are_kept(tmp_path):
    rows = RankedRows(["text"])
    for text in ("x" * 300_000, "half \ud800"):
        rows.add([text], 0.5)
    assert [len(text) for (text,) in rows.rows()] == [300_000, 6]
    rows.write(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").stat().st_size > 300_000


def test_entities_that_are_invented_alone_have_averages(tmp_path):
    head = registry.get_task_head("token_classification")(["O", "B-X"])
    (tmp_path / "dev.conll").write_text("a\tO\n")
    backend = Answering(head, {"a": Tagging(("a",), ("B-X",), (0.9,))})
    evaluate(backend, Task("conll", tmp_path), "dev", report=tmp_path / "report")
    text = (tmp_path / "report" / "evaluation.json").read_text()
    result = json.loads(text, parse_constant=pytest.fail)
    assert result["macro"] == {"precision": 0, "recall": 0, "f1": 0}


def test_another_models_labels_must_be_the_same(backend, task, tmp_path):
    other = Answering(registry.get_task_head("classification")(LABELS[:3]), backend.results)
    with pytest.raises(
        InputError, match=r"against: a classification of 3 labels: expected .* the 4"
    ):
        evaluate(backend, task, "dev", report=tmp_path / "report", against=other)
    with pytest.raises(InputError, match="against goes with report"):
        evaluate(backend, task, "dev", against=backend)


@pytest.mark.parametrize(
    ("head", "labels"), [("regression", ["score"]), ("classification", LABELS)]
)
def test_a_bad_label_is_named_before_it_is_judged(head, labels, tmp_path):
    (tmp_path / "dev.tsv").write_text("text\tlabel\na\tn/a\n")
    backend = Answering(
        registry.get_task_head(head)(labels), {"a": Classification("a", {"a": 1.0})}
    )
    with pytest.raises(InputError, match="n/a"):
        evaluate(backend, Task(head, tmp_path), "dev", report=tmp_path / "report")
