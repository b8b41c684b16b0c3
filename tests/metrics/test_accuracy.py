"""Accuracy against scikit-learn's independent computation."""

import numpy as np
import pytest
from sklearn import metrics

from nextvit.metrics.accuracy import class_scores, confusion_matrix, top_k_score, wilson_interval

GENERATOR = np.random.default_rng(0)
LOGITS, LABELS = GENERATOR.normal(size=(500, 12)), GENERATOR.integers(0, 12, 500)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_equals_scikit_learns(k: int):
    expected = 100 * metrics.top_k_accuracy_score(LABELS, LOGITS, k=k)
    assert top_k_score(LOGITS, LABELS, k=k) == pytest.approx(expected, abs=1e-12)


def test_equal_values_give_no_credit_to_a_constant_answer():
    assert top_k_score(np.zeros((4, 4)), np.arange(4), k=1) == 25.0


def test_values_that_are_no_numbers_are_wrong():
    assert top_k_score(np.full((4, 4), np.nan), np.arange(4), k=1) == 0.0


def test_confusion_equals_scikit_learns():
    predicted = LOGITS.argmax(axis=1)
    ours = confusion_matrix(predicted, LABELS, num_classes=12)
    assert np.array_equal(ours, metrics.confusion_matrix(LABELS, predicted, labels=range(12)))
    recalls = metrics.recall_score(LABELS, predicted, average=None)
    assert class_scores(ours) == pytest.approx((100 * recalls).tolist())


def test_a_class_without_images_has_no_score():
    assert class_scores(np.array([[3, 1], [0, 0]])) == [75.0, None]


def test_wilson_interval_holds_known_values():
    # Agresti and Coull (1998), and the closed form at the ends.
    assert wilson_interval(90.0, 10) == pytest.approx((59.585, 98.212), abs=1e-2)
    low, high = wilson_interval(100.0, 181)
    assert (round(low, 1), high) == (97.9, 100.0)
    assert wilson_interval(0.0, 0) == (0.0, 100.0)
