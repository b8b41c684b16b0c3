"""Boxes x1, y1, x2, y2 in pixels, in numpy: areas and overlaps. A side is x2 - x1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def areas(boxes: Floats) -> Floats:
    """Areas (...) of boxes (..., 4); 0 where a side is not above 0."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return np.maximum(width, 0) * np.maximum(height, 0)


def intersections(boxes_A4: Floats, boxes_B4: Floats) -> Floats:
    """The area (A, B) that each box shares with each other, in float64."""
    first, second = boxes_A4.astype(np.float64)[:, None], boxes_B4.astype(np.float64)[None]
    corners = [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])]
    return areas(np.concatenate(corners, axis=-1))


def iou(boxes_A4: Floats, boxes_B4: Floats) -> Floats:
    """Intersection over union (A, B), 0 to 1, in float64; 0 of boxes without area."""
    shared = intersections(boxes_A4, boxes_B4)
    union = areas(boxes_A4.astype(np.float64))[:, None] + areas(boxes_B4.astype(np.float64))[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def to_xywh(boxes: Floats) -> Floats:
    """Boxes (..., 4) as COCO writes them: x1, y1, width, height, in float64."""
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
