"""Predictions of all tasks, as plain values."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import RunLengths


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """One class and its predicted probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The most probable classes of one image, the most probable first."""

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
    """All classes of one image, as present and absent ones, each with the most probable first; either may be empty."""

    present: tuple[ClassProbability, ...]
    """Those that reach their threshold."""
    absent: tuple[ClassProbability, ...]
    """The others."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(each.label for each in self.present)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One detected object."""

    label: str
    category_id: int
    """The class's id in the annotations that the model was trained on."""
    score: float
    """Confidence, 0 to 1."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the original image."""
    mask: RunLengths | None = None
    """The object's pixels in the whole image, as pycocotools reads them; None for a model that predicts boxes alone."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The objects of one image, the highest score first; there may be none."""

    width: int
    """Of the image, in pixels."""
    height: int
    objects: tuple[Detection, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMap:
    """The class of each pixel of one image."""

    classes: tuple[str, ...]
    """All classes of the model."""
    labels: NDArray[np.uint8]
    """(height, width) of the image: the index of each pixel's class."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of pixels of each class: (classes,)."""
        counts = np.zeros(len(self.classes), np.int64)
        for row in self.labels:  # row by row: bincount needs eight bytes for each pixel
            counts += np.bincount(row, minlength=len(counts))
        return counts

    @property
    def shares(self) -> dict[str, float]:
        """The classes that occur, each with its fraction of the pixels, 0 to 1, the largest first."""
        counts = self.counts
        order: list[int] = np.argsort(-counts, kind="stable").tolist()
        return {self.classes[label]: float(counts[label] / self.labels.size) for label in order if counts[label]}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the image's size and the fraction of each class; the map itself is saved as an image."""
        height, width = self.labels.shape
        return {"width": width, "height": height, "shares": self.shares}


Prediction = Classification | MultiLabel | Detections | ClassMap
