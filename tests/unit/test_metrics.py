"""sqb_tf.heads.metrics, by hand."""

import numpy as np
import pytest

from sqb_tf.heads import metrics

# Answers 1 1 0 1 0 0 for targets 1 1 1 0 0 0: 2 true and 1 false positives, 1 false and 2 true negatives.
OUTPUTS = np.array([1, 1, 0, 1, 0, 0])
TARGETS = np.array([1, 1, 1, 0, 0, 0])
SCORES = np.array([1.0, 2.0, 3.0, 10.0])


def test_classification():
    assert metrics.accuracy(OUTPUTS, TARGETS) == pytest.approx(4 / 6)
    assert metrics.f1(OUTPUTS, TARGETS) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert metrics.matthews(OUTPUTS, TARGETS) == pytest.approx(
        (2 * 2 - 1 * 1) / (3 * 3 * 3 * 3) ** 0.5
    )


def test_macro_f1_counts_every_label_that_occurs_the_same():
    # F1 of label 0 and of label 1 are 2 * 2 / (3 + 3), of label 2, which no target has, nothing.
    assert metrics.macro_f1(OUTPUTS, TARGETS) == pytest.approx(2 / 3)
    assert metrics.macro_f1(np.array([1, 1, 2, 1, 0, 0]), TARGETS) == pytest.approx(
        (2 * 2 / (2 + 3) + 2 * 2 / (3 + 3)) / 2
    )


def test_f1_is_that_of_label_1():
    always_0, always_1 = np.zeros(6, int), np.ones(6, int)
    assert metrics.f1(always_0, TARGETS) == 0
    assert metrics.f1(always_1, TARGETS) == pytest.approx(2 * 3 / (2 * 3 + 3))
    assert metrics.matthews(always_0, TARGETS) == metrics.matthews(always_1, TARGETS) == 0


def test_regression():
    targets = np.array([1.0, 2.0, 3.0, 4.0])
    # Centred: (-3, -2, -1, 6) and (-1.5, -0.5, 0.5, 1.5).
    assert metrics.pearson(SCORES, targets) == pytest.approx((4.5 + 1 - 0.5 + 9) / (50 * 5) ** 0.5)
    assert metrics.spearman(SCORES, targets) == pytest.approx(1)
    assert metrics.spearman(SCORES, targets[[0, 2, 1, 3]]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    # Ties share their mean rank: (1.5, 1.5, 3, 4) against (1, 2, 3, 4).
    assert metrics.spearman(SCORES, np.array([5.0, 5, 6, 7])) == pytest.approx(
        4.5 / (5 * 4.5) ** 0.5
    )


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.filterwarnings("error")
def test_a_constant_correlates_with_nothing(name):
    assert getattr(metrics, name)(np.ones(4), np.arange(4.0)) == 0
    assert getattr(metrics, name)(SCORES, np.ones(4)) == 0
    assert getattr(metrics, name)(SCORES[:1], np.ones(1)) == 0
