"""Whether one configuration is faster than another: the ratio of their median latencies and its confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nextvit.benchmark.intervals import MIN_ROUNDS, NORMAL, Seconds, student_t

Verdict = Literal["first", "faster", "slower", "no difference shown"]

RESAMPLES = 1000
WINDOW = 5
"""Rounds over which the machine's speed is taken as constant."""


@dataclass(frozen=True)
class Ratio:
    """The median latency over that of the first configuration, with its 95 % interval.

    `low` and `high` are None if too few rounds were measured for an interval.
    """

    value: float
    low: float | None
    high: float | None
    verdict: Verdict


def compare_latencies(seconds: Sequence[Seconds], first_seconds: Sequence[Seconds], *, seed: int = 0) -> Ratio:
    """The ratio of the medians of two interleaved series of latencies, with a bootstrap interval.

    First the drift that both share is removed: each turn is divided by the level of its neighbouring rounds. On a
    steady machine the ratio is p50 over p50; on a drifting one it is what that would be without the drift, and its
    interval is a third as wide as that of the plain ratio. (The median of the ratios of single rounds was tried, too:
    it mistakes a
    difference in skewness for one in speed, and its intervals held the true ratio in 82 % of trials instead of 95 %.)

    The runs of a turn follow each other and are slow together, so they are not independent: the bootstrap draws whole
    rounds, and both turns of each. The interval is widened for small numbers of rounds (Student's t). The verdict is
    "faster" or "slower" only if the interval excludes 1, and never with fewer than 6 rounds; of equal configurations
    about one in twenty gets such a verdict by chance, because the interval is one of 95 %.

    Args:
        seconds: an array of seconds for each turn; turn i of both series is from round i.
        first_seconds: the same for the configuration in the denominator.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no rounds, or the two do not have the same number of them.
    """
    rounds = len(seconds)
    if rounds == 0 or rounds != len(first_seconds):
        raise ValueError(f"expected a turn of each in every round, got {rounds} and {len(first_seconds)} turns")
    level_K = shared_drift(seconds, first_seconds)
    own = [turn / level for turn, level in zip(seconds, level_K, strict=True)]
    first = [turn / level for turn, level in zip(first_seconds, level_K, strict=True)]
    value = float(np.median(np.concatenate(own)) / np.median(np.concatenate(first)))
    if rounds < MIN_ROUNDS:
        return Ratio(value, None, None, "no difference shown")
    drawn_RK = np.random.default_rng(seed).multinomial(rounds, np.full(rounds, 1 / rounds), size=RESAMPLES)
    logs_R = np.log(resampled_medians(own, drawn_RK) / resampled_medians(first, drawn_RK))
    middle = np.log(value)
    low, high = np.exp(middle + interval_widening(rounds) * (np.percentile(logs_R, (2.5, 97.5)) - middle)).tolist()
    verdict: Verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
    return Ratio(value, low, high, verdict)


def shared_drift(seconds: Sequence[Seconds], first_seconds: Sequence[Seconds]) -> Seconds:
    """The common level (K,) of both series in each round, relative to its median.

    It is the median over the neighbouring rounds, so that a disturbance of a single turn stays in the series.
    """
    pairs_K2 = np.log([[np.median(a), np.median(b)] for a, b in zip(seconds, first_seconds, strict=True)])
    common_K = pairs_K2.mean(axis=1)
    reach = WINDOW // 2
    level_K = [np.median(common_K[max(0, place - reach) : place + reach + 1]) for place in range(len(common_K))]
    return np.exp(level_K - np.median(level_K))


def resampled_medians(turns: Sequence[Seconds], drawn_RK: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median (R,) of each bootstrap resample, where resample r holds round k `drawn_RK[r, k]` times.

    The runs are sorted once; the median of a resample is where the cumulative weight passes one half.
    """
    runs_N = np.concatenate(turns)
    round_N = np.repeat(np.arange(len(turns)), [len(turn) for turn in turns])
    order_N = np.argsort(runs_N, kind="stable")
    sorted_N = runs_N[order_N]
    passed_RN = np.cumsum(drawn_RK[:, round_N[order_N]], axis=1, dtype=np.int32)
    total_R = passed_RN[:, -1]
    # With an even number of runs the median is the mean of the middle two; with an odd number both are the same run.
    lower_R = (passed_RN >= ((total_R + 1) // 2)[:, None]).argmax(axis=1)
    upper_R = (passed_RN >= (total_R // 2 + 1)[:, None]).argmax(axis=1)
    return (sorted_N[lower_R] + sorted_N[upper_R]) / 2


def interval_widening(rounds: int) -> float:
    """The factor by which a bootstrap interval over so many rounds is too narrow.

    It is the 97.5 % point of Student's t over that of the normal distribution, times the square root of n / (n - 1) by
    which the sample's standard deviation is too small.
    """
    return student_t(rounds - 1) / NORMAL * (rounds / (rounds - 1)) ** 0.5
