"""Ratios with their intervals: held to the truth on simulated machines that drift, stumble and repeat themselves."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from nextvit.benchmark.ratio import Ratio, compare_latencies, interval_widening, resampled_medians

Turns = list[NDArray[np.float64]]
TRIALS = 300


def on_a_bad_machine(
    rng: np.random.Generator, *, rounds: int, ms: float, repeats: tuple[int, int]
) -> tuple[Turns, Turns]:
    """Two configurations in turns, of medians `ms` and 1, on a machine whose speed wanders by a third and has spells at
    1.6 times the time that outlast a turn; the runs of a turn share most of their error."""
    turns: tuple[Turns, Turns] = ([], [])
    wander, slow = 0.0, False
    for place in range(rounds):
        for mine, (median, count) in enumerate(zip((ms, 1.0), repeats, strict=True)):
            wander = 0.98 * wander + rng.normal(0, 0.02)
            slow = rng.random() < (0.6 if slow else 0.05)
            drift = 0.3 * np.sin(9 * (2 * place + mine) / (2 * rounds)) + wander + (0.47 if slow else 0.0)
            turns[mine].append(median * np.exp(drift + rng.normal(0, 0.02) + np.abs(rng.normal(0, 0.015, count))))
    return turns


def steady_but_skewed(rng: np.random.Generator, *, rounds: int) -> tuple[Turns, Turns]:
    """Two of the same median, 1, whose runs scatter differently: one has a long tail."""
    tail = [1 + 0.05 * (rng.exponential(1, 1) - np.log(2)) for _ in range(rounds)]
    return tail, [1 + rng.normal(0, 0.05, 1) for _ in range(rounds)]


def holds_1(ratio: Ratio) -> bool:
    assert ratio.low is not None and ratio.high is not None
    return ratio.low <= 1 <= ratio.high


@pytest.mark.parametrize("repeats", [(1, 1), (1, 4)])
def test_of_equal_medians_on_a_drifting_machine_the_interval_contains_1_in_95_percent(repeats: tuple[int, int]):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(TRIALS):
        ratio = compare_latencies(*on_a_bad_machine(rng, rounds=50, ms=1.0, repeats=repeats))
        held += holds_1(ratio)
        assert (ratio.verdict == "no difference shown") == holds_1(ratio)
    # 95 % less three standard errors; more than that may be held, but not always: the interval must say something.
    assert 0.912 * TRIALS <= held < TRIALS


def test_a_long_tail_is_not_taken_for_a_difference_of_medians():
    rng = np.random.default_rng(1)
    trials = [compare_latencies(*steady_but_skewed(rng, rounds=60)) for _ in range(TRIALS)]
    assert sum(map(holds_1, trials)) >= 0.9 * TRIALS


def test_few_rounds_do_not_make_bold():
    rng = np.random.default_rng(2)
    for rounds in (6, 9):
        held = 0
        for _ in range(TRIALS):
            own, first = ([rng.normal(1, 0.02, 3) + rng.normal(0, 0.03) for _ in range(rounds)] for _ in "ab")
            held += holds_1(compare_latencies(own, first))
        assert held >= 0.93 * TRIALS, rounds


def test_a_gain_of_5_percent_is_found_under_drift():
    rng = np.random.default_rng(3)
    trials = [compare_latencies(*on_a_bad_machine(rng, rounds=50, ms=0.95, repeats=(1, 4))) for _ in range(60)]
    assert sum(each.verdict == "faster" for each in trials) >= 57
    assert np.median([each.value for each in trials]) == pytest.approx(0.95, abs=0.005)


def test_a_loss_is_slower_and_the_interval_holds_it():
    rng = np.random.default_rng(4)
    ratio = compare_latencies(*on_a_bad_machine(rng, rounds=80, ms=1.3, repeats=(2, 2)))
    assert ratio.verdict == "slower"
    assert ratio.low and ratio.high and 1 < ratio.low < 1.3 < ratio.high


def test_runs_of_one_turn_are_not_independent_witnesses():
    """A thousand runs in six turns know no more than six turns: the interval does not depend on repeated runs."""
    rng = np.random.default_rng(5)
    levels = 1 + rng.normal(0, 0.05, (2, 6))
    few, many = (compare_latencies(*([np.full(count, level) for level in row] for row in levels)) for count in (1, 200))
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_without_drift_it_is_p50_over_p50():
    rng = np.random.default_rng(6)
    seconds, first = ([rng.normal(median, 1e-4 * median, 5) for _ in range(40)] for median in (0.3, 0.7))
    ratio = compare_latencies(seconds, first)
    assert ratio.value == pytest.approx(np.median(seconds) / np.median(first), rel=1e-4)


def test_the_same_times_give_the_same_prediction_and_1():
    turns = [np.array([0.1, 0.2]), np.array([0.3, 0.1]), np.array([0.15, 0.2])] * 2
    assert compare_latencies(turns, turns) == compare_latencies(turns, turns)
    assert (
        compare_latencies(turns, turns).value
        == compare_latencies(turns, turns).low
        == compare_latencies(turns, turns).high
        == 1.0
    )


def test_of_few_rounds_nothing_is_claimed():
    ratio = compare_latencies([np.array([0.1])] * 5, [np.array([1.0])] * 5)
    assert ratio == Ratio(pytest.approx(0.1), None, None, "no difference shown")
    assert compare_latencies([np.array([0.1])] * 6, [np.array([1.0])] * 6).verdict == "faster"


def test_turns_must_pair():
    with pytest.raises(ValueError, match="got 1 and 2 turns"):
        compare_latencies([np.ones(1)], [np.ones(1), np.ones(1)])
    with pytest.raises(ValueError, match="got 0 and 0 turns"):
        compare_latencies([], [])


def test_the_weighted_median_is_the_median_of_the_runs_written_out():
    rng = np.random.default_rng(7)
    turns = [rng.random(count) for count in (1, 4, 3, 2)]
    drawn_RK = rng.multinomial(4, [0.25] * 4, size=50)
    for drawn_K, median in zip(drawn_RK, resampled_medians(turns, drawn_RK), strict=True):
        written_out = np.concatenate([np.repeat(turn, times) for turn, times in zip(turns, drawn_K, strict=True)])
        assert median == pytest.approx(np.median(written_out))


def test_the_widening_is_students():
    student = {6: 2.5706, 11: 2.2281, 51: 2.0086}
    for rounds, point in student.items():
        assert interval_widening(rounds) == pytest.approx(point / 1.959964 * (rounds / (rounds - 1)) ** 0.5, rel=0.01)


def test_thirty_configurations_of_a_thousand_runs_take_seconds_at_most():
    rng = np.random.default_rng(8)
    turns = [[rng.random(10) for _ in range(100)] for _ in range(30)]
    started = time.process_time()
    for each in turns:
        compare_latencies(each, turns[0])
    assert time.process_time() - started < 10
