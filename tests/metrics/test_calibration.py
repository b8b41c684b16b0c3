"""Calibration against a plain loop over answers and bins."""

import numpy as np
import pytest

from nextvit.metrics.calibration import bin_by_confidence

GENERATOR = np.random.default_rng(0)


def plain_ece(confidence: list[float], correct: list[bool], bins: int) -> float:
    """Guo et al. (2017), equation 3, bin by bin."""
    total = 0.0
    for m in range(1, bins + 1):
        members = [i for i, value in enumerate(confidence) if (m - 1) / bins < value <= m / bins]
        if members:
            accuracy = sum(correct[i] for i in members) / len(members)
            sureness = sum(confidence[i] for i in members) / len(members)
            total += len(members) / len(confidence) * abs(accuracy - sureness)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_equals_a_plain_loops(bins: int):
    confidence, correct = GENERATOR.uniform(0.1, 1.0, 400), GENERATOR.random(400) < 0.6
    expected = plain_ece(confidence.tolist(), correct.tolist(), bins)
    assert bin_by_confidence(confidence, correct, bins=bins).ece == pytest.approx(expected, abs=1e-12)


def test_a_classifier_that_is_sure_and_always_wrong_has_the_error_one():
    assert bin_by_confidence(np.ones(5), np.zeros(5, bool)).ece == 1.0
    assert bin_by_confidence(np.ones(5), np.ones(5, bool)).ece == 0.0


def test_bins_hold_their_upper_edge_and_every_prediction_counts_once():
    found = bin_by_confidence(np.array([0.0, 0.5, 0.51, 1.0]), np.array([True, False, True, True]), bins=2)
    assert found.counts.tolist() == [2, 2]
    assert found.confidence.tolist() == [0.25, 0.755]
    assert found.accuracy.tolist() == [0.5, 1.0]


def test_no_predictions_have_no_error():
    assert bin_by_confidence(np.empty(0), np.empty(0, bool)).ece == 0.0
