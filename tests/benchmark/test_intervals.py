"""Intervals of latencies: held to the truth on simulated machines, and to numpy's percentiles."""

import numpy as np
import pytest

from nextvit.benchmark.intervals import percentile_interval, runs_for_upper_bound, student_t

TRIALS = 200


@pytest.mark.parametrize("percentage", [50, 90, 99])
@pytest.mark.parametrize(("rounds", "repeats"), [(20, 25), (60, 5)])
def test_the_interval_holds_the_true_percentile_though_runs_of_a_turn_are_alike(
    percentage: int, rounds: int, repeats: int
):
    rng = np.random.default_rng(percentage)

    def measure(count: int) -> list[np.ndarray]:
        levels = np.exp(rng.normal(0, 0.03, (count, 1)))
        return list(levels * (1 + rng.exponential(0.05, (count, repeats))))

    truth = np.percentile(np.concatenate(measure(20_000)), percentage)
    intervals = [percentile_interval(measure(rounds), percentage) for _ in range(TRIALS)]
    bounds = [(low, high if high is not None else np.inf) for low, high in filter(None, intervals)]
    assert len(bounds) == TRIALS
    assert sum(low <= truth <= high for low, high in bounds) >= 0.91 * TRIALS
    assert sum(high < truth for _, high in bounds) <= 0.05 * TRIALS, "the end that a limit is compared with"
    assert any(truth < low or high < truth for low, high in bounds), "an interval that always holds says nothing"


def test_of_few_rounds_there_is_none():
    assert percentile_interval([np.array([0.1, 0.2])] * 5, 50) is None
    assert percentile_interval([np.array([0.1, 0.1])] * 6, 50) == (0.1, 0.1)


def test_few_runs_leave_a_high_percentile_without_an_upper_bound():
    rng = np.random.default_rng(1)
    few, many = ([rng.random(repeats) for _ in range(20)] for repeats in (5, 500))
    bounds = percentile_interval(few, 99)
    assert bounds is not None and bounds[1] is None
    bounds = percentile_interval(many, 99)
    assert bounds is not None and bounds[1] is not None and bounds[0] < 0.99 < bounds[1] < 1


def test_runs_of_one_turn_are_not_independent_witnesses():
    """A thousand runs in ten turns know no more than ten turns."""
    levels = np.linspace(1, 2, 10)
    once, often = (percentile_interval([np.full(count, level) for level in levels], 50) for count in (1, 100))
    assert once is not None and often is not None
    assert often[0] == pytest.approx(once[0], abs=0.12) and often[1] == pytest.approx(once[1], abs=0.12)


def test_students_t_is_that_of_the_tables():
    for freedom, point in {5: 2.5706, 10: 2.2281, 50: 2.0086}.items():
        assert student_t(freedom) == pytest.approx(point, rel=0.01)


@pytest.mark.parametrize("percentage", [90, 99])
def test_as_many_runs_as_are_said_have_an_upper_bound(percentage: int):
    needed, rng = runs_for_upper_bound(percentage), np.random.default_rng(0)

    def is_bounded(runs: int) -> bool:
        bounds = percentile_interval(np.array_split(rng.random(runs), 20), percentage)
        return bounds is not None and bounds[1] is not None

    assert sum(is_bounded(needed * 2) for _ in range(50)) >= 45
    assert sum(is_bounded(needed * 3 // 4) for _ in range(50)) == 0
