"""Scores of sets of labels (multi-label classification), where each class is predicted or not for each image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# N images, C classes

Booleans = NDArray[np.bool_]


def micro_f1_score(predicted_NC: Booleans, true_NC: Booleans) -> float:
    """F1 in percent over all labels of all images together (micro average); 100 where none exist and none are
    predicted."""
    correct, predicted, true = (predicted_NC & true_NC).sum(), predicted_NC.sum(), true_NC.sum()
    return float(200 * correct / (predicted + true)) if predicted + true else 100.0


def exact_match_score(predicted_NC: Booleans, true_NC: Booleans) -> float:
    """Percent of images whose whole set of labels is correct (subset accuracy)."""
    return float(100 * np.mean((predicted_NC == true_NC).all(axis=1)))


def precision_scores(predicted_NC: Booleans, true_NC: Booleans) -> list[float | None]:
    """Precision of each class in percent; None for a class that is never predicted."""
    return to_percentages((predicted_NC & true_NC).sum(axis=0), predicted_NC.sum(axis=0))


def recall_scores(predicted_NC: Booleans, true_NC: Booleans) -> list[float | None]:
    """Recall of each class in percent; None for a class without images."""
    return to_percentages((predicted_NC & true_NC).sum(axis=0), true_NC.sum(axis=0))


def to_percentages(parts: NDArray[np.integer[Any]], totals: NDArray[np.integer[Any]]) -> list[float | None]:
    """Each part in percent of its total; None where the total is 0."""
    return [float(100 * part / total) if total else None for part, total in zip(parts, totals, strict=True)]
