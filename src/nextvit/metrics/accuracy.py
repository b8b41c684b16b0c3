"""Top-k accuracy and the confusion matrix."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def top_k_score(logits: Floats, labels: Integers, *, k: int) -> float:
    """Share in percent of rows (N, classes) whose label is among the k highest.

    Of equal values the lower index counts as higher, so that a network that answers the same everywhere gets no credit
    for it. Values that are no numbers count as wrong.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    index = np.arange(logits.shape[1])
    above = ~(logits <= own) | ((logits == own) & (index < labels[:, None]))
    return float(100 * np.mean(above.sum(axis=1) < k)) if len(labels) else 0.0


def confusion_matrix(predicted: Integers, labels: Integers, *, num_classes: int) -> Integers:
    """Counts (num_classes, num_classes): row is the true class, column the predicted one."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(confusion: Integers) -> list[float | None]:
    """Accuracy of each class in percent; None for a class without images."""
    return [
        float(100 * confusion[label, label] / total) if (total := confusion[label].sum()) else None
        for label in range(len(confusion))
    ]


def wilson_interval(score: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval, in percent, of a share in percent seen on `count` images (Wilson, 1927)."""
    if not count:
        return 0.0, 100.0
    z, share = 1.959964, score / 100
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # At the ends the formula is exact but for rounding.
    low, high = (0.0 if score <= 0 else centre - half), (1.0 if score >= 100 else centre + half)
    return 100 * low, 100 * high
