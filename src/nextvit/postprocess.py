"""From the network's outputs to answers: the one definition, in numpy, for every runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.results import Classification, Guess

Floats = NDArray[np.floating[Any]]


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis, in float64: (..., classes) -> (..., classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def to_classifications(logits: Floats, *, classes: tuple[str, ...], top: int = 5) -> list[Classification]:
    """One answer for each row of (N, classes); equal probabilities keep the order of the classes."""
    answers: list[Classification] = []
    for row in softmax(logits):
        best: list[int] = np.argsort(-row, kind="stable")[:top].tolist()
        guesses = tuple(Guess(label=classes[index], probability=float(row[index])) for index in best)
        answers.append(Classification(top=guesses))
    return answers
