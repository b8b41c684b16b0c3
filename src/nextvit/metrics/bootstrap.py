"""How sure a score is, given how many images it was measured on: the bootstrap over images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MANY = 10_000


def resample_counts(count: int, *, seed: int = 0) -> NDArray[np.int32]:
    """How often each of `count` images stands in each of 1,000 draws of as many, with replacement: (count, resamples).

    Of more than 10,000 images there are 200 draws.
    """
    resamples = 1000 if count <= MANY else 200
    drawn_RN = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.ascontiguousarray(drawn_RN.T, np.int32)


def interval_95(values_R: Floats) -> tuple[float, float]:
    """The middle 95 % of the values of all resamples; those that are no numbers, for want of positives, are left out."""
    low, high = np.percentile(values_R[~np.isnan(values_R)], (2.5, 97.5))
    return float(low), float(high)
