"""Average precision: how well a class's images come before all others when they are sorted by its score."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# N images, C classes, R resamples

Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]

RESAMPLES = 200


def average_precision_scores(scores_NC: Floats, true_NC: Booleans) -> list[float | None]:
    """Average precision of each class in percent; None for a class without positives."""
    once = np.ones((1, len(scores_NC)), np.int64)
    [precisions] = weighted_average_precisions(scores_NC, true_NC, once)
    return [None if np.isnan(value) else 100 * float(value) for value in precisions]


def mean_average_precision_interval(scores_NC: Floats, true_NC: Booleans, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval, in percent, of the mean over all classes with positives, by bootstrap over images.

    Each of `RESAMPLES` resamples draws as many images, with replacement; classes that it lacks are left out of its mean.
    """
    count = len(scores_NC)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    precisions = weighted_average_precisions(scores_NC, true_NC, drawn)
    means = np.nanmean(precisions[~np.isnan(precisions).all(axis=1)], axis=1)
    low, high = np.percentile(100 * means, (2.5, 97.5))
    return float(low), float(high)


def weighted_average_precisions(scores_NC: Floats, true_NC: Booleans, counts_RN: Counts) -> Floats:
    """Average precision, 0 to 1, of each class (R, C) where image n stands `counts_RN[r, n]` times; nan without positives.

    It is the area under the steps of the precision-recall curve: the mean, over the positives, of the precision among all
    images that score as high or higher. Sorting does not depend on the counts and is done once.
    """
    columns = [average_precision(scores, true, counts_RN) for scores, true in zip(scores_NC.T, true_NC.T, strict=True)]
    return np.stack(columns, axis=1)


def average_precision(scores_N: Floats, true_N: Booleans, counts_RN: Counts) -> Floats:
    """Average precision, 0 to 1, of one class (R,); nan without positives."""
    order = np.argsort(-scores_N, kind="stable")
    positive = np.flatnonzero(true_N[order])
    # A positive is met with all images of the same score: where the last of them stands.
    met_at = np.searchsorted(-scores_N[order], -scores_N[order][positive], side="right") - 1
    counts_RN = counts_RN[:, order]
    weights_RP = counts_RN[:, positive]
    true_RP = np.cumsum(weights_RP, axis=1)[:, np.searchsorted(positive, met_at, side="right") - 1]
    all_RP = np.cumsum(counts_RN, axis=1)[:, met_at]
    precision_RP = true_RP / np.maximum(all_RP, 1)
    total_R = weights_RP.sum(axis=1)
    return np.where(total_R > 0, (weights_RP * precision_RP).sum(axis=1) / np.maximum(total_R, 1), np.nan)
