"""Top-k accuracy, the confusion matrix and the scores of each class that follow from it."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def top_k_score(logits: Floats, labels: Integers, *, k: int) -> float:
    """Top-k accuracy in percent: the fraction of rows (N, classes) whose label (N,) is among the k highest logits.

    Of equal logits the lower index ranks higher, so that a network that predicts the same for every image gets no
    credit for it. A label whose logit is NaN counts as wrong.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    index = np.arange(logits.shape[1])
    above = ~(logits <= own) | ((logits == own) & (index < labels[:, None]))
    return float(100 * np.mean(above.sum(axis=1) < k)) if len(labels) else 0.0


def confusion_matrix(predicted: Integers, labels: Integers, *, num_classes: int) -> Integers:
    """Counts (num_classes, num_classes): row is the true class, column the predicted one."""
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(confusion: Integers) -> list[float | None]:
    """Accuracy (recall) of each class in percent; None for a class without images."""
    return [
        float(100 * confusion[label, label] / total) if (total := confusion[label].sum()) else None
        for label in range(len(confusion))
    ]


def class_precisions(confusion: Integers) -> list[float | None]:
    """Precision of each class in percent; None for a class that is never predicted."""
    return class_scores(confusion.T)


def mean_class_score(confusion: Integers) -> float:
    """The mean accuracy in percent over the classes that have images: each class counts the same (macro average)."""
    return float(np.mean([score for score in class_scores(confusion) if score is not None]))


def most_confused_pairs(confusion: Integers, *, limit: int) -> list[tuple[int, int, int, float]]:
    """The most frequent mistakes, at most `limit`.

    Returns:
        For each pair: true class, predicted class, count, and the count in percent of the true class's images.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [(int(flat // len(wrong)), int(flat % len(wrong))) for flat in order]
    return [
        (label, guess, int(wrong[label, guess]), float(100 * wrong[label, guess] / confusion[label].sum()))
        for label, guess in pairs
        if wrong[label, guess]
    ]


def wilson_interval(score: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval, in percent, of an accuracy in percent measured on `count` images (Wilson, 1927)."""
    if not count:
        return 0.0, 100.0
    z, fraction = 1.959964, score / 100
    centre = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    # At 0 and 100 % the bound is exactly that score; the formula would be off by a rounding error.
    low, high = (0.0 if score <= 0 else centre - half), (1.0 if score >= 100 else centre + half)
    return 100 * low, 100 * high
