"""What is annotated on one picture: its objects, as boxes and perhaps masks."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Segmentation = list[list[float]] | dict[str, Any] | None
"""As in COCO: polygons as lists of x, y, x, y, ...; run lengths {"size": [height, width], "counts": list or text}; or none."""


@dataclass(frozen=True)
class Objects:
    """The objects of one picture, K of them; there may be none."""

    boxes: NDArray[np.float32]
    """(K, 4), x1, y1, x2, y2 in the picture's pixels."""
    labels: NDArray[np.int64]
    """(K,), indices of classes."""
    crowd: NDArray[np.bool_]
    """(K,), whether it is a region of many objects, which is neither learnt nor judged."""
    areas: NDArray[np.float64]
    """(K,), pixels, by which small, medium and large are told."""
    segmentations: tuple[Segmentation, ...] = field(default=())
    """One for each object, in data with masks; empty in data with boxes alone."""
    size_wh: tuple[int, int] | None = None
    """Width and height of the picture that was annotated; None: not known."""

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Targets:
    """What training is to find on a view of a picture, K objects; crowds are left out."""

    boxes: NDArray[np.float32]
    """(K, 4), x1, y1, x2, y2 in the view's pixels, sides above 0."""
    labels: NDArray[np.int64]
    """(K,), indices of classes."""
    masks: NDArray[np.bool_] | None = None
    """(K, height, width) of the view; None in data with boxes alone."""
