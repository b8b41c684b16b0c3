"""How well defects are separated from normal samples, compared with plain computations."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from nextvit.metrics.defects import (
    STEPS,
    DefectScores,
    PixelScores,
    RankedScores,
    auroc_score,
    find_operating_point,
    score_image,
)


def scored(count: int = 300, *, ties: bool, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    defect = rng.random(count) < 0.3
    scores = np.clip(rng.normal(0.4 + 0.2 * defect, 0.15), 0, 1)
    return (scores.round(1) if ties else scores), defect


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_how_often_a_defect_scores_higher(ties: bool):
    scores, defect = scored(ties=ties)
    pairs = scores[defect][:, None] - scores[~defect]
    expected = 100 * np.mean((pairs > 0) + 0.5 * (pairs == 0))
    found = auroc_score(RankedScores.from_samples(scores, defect))
    assert found == pytest.approx(expected, abs=1e-10)
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    assert found == pytest.approx(100 * metrics.roc_auc_score(defect, scores), abs=1e-10)


def test_perfect_and_useless_scores():
    defect = np.array([True, True, False, False])
    assert auroc_score(RankedScores.from_samples(np.array([0.9, 0.8, 0.2, 0.1]), defect)) == 100
    assert auroc_score(RankedScores.from_samples(np.array([0.1, 0.2, 0.8, 0.9]), defect)) == 0
    assert auroc_score(RankedScores.from_samples(np.zeros(4), defect)) == 50
    for one in (np.zeros(4, bool), np.ones(4, bool)):
        assert (
            auroc_score(RankedScores.from_samples(np.arange(4.0), one))
            is None
            is find_operating_point(RankedScores.from_samples(np.arange(4.0), one), false_alarms=5)
        )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("allowed", [0.0, 1.0, 5.0, 20.0, 100.0])
def test_the_miss_rate_is_the_least_that_the_false_alarms_allow(allowed: float, ties: bool):
    scores, defect = scored(ties=ties)
    found = find_operating_point(RankedScores.from_samples(scores, defect), false_alarms=allowed)
    assert found is not None
    alarms = scores >= found.threshold
    assert found.false_alarm_rate == pytest.approx(100 * alarms[~defect].mean()) and found.false_alarm_rate <= allowed
    assert found.miss_rate == pytest.approx(100 * (~alarms[defect]).mean())
    # No other threshold with so few false alarms misses less.
    others = [scores >= threshold for threshold in np.unique(scores)]
    least = [100 * (~each[defect]).mean() for each in others if 100 * each[~defect].mean() <= allowed]
    assert found.miss_rate == pytest.approx(min(least, default=100.0))


def test_where_every_threshold_gives_too_many_false_alarms_all_are_missed():
    found = find_operating_point(
        RankedScores.from_samples(np.array([0.9, 0.9, 0.1]), np.array([True, False, False])), false_alarms=10
    )
    assert found is not None and (found.miss_rate, found.false_alarm_rate, found.threshold) == (100, 0, np.inf)


def test_pixels_are_counted_as_they_come_and_judged_as_if_all_were_kept():
    rng = np.random.default_rng(0)
    counted, kept, truth = PixelScores(), [], []
    for _ in range(5):
        true_HW = rng.choice([0, 1, 2, 255], (20, 30), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
        probability_HW = np.clip(rng.normal(0.3 + 0.3 * (true_HW > 0), 0.2), 0, 1)
        counted.add(probability_HW, true_HW)
        kept.append(probability_HW[true_HW != 255])
        truth.append(true_HW[true_HW != 255] != 0)
    scores, defect = np.concatenate(kept), np.concatenate(truth)
    exact, rounded = (
        RankedScores.from_samples(scores, defect),
        RankedScores.from_samples(np.rint(scores * STEPS) / STEPS, defect),
    )
    assert auroc_score(counted.to_ranked()) == pytest.approx(auroc_score(rounded), abs=1e-10)
    assert auroc_score(counted.to_ranked()) == pytest.approx(auroc_score(exact), abs=1e-3)
    of_counted, of_exact = (find_operating_point(each, false_alarms=5) for each in (counted.to_ranked(), exact))
    assert of_counted is not None and of_exact is not None
    assert of_counted.miss_rate == pytest.approx(of_exact.miss_rate, abs=0.5)
    assert (scores >= of_counted.threshold)[~defect].mean() <= 0.0501


def test_a_threshold_that_nothing_reaches_is_none_in_json():
    counted = DefectScores()
    counted.add(np.array([[1.0, 1.0, 0.1]]), np.array([[0, 1, 0]]))
    found = counted.to_record(false_alarms=10)
    assert found["pixel_miss"] == {"threshold": None, "miss_rate": 100.0, "false_alarm_rate": 0.0}
    assert found["image_auroc"] is None and found["image_miss"] is None  # there is but one image
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_has_no_label_is_neither_an_image_nor_a_pixel():
    counted = DefectScores()
    counted.add(np.array([[0.9, 0.2]]), np.array([[255, 255]]))
    assert counted.images == [] and counted.pixels.defects.sum() == counted.pixels.normal.sum() == 0
    counted.add(np.array([[0.9, 0.25]]), np.array([[255, 1]]))
    assert counted.images == [(0.25, True)]
    assert DefectScores().to_record(false_alarms=1)["pixel_auroc"] is None


def test_an_image_is_as_suspicious_as_its_most_suspicious_pixel():
    assert score_image(np.array([[0.1, 0.7], [0.2, 0.0]])) == 0.7
