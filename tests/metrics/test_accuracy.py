"""Accuracy against scikit-learn's independent computation."""

import numpy as np
import pytest
from sklearn import metrics

from nextvit.metrics.accuracy import (
    class_precisions,
    class_scores,
    confusion_matrix,
    mean_class_score,
    most_confused_pairs,
    top_k_score,
    wilson_interval,
)

GENERATOR = np.random.default_rng(0)
LOGITS, LABELS = GENERATOR.normal(size=(500, 12)), GENERATOR.integers(0, 12, 500)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_equals_scikit_learns(k: int):
    expected = 100 * metrics.top_k_accuracy_score(LABELS, LOGITS, k=k)
    assert top_k_score(LOGITS, LABELS, k=k) == pytest.approx(expected, abs=1e-12)


def test_equal_values_give_no_credit_to_a_constant_prediction():
    assert top_k_score(np.zeros((4, 4)), np.arange(4), k=1) == 25.0


def test_values_that_are_no_numbers_are_wrong():
    assert top_k_score(np.full((4, 4), np.nan), np.arange(4), k=1) == 0.0


def test_confusion_equals_scikit_learns():
    predicted = LOGITS.argmax(axis=1)
    ours = confusion_matrix(predicted, LABELS, num_classes=12)
    assert np.array_equal(ours, metrics.confusion_matrix(LABELS, predicted, labels=range(12)))
    recalls = metrics.recall_score(LABELS, predicted, average=None)
    assert class_scores(ours) == pytest.approx((100 * recalls).tolist())


def test_macro_average_and_precisions_equal_scikit_learns():
    predicted = LOGITS.argmax(axis=1)
    ours = confusion_matrix(predicted, LABELS, num_classes=12)
    assert mean_class_score(ours) == pytest.approx(100 * metrics.balanced_accuracy_score(LABELS, predicted))
    precisions = metrics.precision_score(LABELS, predicted, average=None)
    assert class_precisions(ours) == pytest.approx((100 * precisions).tolist())


def test_a_class_without_images_does_not_lower_the_macro_average():
    assert mean_class_score(np.array([[3, 1], [0, 0]])) == 75.0


def test_confused_pairs_are_mistakes_alone_and_the_most_frequent_come_first():
    confusion = np.array([[9, 1, 0], [3, 0, 1], [0, 0, 5]])
    assert most_confused_pairs(confusion, limit=9) == [(1, 0, 3, 75.0), (0, 1, 1, 10.0), (1, 2, 1, 25.0)]
    assert most_confused_pairs(confusion, limit=1) == [(1, 0, 3, 75.0)]


def test_a_class_without_images_has_no_score():
    assert class_scores(np.array([[3, 1], [0, 0]])) == [75.0, None]


def test_wilson_interval_holds_known_values():
    # Agresti and Coull (1998), and the closed form at the ends.
    assert wilson_interval(90.0, 10) == pytest.approx((59.585, 98.212), abs=1e-2)
    low, high = wilson_interval(100.0, 181)
    assert (round(low, 1), high) == (97.9, 100.0)
    assert wilson_interval(0.0, 0) == (0.0, 100.0)
