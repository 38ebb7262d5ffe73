"""sqb_tf.training.abstention and the setting `abstain_below`: thresholds by hand, and what they do."""

import numpy as np
import pytest

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.classification import Classification
from sqb_tf.heads.head import Request
from sqb_tf.training.abstention import (
    Abstention,
    fit_others,
    fit_precision,
    read_others,
    wanted_precision,
)

LABELS = ["a", "b"]


def results(scores: list[float]) -> list[Classification]:
    """`a` with these scores, of which half or more."""
    return [Classification.from_scores(LABELS, np.array([s, 1 - s])) for s in scores]


SCORES = [0.95, 0.9, 0.8, 0.7, 0.7, 0.6]
REFERENCES = np.array([0, 0, 1, 0, 0, 1])  # right, right, wrong, right, right, wrong


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (0.99, Abstention(0.9, 2 / 6, 1.0)),
        (0.8, Abstention(0.7, 5 / 6, 0.8)),  # equal scores are not parted
        (0.66, Abstention(0.0, 1.0, 4 / 6)),  # all of them
    ],
)
def test_the_lowest_threshold_of_a_wanted_precision(wanted, expected):
    fitted = fit_precision(results(SCORES), REFERENCES, wanted)
    assert (fitted.below, fitted.answered) == pytest.approx((expected.below, expected.answered))
    assert fitted.precision == pytest.approx(expected.precision)


def test_a_precision_that_no_threshold_has():
    assert fit_precision(results([0.9, 0.8]), np.array([1, 0]), 0.95) is None


def test_texts_of_no_class_are_told_from_others():
    others = results([0.75, 0.65, 0.55, 0.92])
    fitted = fit_others(results(SCORES), REFERENCES, others)
    # Below 0.8: 3 of 6 kept, 3 of 4 caught; below 0.7: 5 of 6 kept, 2 of 4 caught, which is more in all.
    assert fitted.below == pytest.approx(0.7)
    assert (fitted.answered, fitted.caught) == pytest.approx((5 / 6, 0.5))
    assert fitted.precision == pytest.approx(4 / 5)


def test_a_low_score_gives_no_label():
    head = registry.get_task_head("classification")(LABELS, settings={"abstain_below": 0.8})
    decoded = [
        head.decode(("text", None), [Request({})], [{"probabilities": np.array([s, 1 - s])}])
        for s in (0.8, 0.79, 0.1)
    ]
    assert [(r.label, r.best) for r in decoded] == [("a", "a"), (None, "a"), ("b", "b")]
    assert decoded[1].line("text", None) == "(none)\t0.7900\ttext"
    assert head.metric_inputs(decoded).tolist() == [0, -1, 1]
    (judgement,) = head.judge(Example("text", label="a"), decoded[1])
    assert (judgement.predicted, judgement.right) == ("", False)
    names = ("accuracy", "macro_f1", "f1", "matthews")
    scores = head.scores(names, head.metric_inputs(decoded), np.array([0, 0, 1]))
    assert scores["accuracy"] == pytest.approx(2 / 3) and scores["f1"] == 1


@pytest.mark.parametrize("below", [-0.1, 1.1, "0.5", True])
def test_a_bad_threshold_is_refused(below):
    with pytest.raises(InputError, match=r"abstain_below .*: expected a score from 0 to 1"):
        registry.get_task_head("classification")(LABELS, settings={"abstain_below": below})


def test_other_heads_have_no_such_setting():
    for head in ("regression", "multiple_choice", "token_classification"):
        with pytest.raises(InputError, match=r"abstain_below: a .* has no such setting"):
            registry.get_task_head(head)(["score"], settings={"abstain_below": 0.5})
    with pytest.raises(InputError, match="more: a classification has no such setting"):
        registry.get_task_head("classification")(LABELS, settings={"more": 1, "abstain_below": 0.5})


@pytest.mark.parametrize(("value", "share"), [("95%", 0.95), ("0.5", 0.5), ("oos.tsv", None)])
def test_a_share_or_a_file(value, share):
    assert wanted_precision(value) == share
    for bad in ("0", "100%", "-5%"):
        with pytest.raises(InputError, match=f"abstain {bad}: expected a share"):
            wanted_precision(bad)


def test_texts_of_no_class_are_read_from_tables_and_lines(tmp_path):
    table, lines, empty = (tmp_path / name for name in ("a.tsv", "a.txt", "b.csv"))
    table.write_text("text\tlabel\nhello\toos\n")
    lines.write_text("hello\n\nworld\n")
    empty.write_text("text\n")
    assert read_others(str(table), "text") == ["hello"]
    assert read_others(str(lines), "text") == ["hello", "world"]
    with pytest.raises(InputError, match=r"b\.csv: no text in it"):
        read_others(str(empty), "text")
