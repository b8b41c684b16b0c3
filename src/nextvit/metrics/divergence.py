"""How far predicted probabilities are from those of a teacher."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Logarithms of probabilities (N, classes), in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def kl_divergences(teachers: Floats, students: Floats) -> NDArray[np.float64]:
    """The Kullback-Leibler divergence of each student's probabilities from the teacher's, in nats: (N,).

    Args:
        teachers: logits (N, classes).
        students: logits (N, classes).
    """
    teacher, student = log_softmax(teachers), log_softmax(students)
    return (np.exp(teacher) * (teacher - student)).sum(axis=1)


def divergence_of_mean(teachers: Floats) -> float:
    """The mean divergence of a student that predicts the teacher's mean probabilities for every image: what can be had
    without a look at them."""
    probabilities = np.exp(log_softmax(teachers))
    mean = np.maximum(probabilities.mean(axis=0), np.finfo(np.float64).tiny)
    return float((probabilities * (log_softmax(teachers) - np.log(mean))).sum(axis=1).mean())
