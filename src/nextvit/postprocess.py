"""From the network's outputs to answers: the one definition, in numpy, for every runtime."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.card import ModelCard, TaskName
from nextvit.results import Answer, Classification, Guess, MultiLabel

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis, in float64: (..., classes) -> (..., classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """The probability of each value alone, in float64."""
    small = np.exp(-np.abs(logits.astype(np.float64)))  # never overflows
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def present(logits: Floats, thresholds: Sequence[float]) -> Booleans:
    """Which classes are answered, of logits (N, classes) with a threshold of the probability for each class."""
    return sigmoid(logits) >= np.asarray(thresholds)


def to_classifications(logits: Floats, *, classes: tuple[str, ...], top: int = 5) -> list[Classification]:
    """One answer for each row of (N, classes); equal probabilities keep the order of the classes."""
    answers: list[Classification] = []
    for row in softmax(logits):
        best: list[int] = np.argsort(-row, kind="stable")[:top].tolist()
        guesses = tuple(Guess(label=classes[index], probability=float(row[index])) for index in best)
        answers.append(Classification(top=guesses))
    return answers


def to_multi_labels(logits: Floats, *, classes: tuple[str, ...], thresholds: Sequence[float]) -> list[MultiLabel]:
    """One answer for each row of (N, classes); equal probabilities keep the order of the classes."""
    answers: list[MultiLabel] = []
    for row, is_present in zip(sigmoid(logits), present(logits, thresholds), strict=True):
        parts: dict[bool, list[Guess]] = {True: [], False: []}
        order: list[int] = np.argsort(-row, kind="stable").tolist()
        for index in order:
            parts[bool(is_present[index])].append(Guess(label=classes[index], probability=float(row[index])))
        answers.append(MultiLabel(present=tuple(parts[True]), absent=tuple(parts[False])))
    return answers


TO_ANSWERS: dict[TaskName, Callable[[Floats, ModelCard], Sequence[Answer]]] = {
    "classification": lambda logits, card: to_classifications(logits, classes=card.classes),
    "multilabel": lambda logits, card: to_multi_labels(logits, classes=card.classes, thresholds=card.thresholds),
}
