"""The annotated objects of one image, as boxes and perhaps masks."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Segmentation = list[list[float]] | dict[str, Any] | None
"""As in COCO: polygons as lists of x, y, x, y, ...; run lengths {"size": [height, width], "counts": list or text}; or
None."""


@dataclass(frozen=True)
class Objects:
    """The objects of one image, K of them; K may be 0."""

    boxes: NDArray[np.float32]
    """(K, 4), x1, y1, x2, y2 in the image's pixels."""
    labels: NDArray[np.int64]
    """(K,), class indices."""
    crowd: NDArray[np.bool_]
    """(K,), COCO's iscrowd: a region of many objects, which is ignored in training and evaluation."""
    areas: NDArray[np.float64]
    """(K,), in pixels; they decide between small, medium and large."""
    segmentations: tuple[Segmentation, ...] = field(default=())
    """One for each object in datasets with masks; empty in datasets with boxes only."""
    size_wh: tuple[int, int] | None = None
    """Width and height of the image that was annotated; None: unknown."""

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Targets:
    """The K objects on a training view of an image, without crowds."""

    boxes: NDArray[np.float32]
    """(K, 4), x1, y1, x2, y2 in the view's pixels, with sides above 0."""
    labels: NDArray[np.int64]
    """(K,), indices of classes."""
    masks: NDArray[np.bool_] | None = None
    """(K, height, width) of the view; None in datasets with boxes only."""
