"""Maps at other sizes: bilinear for scores, nearest for classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.reading import Size

Floats = NDArray[np.floating[Any]]


def sample_bilinear(scores_CHW: Floats, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Floats:
    """Scores at positions between the centres of cells, clamped at the edges: (C, len(rows), len(columns))."""
    for axis, positions in ((1, rows), (2, columns)):
        last = scores_CHW.shape[axis] - 1
        position = positions.clip(0, last)
        first = position.astype(np.intp)
        weight = (position - first).astype(np.float32)
        weight = weight[:, None] if axis == 1 else weight
        low, high = scores_CHW.take(first, axis=axis), scores_CHW.take(np.minimum(first + 1, last), axis=axis)
        scores_CHW = low + weight * (high - low)
    return scores_CHW


def nearest_indices(new: int, old: int) -> NDArray[np.intp]:
    """For a side resized from `old` to `new` pixels: which old pixel lies under the centre of each new one, (new,)."""
    return ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)


def resize_class_map(classes_HW: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """A map of classes at another size: each pixel has the class that lies under its centre."""
    if classes_HW.shape == size:
        return classes_HW
    rows, columns = (nearest_indices(new, old) for new, old in zip(size, classes_HW.shape, strict=True))
    return classes_HW[rows[:, None], columns]
