"""Confidence intervals of scores by the bootstrap over images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MANY_IMAGES = 10_000


def resample_counts(count: int, *, seed: int = 0) -> NDArray[np.int32]:
    """How often each of `count` images occurs in each bootstrap resample of as many, drawn with replacement.

    Returns:
        (count, resamples): 1,000 resamples; of more than 10,000 images 200.
    """
    resamples = 1000 if count <= MANY_IMAGES else 200
    counts_RN = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.ascontiguousarray(counts_RN.T, np.int32)


def interval_95(values_R: Floats) -> tuple[float, float]:
    """The middle 95 % of a score's values in all resamples; NaN, the score of a resample without positives, is left
    out."""
    low, high = np.percentile(values_R[~np.isnan(values_R)], (2.5, 97.5))
    return float(low), float(high)
