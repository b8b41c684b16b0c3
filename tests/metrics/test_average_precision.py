"""Average precision against scikit-learn's independent computation, with and without ties."""

import numpy as np
import pytest
from sklearn import metrics

from nextvit.metrics.average_precision import (
    average_precision,
    average_precision_scores,
    mean_average_precision_scores,
)
from nextvit.metrics.bootstrap import interval_95, resample_counts

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.normal(size=(300, 7))
TRUE = GENERATOR.random((300, 7)) < np.linspace(0.02, 0.9, 7)


def mean_average_precision_interval(scores: np.ndarray, true: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    return interval_95(mean_average_precision_scores(scores, true, resample_counts(len(true), seed=seed)))


@pytest.mark.parametrize("scores", [SCORES, SCORES.round(1), SCORES.round(0), np.zeros_like(SCORES)])
def test_each_class_equals_scikit_learns(scores: np.ndarray):
    expected = [100 * metrics.average_precision_score(TRUE[:, label], scores[:, label]) for label in range(7)]
    assert average_precision_scores(scores, TRUE) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("scores", [SCORES[:, 2], SCORES[:, 2].round(1)])
def test_an_image_that_stands_several_times_equals_its_weight_in_scikit_learn(scores: np.ndarray):
    counts = GENERATOR.integers(0, 4, (5, 300))
    expected = [metrics.average_precision_score(TRUE[:, 2], scores, sample_weight=each) for each in counts]
    assert average_precision(scores, TRUE[:, 2], counts.T) == pytest.approx(expected, abs=1e-13)


def test_a_constant_prediction_gets_the_share_of_positives_and_no_credit_for_their_order():
    true = np.array([[True], [False], [False], [False]])
    assert average_precision_scores(np.ones((4, 1)), true) == [25.0]
    assert average_precision_scores(np.ones((4, 1)), true[::-1]) == [25.0]


def test_a_class_without_positives_has_no_score():
    assert average_precision_scores(SCORES[:4, :2], np.array([[True, False]] * 4)) == [100.0, None]


def test_the_interval_is_that_of_resampled_images_scored_one_by_one():
    """The same draws, written out as lists of images, through scikit-learn."""
    scores, true = SCORES[:60].round(1), TRUE[:60]
    means = []
    for counts in np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=1000):
        drawn = np.repeat(np.arange(60), counts)
        there = np.flatnonzero(true[drawn].any(axis=0))
        means.append(
            100 * np.mean([metrics.average_precision_score(true[drawn, each], scores[drawn, each]) for each in there])
        )
    expected = np.percentile(means, (2.5, 97.5))
    assert mean_average_precision_interval(scores, true, seed=3) == pytest.approx(expected.tolist(), abs=1e-10)


def test_the_interval_holds_the_score_and_shrinks_with_more_images():
    few, many = (mean_average_precision_interval(SCORES[:count], TRUE[:count]) for count in (40, 300))
    scores = average_precision_scores(SCORES, TRUE)
    assert many[0] < np.mean([score for score in scores if score is not None]) < many[1]
    assert many[1] - many[0] < few[1] - few[0]
    assert many == mean_average_precision_interval(SCORES, TRUE)  # the same on every call


def test_resamples_without_any_positive_are_left_out():
    low, high = mean_average_precision_interval(np.arange(4.0)[:, None], np.array([[False], [False], [False], [True]]))
    assert (low, high) == (100.0, 100.0)
