"""Boxes x1, y1, x2, y2 in pixels, in numpy: areas and overlaps. A side is x2 - x1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def box_areas(boxes: Floats) -> Floats:
    """Areas (...) of boxes (..., 4); 0 where a side is 0 or negative."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return np.maximum(width, 0) * np.maximum(height, 0)


def box_intersections(boxes_A4: Floats, boxes_B4: Floats) -> Floats:
    """The area of the intersection of each pair of boxes (A, B), in float64."""
    first, second = boxes_A4.astype(np.float64)[:, None], boxes_B4.astype(np.float64)[None]
    corners = [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])]
    return box_areas(np.concatenate(corners, axis=-1))


def box_iou(boxes_A4: Floats, boxes_B4: Floats) -> Floats:
    """Intersection over union of each pair of boxes (A, B), 0 to 1, in float64; 0 for two boxes without area."""
    intersection = box_intersections(boxes_A4, boxes_B4)
    union = (
        box_areas(boxes_A4.astype(np.float64))[:, None] + box_areas(boxes_B4.astype(np.float64))[None] - intersection
    )
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def to_xywh(boxes: Floats) -> Floats:
    """Boxes (..., 4) in COCO's format: x1, y1, width, height, in float64."""
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
