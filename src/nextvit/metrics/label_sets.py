"""How good sets of labels are, each class of each image being answered or not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# N images, C classes

Booleans = NDArray[np.bool_]


def micro_f1_score(answered_NC: Booleans, true_NC: Booleans) -> float:
    """F1 in percent over all labels of all images alike; 100 where there are none and none are answered."""
    right, told, there = (answered_NC & true_NC).sum(), answered_NC.sum(), true_NC.sum()
    return float(200 * right / (told + there)) if told + there else 100.0


def exact_match_score(answered_NC: Booleans, true_NC: Booleans) -> float:
    """Share in percent of images whose whole set of labels is right."""
    return float(100 * np.mean((answered_NC == true_NC).all(axis=1)))


def precision_scores(answered_NC: Booleans, true_NC: Booleans) -> list[float | None]:
    """Share in percent of each class's answers that are right; None for a class that is never answered."""
    return shares((answered_NC & true_NC).sum(axis=0), answered_NC.sum(axis=0))


def recall_scores(answered_NC: Booleans, true_NC: Booleans) -> list[float | None]:
    """Share in percent of each class's images that are found; None for a class without images."""
    return shares((answered_NC & true_NC).sum(axis=0), true_NC.sum(axis=0))


def shares(parts: NDArray[np.integer[Any]], wholes: NDArray[np.integer[Any]]) -> list[float | None]:
    """Parts of wholes in percent; None of nothing."""
    return [float(100 * part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]
