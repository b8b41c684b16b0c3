"""Confidence intervals of latencies that were measured in rounds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

NORMAL = 1.959964
"""The 97.5 % point of the normal distribution."""
MIN_ROUNDS = 6
"""Of five values, even the range from the least to the greatest holds the median in less than 95 % of cases."""


def percentile_interval(seconds: Sequence[Seconds], percentage: float) -> tuple[float, float | None] | None:
    """The 95 % interval of a percentile of the seconds of one run.

    It is Woodruff's (J. Am. Stat. Assoc. 47, 1952): the fraction of runs up to the estimate has a standard error; the
    percentiles at that fraction less and plus so many errors (Student's t) are the bounds. The runs of a turn follow
    each other and are slow together, so the error is that of a sample of whole rounds. A drift of the machine stays in
    the interval, because the time itself is asked for and not a ratio.

    (The bootstrap over rounds was tried, too. Of p50 it is as good; but no resample holds a run that is slower than the
    slowest one measured, so that of p99 its upper bound was below the truth in 8 to 21 % of trials with 120 to 2000
    runs, and this one's in 0 to 3 %.)

    Args:
        seconds: an array of seconds for each turn.
        percentage: 50 for the median.

    Returns:
        The bounds, the upper one None where it is beyond the slowest of so few runs; or None for fewer than 6 rounds.
    """
    rounds, fraction = len(seconds), percentage / 100
    if rounds < MIN_ROUNDS:
        return None
    runs = np.concatenate(seconds)
    estimate = np.percentile(runs, percentage)
    below_K = np.array([np.count_nonzero(turn <= estimate) - fraction * len(turn) for turn in seconds])
    among_rounds = math.sqrt(rounds / (rounds - 1) * float(((below_K - below_K.mean()) ** 2).sum())) / len(runs)
    error = max(among_rounds, math.sqrt(fraction * (1 - fraction) / len(runs)))
    reach = student_t(rounds - 1) * error
    high = fraction + reach
    is_bounded = (1 - high) * len(runs) >= 0.5
    low = float(np.percentile(runs, 100 * max(0.0, fraction - reach)))
    return low, float(np.percentile(runs, 100 * high)) if is_bounded else None


def runs_for_upper_bound(percentage: float, *, rounds: int = 20) -> int:
    """How many runs the upper bound of `percentile_interval` takes, if the runs of a turn are not alike."""
    tail = 1 - percentage / 100
    # The least n with n * tail - reach * sqrt(n * tail * (1 - tail)) = 0.5, a quadratic equation in sqrt(n)
    slope = student_t(rounds - 1) * math.sqrt(tail * (1 - tail))
    return math.ceil(((slope + math.sqrt(slope**2 + 2 * tail)) / (2 * tail)) ** 2)


def student_t(freedom: int) -> float:
    """The 97.5 % point of Student's t, from 5 degrees of freedom on with an error below 1 %."""
    z = NORMAL
    # The Cornish-Fisher series
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
