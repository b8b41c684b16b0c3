"""Average precision: how well a class's images rank before all others when they are sorted by its score."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# N images, C classes, P positives, R resamples

Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]


def average_precision_scores(scores_NC: Floats, true_NC: Booleans) -> list[float | None]:
    """Average precision of each class in percent; None for a class without positives."""
    once = np.ones((len(scores_NC), 1), np.int32)
    columns = zip(scores_NC.T, true_NC.T, strict=True)
    return [100 * float(average_precision(*column, once)[0]) if column[1].any() else None for column in columns]


def mean_average_precision_scores(scores_NC: Floats, true_NC: Booleans, counts_NR: Counts) -> Floats:
    """The mean average precision in percent of each resample (R,), over the classes with positives.

    Args:
        counts_NR: how often each image occurs in each resample.

    Returns:
        (R,). Classes without positives in a resample are left out of its mean; NaN where no class has any.
    """
    columns = zip(scores_NC.T, true_NC.T, strict=True)
    precisions_CR = np.stack([average_precision(scores_N, true_N, counts_NR) for scores_N, true_N in columns])
    has_positives_CR = ~np.isnan(precisions_CR)
    with np.errstate(invalid="ignore"):
        return 100 * np.where(has_positives_CR, precisions_CR, 0).sum(axis=0) / has_positives_CR.sum(axis=0)


def average_precision(scores_N: Floats, true_N: Booleans, counts_NR: Counts) -> Floats:
    """Average precision of one class, 0 to 1, in each resample (R,); NaN where a resample has no positives.

    It is the area under the steps of the precision-recall curve: the mean, over the positives, of the precision among
    all images that score as high or higher. Sorting does not depend on the counts and is done once.

    Args:
        counts_NR: how often each image occurs in each resample.
    """
    order = np.argsort(-scores_N, kind="stable")
    descending = -scores_N[order]
    positive = np.flatnonzero(true_N[order])
    # A positive shares its rank with all images of the same score: that of the last of them.
    rank = np.searchsorted(descending, descending[positive], side="right") - 1
    weights_PR = counts_NR[order[positive]]
    true_PR = np.cumsum(weights_PR, axis=0, dtype=np.int32)[np.searchsorted(positive, rank, side="right") - 1]
    all_PR = np.cumsum(counts_NR[order], axis=0, dtype=np.int32)[rank]
    precision_PR = true_PR / np.maximum(all_PR, 1)
    total_R = weights_PR.sum(axis=0)
    return np.where(total_R > 0, (weights_PR * precision_PR).sum(axis=0) / np.maximum(total_R, 1), np.nan)
