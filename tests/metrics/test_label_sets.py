"""Sets of labels against scikit-learn's independent computation."""

import numpy as np
import pytest
from sklearn import metrics

from nextvit.metrics.label_sets import exact_match_score, micro_f1_score, precision_scores, recall_scores

GENERATOR = np.random.default_rng(0)
TRUE = GENERATOR.random((200, 5)) < 0.3
ANSWERED = TRUE ^ (GENERATOR.random((200, 5)) < 0.1)


def test_scores_equal_scikit_learns():
    assert micro_f1_score(ANSWERED, TRUE) == pytest.approx(100 * metrics.f1_score(TRUE, ANSWERED, average="micro"))
    assert exact_match_score(ANSWERED, TRUE) == pytest.approx(100 * metrics.accuracy_score(TRUE, ANSWERED))
    precisions = metrics.precision_score(TRUE, ANSWERED, average=None)
    assert precision_scores(ANSWERED, TRUE) == pytest.approx((100 * precisions).tolist())
    recalls = metrics.recall_score(TRUE, ANSWERED, average=None)
    assert recall_scores(ANSWERED, TRUE) == pytest.approx((100 * recalls).tolist())


def test_what_is_never_answered_or_never_there_has_no_share():
    nothing, all_of_them = np.zeros((3, 1), np.bool_), np.ones((3, 1), np.bool_)
    assert precision_scores(nothing, all_of_them) == [None]
    assert recall_scores(all_of_them, nothing) == [None]


def test_nothing_answered_where_nothing_is_there_is_right():
    nothing = np.zeros((3, 2), np.bool_)
    assert (micro_f1_score(nothing, nothing), exact_match_score(nothing, nothing)) == (100.0, 100.0)
