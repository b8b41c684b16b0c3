"""What a model answers, as plain values."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import RunLengths


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """One class and how probable the model holds it, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The most probable classes of one image, best first."""

    top: tuple[ClassProbability, ...]

    @property
    def label(self) -> str:
        return self.top[0].label

    @property
    def probability(self) -> float:
        return self.top[0].probability

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """All classes of one image in two parts, each with the most probable first; either part may be empty."""

    present: tuple[ClassProbability, ...]
    """Those that reach their threshold."""
    absent: tuple[ClassProbability, ...]
    """The others."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(guess.label for guess in self.present)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object that was found."""

    label: str
    category_id: int
    """The class's number in the annotations that the model was trained on."""
    score: float
    """How sure the model is, 0 to 1."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in the picture's pixels."""
    mask: RunLengths | None = None
    """The object's pixels in the whole picture, as pycocotools reads them; None of a model for boxes alone."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The objects of one picture, the surest first; there may be none."""

    width: int
    """Of the picture, in pixels."""
    height: int
    objects: tuple[Detection, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMap:
    """The class of each pixel of one picture."""

    classes: tuple[str, ...]
    """All that the model knows."""
    labels: NDArray[np.uint8]
    """(height, width) of the picture: the index of each pixel's class."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many pixels have each class: (classes,)."""
        counts = np.zeros(len(self.classes), np.int64)
        for row in self.labels:  # row by row: counting makes eight bytes of each pixel
            counts += np.bincount(row, minlength=len(counts))
        return counts

    @property
    def shares(self) -> dict[str, float]:
        """The classes that are there, each with its share of the pixels, 0 to 1, the largest first."""
        counts = self.counts
        order: list[int] = np.argsort(-counts, kind="stable").tolist()
        return {self.classes[label]: float(counts[label] / self.labels.size) for label in order if counts[label]}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the picture's size, and what is on it; the map itself is an image."""
        height, width = self.labels.shape
        return {"width": width, "height": height, "shares": self.shares}


Prediction = Classification | MultiLabel | Detections | ClassMap
