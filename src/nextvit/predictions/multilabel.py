"""Multi-label classification: any number of classes for each image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import MultiLabelFacts
from nextvit.image.resizing import Prepared
from nextvit.predictions.activations import sigmoid
from nextvit.predictions.classification import LogitsKind
from nextvit.predictions.draw_probabilities import draw_probabilities
from nextvit.predictions.kind import Outputs
from nextvit.predictions.logits_parity import LogitsParity, compare_logits
from nextvit.predictions.results import ClassProbability, MultiLabel

Floats = NDArray[np.floating[Any]]


class MultiLabelKind(LogitsKind):
    """The classes whose probability reaches their threshold."""

    probabilities = "sigmoid gives the probability of each; those that reach the card's thresholds are predicted"

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        assert isinstance(card.facts, MultiLabelFacts)
        self.thresholds = card.facts.thresholds

    def read(self, outputs: Outputs, images: Sequence[Prepared]) -> list[MultiLabel]:
        return to_multi_labels(self.reduce(outputs, images), classes=self.card.classes, thresholds=self.thresholds)

    def compare(self, expected: Floats, got: Floats) -> LogitsParity:
        return compare_logits(expected, got, thresholds=self.thresholds)

    def summary(self, prediction: MultiLabel) -> tuple[str, ...]:
        percents = ", ".join(f"{each.probability:.1%}" for each in prediction.present)
        return ", ".join(prediction.labels) or "none", percents

    def draw(self, image: Image.Image, prediction: MultiLabel) -> Image.Image:
        return draw_probabilities(image, prediction.present, prediction.absent)


def is_present(logits: Floats, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Which classes are predicted, from logits (N, classes) and a threshold of the probability for each class."""
    return sigmoid(logits) >= np.asarray(thresholds)


def to_multi_labels(logits: Floats, *, classes: tuple[str, ...], thresholds: Sequence[float]) -> list[MultiLabel]:
    """A prediction for each row of logits (N, classes); equal probabilities keep the order of the classes."""
    predictions: list[MultiLabel] = []
    for row, present in zip(sigmoid(logits), is_present(logits, thresholds), strict=True):
        parts: dict[bool, list[ClassProbability]] = {True: [], False: []}
        order: list[int] = np.argsort(-row, kind="stable").tolist()
        for index in order:
            parts[bool(present[index])].append(ClassProbability(label=classes[index], probability=float(row[index])))
        predictions.append(MultiLabel(present=tuple(parts[True]), absent=tuple(parts[False])))
    return predictions
